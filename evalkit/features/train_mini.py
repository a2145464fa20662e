"""Trains the network of the bundled extractor ``mini`` and writes the two files that ship with the package.

    python -m evalkit.features.train_mini --train SPEC [--extra SPEC] --test SPEC --out DIR

Any labelled source of 32x32 images in ten classes will do. The weights written are those of the last epoch:
the test images are only ever scored, and no epoch is chosen by them. Equal seed, settings, number of threads
and torch give equal weights on one kind of processor.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from evalkit.errors import EvalkitError, SourceError
from evalkit.features import mini_net
from evalkit.features.mini_net import MiniNet

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that decides the weights, apart from the images.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step; what is left over at the end of an epoch is dropped.
        peak_rate: Highest learning rate, reached after the warm-up.
        warmup: Share of all steps in which the rate rises; it falls along a cosine afterwards.
        momentum: Nesterov momentum.
        weight_decay: Decay of the weights proper; biases and BatchNorm are exempt.
        label_smoothing: Probability taken from the true class and spread over all.
        jitter: Largest relative change of brightness, contrast and saturation.
        max_shift: Largest translation, in pixels.
        max_angle: Largest rotation, in degrees.
        max_zoom: Largest relative change of scale.
        warp_share: Share of images that are rotated and scaled; the others keep their pixels' values.
        cutout: Side of the erased square, in pixels.
        cutmix_share: Share of batches in which a box of each image comes from another one.
        seed: Seed of the initial weights, the order of images and the augmentation.
        threads: Threads of torch; a different number rounds sums differently.
        score_every: Epochs between two scores on the test images in the progress lines.
    """

    epochs: int = 120
    batch_size: int = 128
    peak_rate: float = 0.2
    warmup: float = 0.15
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    jitter: float = 0.3
    max_shift: int = 4
    max_angle: float = 15.0
    max_zoom: float = 0.2
    warp_share: float = 0.5
    cutout: int = 10
    cutmix_share: float = 0.5
    seed: int = 0
    threads: int = 3
    score_every: int = 10


class Augmenter:
    """Random views of whole batches on the scale 0..1, from one seeded generator."""

    def __init__(self, config: TrainConfig) -> None:
        """Starts the generator at the seed of ``config``."""
        self._config = config
        self._generator = torch.Generator().manual_seed(config.seed + 1)

    def _uniform(self, n: int, low: float, high: float) -> torch.Tensor:
        return torch.rand(n, generator=self._generator) * (high - low) + low

    def geometry(self, images: torch.Tensor) -> torch.Tensor:
        """Flips, shifts and, for a share of the images, rotates and scales; borders are reflected."""
        n, _, height, width = images.shape
        c = self._config
        warped = (self._uniform(n, 0, 1) < c.warp_share).float()
        angle = self._uniform(n, -c.max_angle, c.max_angle) * warped * (math.pi / 180)
        zoom = 1 + self._uniform(n, -c.max_zoom, c.max_zoom) * warped
        flip = torch.where(self._uniform(n, 0, 1) < 0.5, -1.0, 1.0)
        # Whole pixels: without a rotation the resampling then copies pixels, and the network also learns from
        # images as sharp as the ones it will be given.
        shift = [torch.round(self._uniform(n, -c.max_shift - 0.5, c.max_shift + 0.5)) for _ in range(2)]
        cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        rows = (
            torch.stack([flip * cos, -sin, 2 * shift[0] / width], dim=1),
            torch.stack([flip * sin, cos, 2 * shift[1] / height], dim=1),
        )
        grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    def colour(self, images: torch.Tensor) -> torch.Tensor:
        """Changes saturation, contrast and brightness, each by its own random factor."""
        n, strength = len(images), self._config.jitter
        factors = [1 + self._uniform(n, -strength, strength).view(n, 1, 1, 1) for _ in range(3)]
        grey = images.mean(dim=1, keepdim=True)
        images = grey + (images - grey) * factors[0]
        level = images.mean(dim=(1, 2, 3), keepdim=True)
        return ((level + (images - level) * factors[1]) * factors[2]).clamp(0, 1)

    def erase(self, images: torch.Tensor) -> torch.Tensor:
        """Replaces a random square of every image, cut off at the borders, by the mean colour of the data."""
        n, _, height, width = images.shape
        half = self._config.cutout / 2
        y = self._uniform(n, 0, height).view(n, 1, 1, 1)
        x = self._uniform(n, 0, width).view(n, 1, 1, 1)
        inside_y = (torch.arange(height).view(1, 1, height, 1) + 0.5 - y).abs() < half
        inside_x = (torch.arange(width).view(1, 1, 1, width) + 0.5 - x).abs() < half
        return torch.where(inside_y & inside_x, torch.tensor(mini_net.MEAN).view(1, 3, 1, 1), images)

    def cutmix(self, images: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Copies one box from the neighbouring image of the batch, in a share of the calls.

        Returns:
            The images, and the share of each image's own pixels; the rest belongs to the image before it.
        """
        if float(self._uniform(1, 0, 1)) >= self._config.cutmix_share:
            return images, 1.0
        height, width = images.shape[2:]
        side = math.sqrt(1 - float(self._uniform(1, 0, 1)))
        box_h, box_w = round(height * side), round(width * side)
        top = int(self._uniform(1, 0, height - box_h + 1))
        left = int(self._uniform(1, 0, width - box_w + 1))
        mixed = images.clone()
        box = (..., slice(top, top + box_h), slice(left, left + box_w))
        mixed[box] = images.roll(1, dims=0)[box]
        return mixed, 1 - box_h * box_w / (height * width)


def _as_tensor(images: UInt8Array) -> torch.Tensor:
    """uint8 NHWC to uint8 NCHW."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def accuracy(net: MiniNet, images: UInt8Array, labels: Int64Array, batch_size: int = 250) -> float:
    """Share of uint8 NHWC images whose highest score is that of their label."""
    training = net.training
    net.eval()
    hits = 0
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = mini_net.normalise(_as_tensor(images[start : start + batch_size]))
            best = net(batch.to(memory_format=torch.channels_last))["logits"].argmax(dim=1).numpy()
            hits += int((best == labels[start : start + batch_size]).sum())
    net.train(training)
    return hits / len(images)


def _optimizer(net: MiniNet, config: TrainConfig) -> torch.optim.SGD:
    decayed = [p for p in net.parameters() if p.ndim > 1]
    exempt = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, nesterov=True)


