"""Networks as judges of restored images: distances to the original, as numbers and as maps.

LPIPS (Zhang et al. 2018, eq. 1) in the four forms of `evalkit.features.lpips`. A map is what the package
lpips gives for ``spatial=True``: at every depth the weighted squared differences of unit features, enlarged
to the image's size by bilinear interpolation (pixel centres at halves, ``align_corners=False``), summed over
depths. It is what the diversity score of andreas128/NTIRE21_Learning_SR_Space@cd4d574 is made of. The number
is the sum over depths of the means *before* enlarging, which is not quite the mean of the map.

Images are uint8 of any size, not resized. One image passes the network at a time, the original once for all
of its samples, so that what is said of a sample depends on it and its original alone. float32 without TF32.
Imports torch only to load a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError, lookup
from evalkit.features.lpips import DISTANCES, PerceptualDistance, load_distance, weighted_difference

if TYPE_CHECKING:
    import torch

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


class _Distance:
    """A `Perceptual` of LPIPS or its recipe."""

    def __init__(self, distance: PerceptualDistance) -> None:
        self._distance = distance
        self.name = distance.name
        self.sha256 = distance.sha256
        self.weights_file = distance.weights_file
        self.device = distance.device
        self.smallest = distance.info.smallest

    def __call__(self, samples: UInt8Array, original: UInt8Array) -> Float64Array:
        found = [
            sum(float(depth.double().mean()) for depth in depths)
            for depths in self._differences(samples, original)
        ]
        return np.array(found, np.float64)

    def maps(self, samples: UInt8Array, original: UInt8Array) -> Float32Array:
        from torch.nn import functional

        size = original.shape[1:]
        found = np.empty((len(samples), *size), np.float32)
        for place, depths in enumerate(self._differences(samples, original)):
            enlarged = [functional.interpolate(depth[:, None], size, mode="bilinear") for depth in depths]
            found[place] = sum(enlarged[1:], enlarged[0])[0, 0].cpu().numpy()
        return found

    def _differences(self, samples: UInt8Array, original: UInt8Array) -> list[list[torch.Tensor]]:
        # For each sample the differences (1, h', w') at every depth.
        import torch

        from evalkit.imaging.exact import exact_float32

        check_images(self.name, samples, original)
        self._distance.check_size(*original.shape[1:])
        with exact_float32():
            beside = self._distance.unit_maps(torch.from_numpy(np.ascontiguousarray(original)))
            return [
                [
                    weighted_difference(ours, theirs, weights)
                    for (ours, weights), (theirs, _) in zip(
                        self._distance.unit_maps(torch.from_numpy(np.ascontiguousarray(sample))),
                        beside,
                        strict=True,
                    )
                ]
                for sample in samples
            ]


def check_images(name: str, samples: UInt8Array, original: UInt8Array) -> None:
    """Refuses what a judge cannot look at.

    Raises:
        MetricError: Anything but uint8 ``(n, 3, h, w)`` and ``(3, h, w)``.
    """
    fits = samples.dtype == original.dtype == np.uint8 and samples.ndim == 4 and original.ndim == 3
    if not fits or samples.shape[1:] != original.shape or len(original) != 3:
        raise MetricError(
            f"{name} compares uint8 RGB samples (n, 3, h, w) with an original (3, h, w) of their size; got "
            f"{samples.dtype} {samples.shape} and {original.dtype} {original.shape}"
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
        name: ``lpips-alex``, ``lpips-vgg16``, ``lpips-squeeze`` or ``lpips-mini``.
        device: Where it runs.
        weights_dir: Folder of weight files.
        overrides: Files to use for single weights, by name.

    Raises:
        UsageError: There is no such judge, or a file was named for weights that do not exist.
        WeightsError: Weights are missing, partial, wrong, or do not fit the network.
    """
    lookup(name, DISTANCES, "judge")
    return _Distance(load_distance(name, device=device, weights_dir=weights_dir, overrides=overrides))
