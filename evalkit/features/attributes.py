"""Classifiers of binary attributes: a bundle of them in one file, ready to give a logit an attribute.

A logit l says: present with p = softmax([l, -l])_0 = 1 / (1 + exp(-2 l)), as linear separability reads it
(Karras et al. 2019, section 4.2; NVlabs/stylegan@1e0d5c7, metrics/linear_separability.py). The official forty
classifiers of CelebA are Python pickles with code in them and are not read; a bundle of the same forty
attributes is trained by `evalkit attributes train`, and its numbers are comparable among themselves.

A bundle is one safetensors file. Under the key ``evalkit_attributes`` its header holds JSON, the fields of
`BundleInfo`. Images of any size are resized to ``side`` by Pillow's antialiased bilinear (not rounded) and
brought to [-1, 1]. They pass 3x3 convolutions with a rectifier, all but the first of stride 2 (``widths``;
none for a logistic regression), and one linear map. Tensors: ``convs.<i>.weight``, ``convs.<i>.bias``,
``linear.weight``, ``linear.bias``, stored in any floating type. Batches have one fixed shape (docs/adr/0002),
convolutions run in float32 and the linear map in float64, so that the logits of an image depend on that image
alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evalkit.errors import UsageError, WeightsError, nearest
from evalkit.features.base import Shapes, tensors_sha256
from evalkit.features.tensors import read_tensors
from evalkit.features.weights import WEIGHTS, locate
from evalkit.features.weights import weights_dir as weights_folder
from evalkit.files import atomic_write

if TYPE_CHECKING:
    import torch

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]

KEY = "evalkit_attributes"
FORMAT = 1
RESIZE = "antialiased-bilinear"
KINDS = ("logistic", "cnn")
SIDES = (8, 16, 32, 64, 128, 256)
_PREFIX = "attributes-"
_MICRO_BATCH = {"cpu": 32, "cuda": 64}
_MOST = 4096  # channels, and attributes: more is a damaged header


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BundleInfo:
    """What a bundle's header says.

    Attributes:
        version: Of the format.
        kind: ``logistic`` or ``cnn``.
        names: Of the attributes, in the order of the logits.
        side: Of the square images the network sees.
        channels: Of these images: 3, RGB.
        widths: Channels of the convolutions; empty for ``logistic``.
        data: What was trained on, as the user named it.
        data_sha256: Fingerprint of these images and of their labels.
        num_train: Images trained on.
        num_held_out: Images that were kept apart, on which ``accuracy`` was measured.
        accuracy: Of each attribute: share of the held-out images that are told rightly, 0 to 1.
        positive: Of each attribute: share of the held-out images that have it, 0 to 1.
        seed: Of the training.
        epochs: Passes over the images.
    """

    version: int
    kind: str
    names: tuple[str, ...]
    side: int
    channels: int
    widths: tuple[int, ...]
    data: str
    data_sha256: str
    num_train: int
    num_held_out: int
    accuracy: tuple[float, ...]
    positive: tuple[float, ...]
    seed: int
    epochs: int

    @property
    def shapes(self) -> Shapes:
        """Names and shapes of the tensors."""
        found: dict[str, tuple[int, ...]] = {}
        inputs, side = self.channels, self.side
        for place, outputs in enumerate(self.widths):
            found[f"convs.{place}.weight"] = (outputs, inputs, 3, 3)
            found[f"convs.{place}.bias"] = (outputs,)
            inputs = outputs
            side = side if place == 0 else side // 2
        found["linear.weight"] = (len(self.names), inputs * side * side)
        found["linear.bias"] = (len(self.names),)
        return found


class Attributes:
    """A loaded bundle.

    Attributes:
        info: What its header says.
        names: Of the attributes, in the order of the logits.
        side: Of the square images the network sees.
        tensors: What it was made of.
        sha256: Digest of the tensors, whatever file held them.
        device: Where it runs.
        micro_batch: Images per forward pass; the same for every call.
    """

    def __init__(
        self, info: BundleInfo, tensors: Mapping[str, torch.Tensor], device: torch.device | str = "cpu"
    ) -> None:
        """Lays the network out on ``device``.

        Args:
            info: What the bundle is.
            tensors: Those that ``info.shapes`` names, in these shapes; `load_attributes` checks a file's.
            device: Where it runs.
        """
        import torch

        from evalkit.features.convolution import Convolution

        self.info, self.names, self.side = info, info.names, info.side
        self.device = torch.device(device)
        self.micro_batch = _MICRO_BATCH["cpu" if self.device.type == "cpu" else "cuda"]
        self.tensors = tensors
        self.sha256 = tensors_sha256(tensors)
        self._convs = [
            Convolution(
                tensors[f"convs.{place}.weight"].float(), tensors[f"convs.{place}.bias"].float(),
                stride=1 if place == 0 else 2, padding=(1, 1), device=self.device, dtype=torch.float32,
            )
            for place in range(len(info.widths))
        ]  # fmt: skip
        self._weight = tensors["linear.weight"].to(self.device, torch.float64)
        self._bias = tensors["linear.bias"].to(self.device, torch.float64)

    def __call__(self, images: UInt8Array | torch.Tensor) -> Float32Array:
        """Logits of every attribute, float32 ``(n, A)``.

        Args:
            images: uint8 RGB ``(n, 3, h, w)``, an array or a tensor on any device.

        Raises:
            UsageError: They are of another type or shape.
        """
        import torch

        pixels = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
            raise UsageError(
                f"attribute classifiers take uint8 RGB images (n, 3, h, w), got {pixels.dtype} "
                f"{tuple(pixels.shape)}; round floats with evalkit.imaging.quantise.to_uint8 first"
            )
        parts = [np.empty((0, len(self.names)), np.float32)]
        exact = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with torch.inference_mode(), exact:
            for start in range(0, len(pixels), self.micro_batch):
                chunk = pixels[start : start + self.micro_batch].to(self.device)
                num = len(chunk)
                if num < self.micro_batch:
                    chunk = torch.cat([chunk, chunk[-1:].expand(self.micro_batch - num, -1, -1, -1)])
                parts.append(self._logits(chunk)[:num].cpu().numpy())
        return np.concatenate(parts)

    def _logits(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        x = prepare(pixels, self.side).contiguous(memory_format=torch.channels_last)
        for conv in self._convs:
            x = torch.relu(conv(x))
        # One image a product: in a larger one the order of sums may depend on an image's place.
        return torch.stack([self._weight @ row + self._bias for row in x.flatten(1).double()]).float()


def prepare(pixels: torch.Tensor, side: int) -> torch.Tensor:
    """What the network sees of uint8 ``(n, 3, h, w)``: float32 ``(n, 3, side, side)`` in [-1, 1]."""
    from evalkit.imaging.resizes import RESIZES

    return RESIZES[RESIZE](pixels, (side, side)) / 127.5 - 1.0


def bundle_names() -> tuple[str, ...]:
    """Names of the bundles that `load_attributes` knows, those that ship with the package."""
    return tuple(name.removeprefix(_PREFIX) for name in WEIGHTS if name.startswith(_PREFIX))


def find_bundle(name: str | Path, weights_dir: Path | str | None = None) -> Path:
    """The file of a bundle, by path or by name (with or without ``attributes-`` before it).

    Raises:
        UsageError: There is no such file and no such name; the nearest are offered.
        WeightsError: The named bundle's file is missing or not the published one.
    """
    if isinstance(name, Path) or name.endswith(".safetensors"):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"there is no attribute bundle at {path}; check the path, or {_train()}")
        return path
    short = name.removeprefix(_PREFIX)
    if short not in bundle_names():
        raise UsageError(
            f"unknown attribute bundle {name!r} (nearest: {nearest(short, list(bundle_names()))}); known are "
            f"{', '.join(bundle_names())} and any .safetensors file that `evalkit attributes train` wrote"
        )
    return locate(_PREFIX + short, weights_folder(weights_dir), {})


def load_attributes(
    name_or_path: str | Path, device: torch.device | str = "cpu", weights_dir: Path | str | None = None
) -> Attributes:
    """A bundle ready to run.

    Args:
        name_or_path: ``digits``, or a file that `evalkit attributes train` wrote.
        device: Where it runs.
        weights_dir: Folder of weight files.

    Raises:
        UsageError: There is no such file and no such name.
        WeightsError: The file is no bundle, or its tensors are not those its header calls for.
    """
    path = find_bundle(name_or_path, weights_dir)
    info = read_info(path)
    tensors = read_tensors(path)
    if missing := [name for name in info.shapes if name not in tensors]:
        raise _broken(path, f"it has no tensor {missing[0]!r} ({len(missing)} are missing)")
    if foreign := [name for name in tensors if name not in info.shapes]:
        raise _broken(path, f"it holds a tensor {foreign[0]!r} that the network does not have")
    for name, shape in info.shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise _broken(path, f"{name!r} has shape {tuple(tensors[name].shape)} and should have {shape}")
        if not np.isfinite(tensors[name].double().numpy()).all():
            raise _broken(path, f"{name!r} holds NaN or infinite values")
    return Attributes(info, tensors, device)


def read_info(path: Path) -> BundleInfo:
    """What the header of a bundle says; no tensor is read.

    Raises:
        WeightsError: The file is no bundle, or its header does not hold together.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            held = (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError) as error:
        raise _broken(path, f"it cannot be read as safetensors ({error})") from error
    if held is None:
        raise _broken(path, f"its header has no {KEY!r}: it holds the tensors of something else")
    try:
        fields: dict[str, Any] = json.loads(held)
        for name in ("names", "widths", "accuracy", "positive"):
            fields[name] = tuple(fields[name])
        info = BundleInfo(**fields)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _broken(path, f"its header cannot be understood ({error})") from error
    if (wrong := _wrong(info)) is not None:
        raise _broken(path, f"its header says {wrong} = {getattr(info, wrong)!r}")
    return info