def _rate(step: int, steps: int, config: TrainConfig) -> float:
    """Learning rate of a step: a linear rise to the peak, then a cosine down to zero."""
    rise = max(1, round(steps * config.warmup))
    if step < rise:
        return config.peak_rate * (step + 1) / rise
    return config.peak_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def train(
    images: UInt8Array,
    labels: Int64Array,
    test_images: UInt8Array,
    test_labels: Int64Array,
    config: TrainConfig,
) -> dict[str, torch.Tensor]:
    """Trains the network; one progress line an epoch goes to stderr.

    Args:
        images: uint8 NHWC training images, 32x32.
        labels: Their classes, 0 to 9.
        test_images: Images that are scored in the progress lines and used for nothing else.
        test_labels: Their classes.
        config: The settings.

    Raises:
        SourceError: There are fewer images than fill one batch.

    Returns:
        The state of the folded `MiniNet` after the last epoch, in float16: the tensors that are shipped.
    """
    if len(images) < config.batch_size:
        raise SourceError(
            f"{len(images)} training images; at least one batch of {config.batch_size} is needed"
        )
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    order = torch.Generator().manual_seed(config.seed)
    augment = Augmenter(config)
    net = MiniNet(folded=False).to(memory_format=torch.channels_last).train()
    optimizer = _optimizer(net, config)
    pixels, classes = _as_tensor(images), torch.from_numpy(labels.astype(np.int64))
    per_epoch = len(pixels) // config.batch_size
    smoothing = config.label_smoothing
    steps, step, begin = config.epochs * per_epoch, 0, time.monotonic()
    for epoch in range(1, config.epochs + 1):
        total = 0.0
        shuffled = torch.randperm(len(pixels), generator=order)[: per_epoch * config.batch_size]
        for picked in shuffled.view(per_epoch, config.batch_size):
            view = augment.erase(augment.colour(augment.geometry(pixels[picked].float() / 255)))
            view, own = augment.cutmix(view)
            batch = mini_net.normalise(view * 255).contiguous(memory_format=torch.channels_last)
            for group in optimizer.param_groups:
                group["lr"] = _rate(step, steps, config)
            logits = net(batch)["logits"]
            target = classes[picked]
            loss = own * functional.cross_entropy(logits, target, label_smoothing=smoothing)
            if own < 1:
                mixed_in = target.roll(1)
                loss = loss + (1 - own) * functional.cross_entropy(
                    logits, mixed_in, label_smoothing=smoothing
                )
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item()
            step += 1
        line = f"epoch {epoch}/{config.epochs}  loss {total / per_epoch:.4f}"
        if epoch % config.score_every == 0 or epoch == config.epochs:
            line += f"  test {100 * accuracy(net, test_images, test_labels):.2f} %"
        spent = time.monotonic() - begin
        line += f"  {step * config.batch_size / spent:.0f} images/s"
        line += f"  ETA {spent / step * (steps - step) / 60:.1f} min"
        print(line, file=sys.stderr, flush=True)
    return {name: value.to(torch.float16).contiguous() for name, value in net.folded_state().items()}


