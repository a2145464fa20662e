"""Trains a bundle of attribute classifiers (`evalkit.features.attributes`) on images with binary labels.

One network tells all attributes at once: a logistic regression of the pixels, or a small convolutional
network. The loss is the mean over attributes of the cross-entropy under p = softmax([l, -l]), by Adam with
decoupled weight decay and a rate that falls along a cosine. A part of the images is drawn by the seed and
kept apart; the accuracy on it is written into the bundle, and no epoch is chosen by it. The network learns
from images that were resized and rounded once, each shifted at random by up to a sixteenth of the side.

Equal seed, images, labels, settings, device, number of threads and torch give equal weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from evalkit.errors import SourceError, TrainingError, UsageError, nearest
from evalkit.features import attributes
from evalkit.features.attribute_labels import AttributeLabels
from evalkit.features.attributes import Attributes, BundleInfo
from evalkit.features.mini_net import ConvUnit
from evalkit.imaging.resizes import RESIZES
from evalkit.sources.base import ImageSource, Int64Array

Progress = Callable[[int, int], None]
Track = Callable[[str], contextlib.AbstractContextManager[Progress]]

_WIDTHS = (32, 64, 128, 128, 128, 128)
_LAST_SIDE = 4  # of the maps the linear layer sees
_READ = 64  # images decoded at a time


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings:
    """Everything that decides the weights, apart from the images and their labels.

    Attributes:
        kind: ``logistic`` or ``cnn``.
        side: Of the square images the network sees: a power of two, 8 to 256.
        seed: Of the split, the first weights, the order and the shifts.
        epochs: Passes over the images.
        val_fraction: Share of the images that are kept apart, above 0 and below 1.
        batch_size: Images a step.
        rate: Learning rate of the first step.
        weight_decay: Of all weights but biases and the scales of BatchNorm.
        smoothing: Labels are this far from 0 and 1. Surer logits than that would only saturate the float32
            softmax, and separability could not tell any more which samples are the most confident.
    """

    kind: str = "cnn"
    side: int = 64
    seed: int = 0
    epochs: int = 30
    val_fraction: float = 0.1
    batch_size: int = 32
    rate: float = 2e-3
    weight_decay: float = 1e-2
    smoothing: float = 1e-3

    def check(self) -> None:
        """Refuses settings that cannot be.

        Raises:
            UsageError: One of them cannot.
        """
        if self.kind not in attributes.KINDS:
            raise UsageError(f"--kind {self.kind}: choose {' or '.join(attributes.KINDS)}")
        if self.side not in attributes.SIDES:
            raise UsageError(f"--side {self.side}: choose one of {', '.join(map(str, attributes.SIDES))}")
        if not 0 < self.val_fraction < 1:
            raise UsageError(
                f"--val-fraction {self.val_fraction:g}: give a share above 0 and below 1, such as 0.1"
            )
        if self.epochs < 1:
            raise UsageError(f"--epochs {self.epochs}: give 1 or more")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed {self.seed}: give a whole number from 0 to 2^63 - 1")


def train_attributes(
    source: ImageSource,
    labels: AttributeLabels,
    settings: TrainSettings,
    *,
    device: torch.device | str = "cpu",
    track: Track | None = None,
) -> Attributes:
    """Trains one bundle.

    Args:
        source: The images, of any sizes.
        labels: Their attributes.
        settings: How to train.
        device: Where.
        track: Opens what is told (images done, images in all) of each of the two parts of the work, by a
            label, as `evalkit.engine.progress.Reporter.track` does.

    Returns:
        The bundle, ready to run; `evalkit.features.attributes.write_bundle` keeps it.

    Raises:
        UsageError: A setting cannot be.
        SourceError: There are too few images, or an attribute is the same for all that are trained on.
        TrainingError: The loss is no longer finite.
    """
    settings.check()
    order = np.random.default_rng(settings.seed).permutation(len(source))
    num_held = max(1, round(settings.val_fraction * len(source)))
    held, trained = np.sort(order[:num_held]), np.sort(order[num_held:])
    if len(trained) < 2:
        raise SourceError(
            f"{source.spec} has {len(source)} images, of which {num_held} are kept apart; attributes are "
            "learned from 2 or more, better thousands"
        )
    _check_both_classes(labels, trained, source.spec)
    track = track or _silent
    with track(f"reading {source.spec}") as progress:
        pixels = _read(source, settings.side, progress)
    device = torch.device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        net = _Net(settings, len(labels.names)).to(device)
    with track("training") as progress:
        _fit(net, pixels[trained], torch.from_numpy(labels.values[trained]), settings, progress)
    tensors = net.folded()
    unknown = (0.0,) * len(labels.names)
    info = BundleInfo(
        version=attributes.FORMAT, kind=settings.kind, names=labels.names, side=settings.side, channels=3,
        widths=net.widths, data=source.spec, data_sha256=_fingerprint(source, labels),
        num_train=len(trained), num_held_out=num_held, accuracy=unknown, positive=unknown,
        seed=settings.seed, epochs=settings.epochs,
    )  # fmt: skip
    known = labels.values[held]
    right = (Attributes(info, tensors, device)(pixels[held]) > 0) == known
    info = dataclasses.replace(
        info, accuracy=tuple(right.mean(0).tolist()), positive=tuple(known.mean(0).tolist())
    )
    return Attributes(info, tensors, device)


def accuracy(
    bundle: Attributes, source: ImageSource, labels: AttributeLabels, *, progress: Progress | None = None
) -> dict[str, float]:
    """For each attribute of ``bundle``: the share of the images of ``source`` that it tells rightly, 0 to 1.

    Args:
        bundle: The classifiers.
        source: Images they were not trained on.
        labels: What is so.
        progress: Called with (images judged, images in all).

    Raises:
        SourceError: The labels lack an attribute of the bundle.
    """
    if lacking := [name for name in bundle.names if name not in labels.names]:
        raise SourceError(
            f"the labels have no attribute {lacking[0]!r} (nearest: "
            f"{nearest(lacking[0], list(labels.names))}), which the bundle tells; give labels of all its "
            f"{len(bundle.names)} attributes"
        )
    columns = [labels.names.index(name) for name in bundle.names]
    right = np.zeros(len(bundle.names), np.int64)
    for indices, images in source.batches(_READ):
        alike = all(image.shape == images[0].shape for image in images)
        stacks = [np.stack(images)] if alike else [image[None] for image in images]
        told = np.concatenate([bundle(stack) for stack in stacks]) > 0
        right += (told == labels.values[indices.start : indices.stop][:, columns]).sum(0)
        if progress is not None:
            progress(indices.stop, len(source))
    return dict(zip(bundle.names, (right / len(source)).tolist(), strict=True))


@contextlib.contextmanager
def _silent(label: str) -> Iterator[Progress]:
    yield lambda done, total: None


class _Net(nn.Module):
    """The form to train: convolutions with BatchNorm, then one linear map of all that is left."""

    def __init__(self, settings: TrainSettings, num: int) -> None:
        super().__init__()
        halvings = int(math.log2(settings.side // _LAST_SIDE))
        self.widths = _WIDTHS[: halvings + 1] if settings.kind == "cnn" else ()
        units, inputs = [], 3
        for place, outputs in enumerate(self.widths):
            units.append(ConvUnit(inputs, outputs, 3, stride=1 if place == 0 else 2, folded=False))
            inputs = outputs
        self.convs = nn.Sequential(*units)
        self.linear = nn.Linear(inputs * (_LAST_SIDE if units else settings.side) ** 2, num)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(self.convs(x).flatten(1))
        return logits

    def folded(self) -> dict[str, torch.Tensor]:
        """The tensors of a bundle, in float16: BatchNorm is folded into the convolutions."""
        tensors = {f"linear.{name}": value for name, value in self.linear.state_dict().items()}
        for place, unit in enumerate(self.convs):
            assert isinstance(unit, ConvUnit)
            tensors.update({f"convs.{place}.{name}": value for name, value in unit.folded_state().items()})
        return {name: value.detach().cpu().to(torch.float16) for name, value in tensors.items()}


def _fit(
    net: _Net, pixels: torch.Tensor, truth: torch.Tensor, settings: TrainSettings, progress: Progress
) -> None:
    device = net.linear.weight.device
    flat = [value for value in net.parameters() if value.ndim < 2]
    full = [value for value in net.parameters() if value.ndim >= 2]
    groups = [
        {"params": full, "weight_decay": settings.weight_decay},
        {"params": flat, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.rate)
    draws = torch.Generator().manual_seed(settings.seed)
    size = min(settings.batch_size, len(pixels))
    steps_each = len(pixels) // size  # what does not fill a batch waits for another epoch
    steps, step = settings.epochs * steps_each, 0
    net.train()
    for _ in range(settings.epochs):
        shuffled = torch.randperm(len(pixels), generator=draws)[: steps_each * size]
        for picked in shuffled.view(steps_each, size):
            for group in optimizer.param_groups:
                group["lr"] = settings.rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            batch = attributes.prepare(_shifted(pixels[picked], draws).to(device), settings.side)
            logits = net(batch.contiguous(memory_format=torch.channels_last))
            # softmax([l, -l]) is the logistic function of 2 l.
            wanted = truth[picked].to(device, torch.float32) * (1 - 2 * settings.smoothing)
            wanted += settings.smoothing
            loss = functional.binary_cross_entropy_with_logits(2 * logits, wanted)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            step += 1
            progress(step * size, steps * size)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"the loss is {loss.item()} after {step:,} steps; look at the images and labels, and train "
                "again with another --seed"
            )
    net.eval()


def _shifted(pixels: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    side = pixels.shape[-1]
    most = side // 16
    if not most:
        return pixels
    padded = functional.pad(pixels.float(), (most, most, most, most), mode="replicate").to(torch.uint8)
    offsets = torch.randint(2 * most + 1, (len(pixels), 2), generator=draws).tolist()
    return torch.stack(
        [
            image[:, down : down + side, right : right + side]
            for image, (down, right) in zip(padded, offsets, strict=True)
        ]
    )


def _read(source: ImageSource, side: int, progress: Progress) -> torch.Tensor:
    pixels = torch.empty((len(source), 3, side, side), dtype=torch.uint8)
    for indices, images in source.batches(_READ):
        for index, image in zip(indices, images, strict=True):
            small = RESIZES[attributes.RESIZE](torch.from_numpy(image[None]), (side, side))
            pixels[index] = small[0].round().to(torch.uint8)
        progress(indices.stop, len(source))
    return pixels


def _check_both_classes(labels: AttributeLabels, trained: Int64Array, spec: str) -> None:
    share = labels.values[trained].mean(0)
    if constant := [place for place, value in enumerate(share) if value in (0, 1)]:
        names = ", ".join(labels.names[place] for place in constant)
        raise SourceError(
            f"{len(constant)} of {len(share)} attributes are the same for all {len(trained):,} images of "
            f"{spec} that are trained on, and cannot be learned: {names}; leave these columns out, or add "
            "images that differ in them"
        )


def _fingerprint(source: ImageSource, labels: AttributeLabels) -> str:
    total = hashlib.sha256(f"{source.fingerprint}|{labels.names}|{labels.values.shape}|".encode())
    total.update(np.packbits(labels.values).tobytes())
    return total.hexdigest()
