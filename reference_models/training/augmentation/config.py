"""Which augmentations a discriminator's images get, how often and how strongly; and the field's named sets.

Paper: Karras et al. 2020 (arXiv:2006.06676), appendix B, whose strengths are the defaults. The names of the
fields and of the sets are those of NVlabs/stylegan2-ada-pytorch@6f160b3, training/augment.py. Differs: the
four bands of the image filter share one multiplier.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from evalkit.errors import UsageError

BLIT = ("xflip", "rotate90", "xint")
GEOM = ("scale", "rotate", "aniso", "xfrac")
COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
FILTER = ("imgfilter",)
NOISE = ("noise",)
CUTOUT = ("cutout",)
_FRACTIONS = ("xint_max", "rotate_max", "hue_max", "cutout_size")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """One multiplier of the strength p for every augmentation (0 is off), and how far each goes.

    An augmentation is applied to an image with probability ``min(p * multiplier, 1)``.

    Attributes:
        xflip: Mirror left and right, on a fair coin.
        rotate90: Turn by 0, 1, 2 or 3 quarters.
        xint: Shift by whole pixels.
        scale: Scale both axes alike.
        rotate: Rotate by any angle, before or after ``aniso``.
        aniso: Scale the axes by inverse factors.
        xfrac: Shift by fractions of a pixel.
        brightness: Add to all channels.
        contrast: Multiply all channels.
        lumaflip: Mirror the luma axis, on a fair coin.
        hue: Rotate around the luma axis.
        saturation: Multiply the distance from the luma axis.
        imgfilter: Amplify each of four frequency bands.
        noise: Add white noise.
        cutout: Set a square to grey.
        xint_max: Largest shift of ``xint``, as a part of the side.
        scale_std: Standard deviation of the base-2 logarithm of ``scale``.
        rotate_max: Largest angle of ``rotate``; 1 is 180 degrees.
        aniso_std: Standard deviation of the base-2 logarithm of ``aniso``.
        xfrac_std: Standard deviation of ``xfrac``, as a part of the side.
        brightness_std: Standard deviation of ``brightness``, where images are in [-1, 1].
        contrast_std: Standard deviation of the base-2 logarithm of ``contrast``.
        hue_max: Largest angle of ``hue``; 1 is 180 degrees.
        saturation_std: Standard deviation of the base-2 logarithm of ``saturation``.
        imgfilter_std: Standard deviation of the base-2 logarithm of a band's factor.
        noise_std: Scale of the half-normal standard deviation of ``noise``.
        cutout_size: Side of the square, as a part of the side.
    """

    xflip: float = 0.0
    rotate90: float = 0.0
    xint: float = 0.0
    scale: float = 0.0
    rotate: float = 0.0
    aniso: float = 0.0
    xfrac: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    lumaflip: float = 0.0
    hue: float = 0.0
    saturation: float = 0.0
    imgfilter: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0
    xint_max: float = 0.125
    scale_std: float = 0.2
    rotate_max: float = 1.0
    aniso_std: float = 0.2
    xfrac_std: float = 0.125
    brightness_std: float = 0.2
    contrast_std: float = 0.5
    hue_max: float = 1.0
    saturation_std: float = 1.0
    imgfilter_std: float = 1.0
    noise_std: float = 0.1
    cutout_size: float = 0.5

    def __post_init__(self) -> None:
        """Refuses numbers out of range.

        Raises:
            UsageError: A field is no number, negative, not finite, or a part above 1.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            high = 1.0 if field.name in _FRACTIONS else math.inf
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not 0 <= value <= high:
                wanted = "a number from 0 to 1" if high == 1 else "a number of 0 (off) or more"
                raise UsageError(f"augmentation: {field.name} is {value!r}; give {wanted}")

    def any_of(self, *names: str) -> bool:
        """Whether one of these augmentations is on."""
        return any(getattr(self, name) > 0 for name in names)


def _on(*groups: tuple[str, ...]) -> AugmentConfig:
    return AugmentConfig(**{name: 1.0 for group in groups for name in group})


SETS: Mapping[str, AugmentConfig] = {
    "blit": _on(BLIT),
    "geom": _on(GEOM),
    "color": _on(COLOR),
    "filter": _on(FILTER),
    "noise": _on(NOISE),
    "cutout": _on(CUTOUT),
    "bg": _on(BLIT, GEOM),
    "bgc": _on(BLIT, GEOM, COLOR),
    "bgcf": _on(BLIT, GEOM, COLOR, FILTER),
    "bgcfn": _on(BLIT, GEOM, COLOR, FILTER, NOISE),
    "bgcfnc": _on(BLIT, GEOM, COLOR, FILTER, NOISE, CUTOUT),
}
DEFAULT_SET = "bgc"