def read_labelled(spec: str) -> tuple[UInt8Array, Int64Array]:
    """All images and labels of a source, as uint8 NHWC and int64.

    Raises:
        SourceError: The source has no labels, labels outside the ten classes, or images of another size.
    """
    from evalkit.sources.base import ImageSource
    from evalkit.sources.resolve import resolve

    source = resolve(spec)
    if not isinstance(source, ImageSource) or source.labels is None:
        raise SourceError(
            f"{spec}: no labels; training needs a labelled source, such as an npz split with labels"
        )
    if len(source) == 0 or source.labels.min() < 0 or source.labels.max() >= len(mini_net.CLASSES):
        raise SourceError(f"{spec}: labels must be 0 to {len(mini_net.CLASSES) - 1}; relabel the source")
    images = source.load(range(len(source)))
    wanted = (3, mini_net.INPUT_SIZE, mini_net.INPUT_SIZE)
    for index, image in enumerate(images):
        if image.shape != wanted:
            raise SourceError(
                f"{spec}: image {index} has shape {image.shape}, not {wanted}; resize the images first"
            )
    return np.stack(images).transpose(0, 2, 3, 1), source.labels


def _digests(images: UInt8Array) -> list[bytes]:
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


def combine(
    train_set: tuple[UInt8Array, Int64Array],
    extra_set: tuple[UInt8Array, Int64Array] | None,
    test_images: UInt8Array,
) -> tuple[UInt8Array, Int64Array, int]:
    """The training images: no further one that is already there, and none that is in the test set.

    Returns:
        Images, labels, and how many of them came from ``extra_set``.
    """
    images, labels = train_set
    first = len(images)
    known = _digests(images)
    if extra_set is not None:
        images, labels = np.concatenate([images, extra_set[0]]), np.concatenate([labels, extra_set[1]])
        known += _digests(extra_set[0])
    tested = set(_digests(test_images))
    seen = set(known[:first])
    keep = [i for i in range(first) if known[i] not in tested]
    from_train = len(keep)
    for index in range(first, len(known)):
        if known[index] not in seen and known[index] not in tested:
            seen.add(known[index])
            keep.append(index)
    return images[keep], labels[keep], len(keep) - from_train


def write(
    out: Path,
    state: dict[str, torch.Tensor],
    config: TrainConfig,
    *,
    score: float,
    tested: int,
    data: dict[str, object],
) -> Path:
    """Writes the weights and their description side by side.

    Args:
        out: Folder to write to; made where missing.
        state: What `train` returned.
        config: What it was trained with.
        score: Test accuracy of exactly these tensors.
        tested: Number of test images.
        data: Description of the training images.

    Returns:
        The path of the weights.
    """
    from safetensors.torch import save

    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{mini_net.NAME}-v{mini_net.VERSION}.safetensors"
    path.write_bytes(save(state))
    about = {
        "name": mini_net.NAME,
        "version": mini_net.VERSION,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "parameters": sum(value.numel() for value in state.values()),
        "stored_as": "float16, BatchNorm folded; computed in float32",
        "test_accuracy": score,
        "test_images": tested,
        "training_data": data,
        "config": dataclasses.asdict(config),
        "seed": config.seed,
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "licence": "Apache-2.0 (weights trained from scratch by evalkit.features.train_mini)",
    }
    path.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    default = TrainConfig()
    parser = argparse.ArgumentParser(
        prog="python -m evalkit.features.train_mini", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--train", required=True, metavar="SPEC", help="labelled training images")
    parser.add_argument(
        "--extra", metavar="SPEC", help="further labelled training images; duplicates are dropped"
    )
    parser.add_argument(
        "--test", required=True, metavar="SPEC", help="labelled images that are scored, never trained on"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the two files go")
    parser.add_argument(
        "--about", default="", metavar="TEXT", help="what the training images are, for the description"
    )
    parser.add_argument("--epochs", type=int, default=default.epochs)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--threads", type=int, default=default.threads)
    args = parser.parse_args(argv)
    config = dataclasses.replace(default, epochs=args.epochs, seed=args.seed, threads=args.threads)
    try:
        test_images, test_labels = read_labelled(args.test)
        extra = read_labelled(args.extra) if args.extra else None
        images, labels, further = combine(read_labelled(args.train), extra, test_images)
        state = train(images, labels, test_images, test_labels, config)
    except EvalkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    score = accuracy(mini_net.from_state(state), test_images, test_labels)
    data: dict[str, object] = {"about": args.about, "images": len(images), "of_which_extra": further}
    path = write(args.out, state, config, score=score, tested=len(test_images), data=data)
    print(f"{path}  test accuracy {100 * score:.2f} %", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