def write_bundle(path: Path, info: BundleInfo, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes a bundle atomically; equal content gives equal bytes.

    Raises:
        StoreError: The file cannot be written.
    """
    from safetensors.torch import save

    header = json.dumps(dataclasses.asdict(info), sort_keys=True, ensure_ascii=False)
    content = save({name: tensors[name].contiguous() for name in info.shapes}, metadata={KEY: header})
    with atomic_write(path) as file:
        file.write(content)


def _wrong(info: BundleInfo) -> str | None:
    # The first field that cannot be.
    def whole(value: object, low: int, high: int) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    num = len(info.names)
    shares = {name: getattr(info, name) for name in ("accuracy", "positive")}
    checks = {
        "version": info.version == FORMAT,
        "kind": info.kind in KINDS,
        "names": 0 < num <= _MOST
        and all(isinstance(name, str) and name for name in info.names)
        and len(set(info.names)) == num,
        "side": info.side in SIDES,
        "channels": info.channels == 3,
        "widths": all(whole(width, 1, _MOST) for width in info.widths)
        and len(info.widths) <= len(SIDES) + 1
        and bool(info.widths) == (info.kind == "cnn")
        and info.side >> max(len(info.widths) - 1, 0) >= 1,
        **{
            name: len(values) == num and all(isinstance(x, (int, float)) and 0 <= x <= 1 for x in values)
            for name, values in shares.items()
        },
    }
    return next((name for name, fine in checks.items() if not fine), None)


def _train() -> str:
    return "train one with `evalkit attributes train`"


def _broken(path: Path, what: str) -> WeightsError:
    return WeightsError(f"{path} is no attribute bundle: {what}; {_train()}")
