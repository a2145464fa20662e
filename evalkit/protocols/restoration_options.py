"""Settings of the protocols of restoration: what is compared with what, over which pixels and samples."""

from __future__ import annotations

import dataclasses
from typing import Literal

# Of several samples of one image: their mean, the best of them, or the worst.
OfSamples = Literal["mean", "best", "worst"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FidelityOptions:
    """PSNR or SSIM between a restoration and its original, both uint8.

    Attributes:
        measure: ``psnr`` in dB with peak 255, or ``ssim``.
        channels: ``rgb``, or ``y``: the luma of BT.601 from 16 to 235, not rounded; an original that is
            stored grey is compared by its grey level.
        border: Pixels left out along every edge, before anything else: ``none``, ``scale`` (as many as the
            scale), or ``scale+6``.
        window: Of SSIM: ``gaussian11``, 11x11 with sigma 1.5, where it lies inside the image; ``uniform7``,
            7x7 with sample covariances. None of PSNR.
        of_samples: Which of several samples of an image counts.
    """

    measure: Literal["psnr", "ssim"]
    channels: Literal["rgb", "y"]
    border: Literal["none", "scale", "scale+6"]
    window: Literal["gaussian11", "uniform7"] | None = None
    of_samples: OfSamples = "mean"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PerceptualOptions:
    """What a network says of a restoration beside its original.

    Attributes:
        of_samples: Which of several samples of an image counts.
    """

    of_samples: OfSamples = "mean"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ConsistencyOptions:
    """PSNR in dB between a restoration that is shrunk again and the low-resolution image, both uint8 RGB.

    Attributes:
        against: ``input``, the low-resolution image itself; ``original``, the original shrunk likewise.
        multiple: Restoration and original are first cropped to multiples of so many pixels; None takes all.
        of_samples: Which of several samples of an image counts.
    """

    against: Literal["input", "original"]
    multiple: int | None
    of_samples: OfSamples = "mean"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DiversityOptions:
    """By how much choosing the best sample pixel by pixel beats choosing the best sample: (G - L) / G * 100.

    Attributes:
        multiple: Images are first cropped to multiples of so many pixels; None takes all.
    """

    multiple: int | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SampleSpreadOptions:
    """Standard deviation over the samples of an image, of every pixel and channel, averaged.

    Attributes:
        ddof: It divides by ``n - ddof``.
        peak: The scale: 255 where levels go from 0 to 255.
    """

    ddof: Literal[0, 1]
    peak: Literal[255] = 255


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ConditionalLikelihoodOptions:
    """-log2 p(original | low-resolution image) over the dimensions of the original.

    Attributes:
        bits: Bits of a level; uniform noise of one level's width is added to the original.
    """

    bits: Literal[8]


# Of one sample; those of several samples of an image together are the others.
SampleOptions = FidelityOptions | PerceptualOptions | ConsistencyOptions
TogetherOptions = DiversityOptions | SampleSpreadOptions
RestorationOptions = SampleOptions | TogetherOptions | ConditionalLikelihoodOptions
