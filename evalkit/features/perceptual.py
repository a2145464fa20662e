"""Networks as judges of restored images: distances to the original, as numbers and as maps.

LPIPS (Zhang et al. 2018, eq. 1) in the four forms of `evalkit.features.lpips`. A map is what the package
lpips gives for ``spatial=True``: at every depth the weighted squared differences of unit features, enlarged
to the image's size by bilinear interpolation (pixel centres at halves, ``align_corners=False``), summed over
depths. It is what the diversity score of andreas128/NTIRE21_Learning_SR_Space@cd4d574 is made of. The number
is the sum over depths of the means *before* enlarging, which is not quite the mean of the map. DISTS
(`evalkit.features.dists`) compares whole images and has no maps. NIQE is not offered (docs/adr/0007).

Images are uint8 of any size, not resized. One image passes the network at a time, the original once for all
of its samples, so that what is said of a sample depends on it and its original alone. float32 without TF32.
Imports torch only to load a network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError, lookup
from evalkit.features.base import tensors_sha256
from evalkit.features.lpips import (
    DISTANCES,
    PerceptualDistance,
    check_size,
    load_distance,
    network_tensors,
    weighted_difference,
)
from evalkit.features.weights import packaged_file

if TYPE_CHECKING:
    import torch

    UnitMaps = list[tuple[torch.Tensor, torch.Tensor | None]]

T = TypeVar("T")
Codes = TypeVar("Codes")
DISTS = "dists"
DISTS_SOURCE = "dingkeyan93/DISTS, weights DISTS_weights-f5e65c96.pth"
DISTS_PACKAGE = {"package": "torchmetrics", "what": DISTS, "install": "'evalkit[iqa]'"}  # carries them
_SMALLEST_FOR_DISTS = 16  # four pools
# Judges by name, and the entry of the weights catalogue that feeds each.
JUDGES: Mapping[str, str] = {**{name: info.weights for name, info in DISTANCES.items()}, DISTS: "vgg16"}

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
UInt8Array = npt.NDArray[np.uint8]


class Perceptual(Protocol):
    """A loaded judge.

    Attributes:
        name: Its name.
        sha256: Digest of the tensors in use, whatever file they came from.
        weights_file: The file they came from, for records.
        device: Where it runs.
        smallest: Least height and width of an image.
    """

    name: str
    sha256: str
    weights_file: str
    device: torch.device
    smallest: int

    def __call__(self, samples: UInt8Array, original: UInt8Array) -> Float64Array:
        """What it says of each sample.

        Args:
            samples: uint8 ``(n, 3, h, w)``.
            original: uint8 ``(3, h, w)``.

        Returns:
            float64 ``(n,)``.

        Raises:
            MetricError: Another shape or type, or images that are too small.
        """
        ...

    def maps(self, samples: UInt8Array, original: UInt8Array) -> Float32Array:
        """Where the samples differ from the original.

        Args:
            samples: uint8 ``(n, 3, h, w)``.
            original: uint8 ``(3, h, w)``.

        Returns:
            float32 ``(n, h, w)``, at least 0.

        Raises:
            MetricError: Another shape or type, images that are too small, or a judge that has no maps.
        """
        ...


class _Judge(ABC, Generic[Codes]):
    # A `Perceptual` that encodes one image at a time; each kind has its own codes.
    def __init__(
        self, name: str, sha256: str, weights_file: str, device: torch.device, smallest: int
    ) -> None:
        self.name, self.sha256, self.weights_file = name, sha256, weights_file
        self.device, self.smallest = device, smallest

    def __call__(self, samples: UInt8Array, original: UInt8Array) -> Float64Array:
        return np.array(self._compared(self.number, samples, original), np.float64)

    @abstractmethod
    def encode(self, levels: torch.Tensor) -> Codes:
        """What the network makes of an image: float32 levels 0 to 255, ``(1, 3, h, w)``."""

    @abstractmethod
    def number(self, sample: Codes, original: Codes) -> float:
        """The distance of two images by their codes."""

    @abstractmethod
    def maps(self, samples: UInt8Array, original: UInt8Array) -> Float32Array:
        """See `Perceptual.maps`."""

    def _compared(
        self, compare: Callable[[Codes, Codes], T], samples: UInt8Array, original: UInt8Array
    ) -> list[T]:
        from evalkit.imaging.exact import exact_float32

        self._check(samples, original)
        with exact_float32():
            beside = self.encode(self._levels(original))
            return [compare(self.encode(self._levels(sample)), beside) for sample in samples]

    def _levels(self, image: UInt8Array) -> torch.Tensor:
        import torch

        images = torch.from_numpy(np.ascontiguousarray(image))[None].to(self.device).float()
        return images.contiguous(memory_format=torch.channels_last)

    def _check(self, samples: UInt8Array, original: UInt8Array) -> None:
        fits = samples.dtype == original.dtype == np.uint8 and samples.ndim == 4 and original.ndim == 3
        if not fits or samples.shape[1:] != original.shape or len(original) != 3:
            raise MetricError(
                f"{self.name} compares uint8 RGB samples (n, 3, h, w) with an original (3, h, w) of their "
                f"size; got {samples.dtype} {samples.shape} and {original.dtype} {original.shape}"
            )
        check_size(self.name, self.smallest, *original.shape[1:])


class _Distance(_Judge["UnitMaps"]):
    # LPIPS, or its recipe.
    def __init__(self, distance: PerceptualDistance) -> None:
        known = (distance.sha256, distance.weights_file, distance.device, distance.info.smallest)
        super().__init__(distance.name, *known)
        self._distance = distance

    def encode(self, levels: torch.Tensor) -> UnitMaps:
        return self._distance.unit_maps(levels)

    def number(self, sample: UnitMaps, original: UnitMaps) -> float:
        return sum(float(depth.double().mean()) for depth in _depths(sample, original))

    def maps(self, samples: UInt8Array, original: UInt8Array) -> Float32Array:
        from torch.nn import functional

        size = original.shape[1:]

        def enlarged(ours: UnitMaps, theirs: UnitMaps) -> Float32Array:
            parts = [
                functional.interpolate(depth[:, None], size, mode="bilinear")
                for depth in _depths(ours, theirs)
            ]
            found: Float32Array = sum(parts[1:], parts[0])[0, 0].cpu().numpy()
            return found

        found = self._compared(enlarged, samples, original)
        return np.stack(found) if found else np.empty((0, *size), np.float32)


def _depths(ours: UnitMaps, theirs: UnitMaps) -> list[torch.Tensor]:
    # Weighted differences (1, h', w') at every depth.
    pairs = zip(ours, theirs, strict=True)
    return [weighted_difference(first, second, weights) for (first, weights), (second, _) in pairs]


class _Dists(_Judge["list[torch.Tensor]"]):
    def __init__(self, tensors: Mapping[str, torch.Tensor], device: torch.device, weights_file: str) -> None:
        from evalkit.features.dists import Dists

        super().__init__(DISTS, tensors_sha256(tensors), weights_file, device, _SMALLEST_FOR_DISTS)
        self._dists = Dists(tensors, device)

    def encode(self, levels: torch.Tensor) -> list[torch.Tensor]:
        return self._dists.maps(levels)

    def number(self, sample: list[torch.Tensor], original: list[torch.Tensor]) -> float:
        return self._dists.compare(sample, original)

    def maps(self, samples: UInt8Array, original: UInt8Array) -> Float32Array:
        raise MetricError(
            "dists compares images as wholes and has no maps; take one of "
            f"{', '.join(DISTANCES)} for what needs maps"
        )


def load_perceptual(
    name: str,
    *,
    device: torch.device | str = "cpu",
    weights_dir: Path | str | None = None,
    overrides: Mapping[str, Path] | None = None,
) -> Perceptual:
    """A judge ready to run, with verified weights. Nothing is downloaded.

    Args:
        name: ``lpips-alex``, ``lpips-vgg16``, ``lpips-squeeze``, ``lpips-mini`` or ``dists``.
        device: Where it runs.
        weights_dir: Folder of weight files.
        overrides: Files to use for single weights, by name.

    Raises:
        UsageError: There is no such judge, or a file was named for weights that do not exist.
        WeightsError: Weights or the package that carries them are missing, partial, wrong, or do not fit.
    """
    lookup(name, JUDGES, "judge")
    if name != DISTS:
        return _Distance(load_distance(name, device=device, weights_dir=weights_dir, overrides=overrides))
    import torch

    from evalkit.features import dists
    from evalkit.features.lpips_nets import VGG16

    carried = packaged_file(file=dists.WEIGHTS_FILE, sha256=dists.WEIGHTS_SHA256, **DISTS_PACKAGE)
    learned = dists.read_weights(carried)
    tensors, path = network_tensors(JUDGES[name], name, VGG16.shapes(), weights_dir, overrides)
    return _Dists(tensors | learned, torch.device(device), str(path))
