"""Perceptual path length: how far images move, for a small step of their latents, in a perceptual distance.

``d(G(l(t)), G(l(t + eps))) / eps^2`` for pairs of latents (Karras et al. 2019, eq. 2-3), of which the extreme
percentiles are dropped before the mean. Conventions: SPEC-stylegan section 7 and SPEC-gan-family section 3
(NVlabs/stylegan@1e0d5c7, NVlabs/stylegan2@bf0fe0b and NVlabs/stylegan3@c233a91,
metrics/perceptual_path_length.py), toshas/torch-fidelity@5e211a9 metric_ppl.py. Generator, mapping and
distance are callables: no model, network or file is known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.imaging.quantise import to_uint8
from evalkit.metrics.latent.interpolate import lerp, slerp

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = npt.NDArray[np.float64]

BOX_SIDE = 256  # what box filters shrink to
AREA_SIDE = 64


class PathOptions(Protocol):
    """What decides a distance; `evalkit.protocols.spec.PathLengthOptions` says what each field means."""

    @property
    def space(self) -> Literal["z", "w"]:
        """Where the step is taken."""
        ...

    @property
    def interpolation(self) -> Literal["slerp", "lerp"]:
        """Of two z."""
        ...

    @property
    def epsilon(self) -> float:
        """Length of the step."""
        ...

    @property
    def crop(self) -> bool:
        """Whether only the middle counts."""
        ...

    @property
    def reduce(self) -> Literal["box-by-crop", "box-by-image", "64"]:
        """How images shrink."""
        ...

    @property
    def pixels(self) -> Literal["float", "uint8"]:
        """Whether images are rounded first."""
        ...


class Trimmed(NamedTuple):
    """A mean without the extremes.

    Attributes:
        mean: Of the values within the bounds, both included.
        lower: Smallest value that counts.
        upper: Largest value that counts.
        kept: The values that count, in their order.
    """

    mean: float
    lower: float
    upper: float
    kept: FloatArray


def trimmed(values: npt.ArrayLike, low: float, high: float) -> Trimmed:
    """The mean of the values between two percentiles, in float64.

    Of a percentile that falls between two values the outer one is the bound: the sorted values
    ``floor(low (n - 1) / 100)`` and ``ceil(high (n - 1) / 100)``.

    Args:
        values: ``(n,)``, n at least 1.
        low: Percentile of the lower bound, 0 to 100.
        high: Percentile of the upper bound, at least ``low``.

    Raises:
        MetricError: There are no values, or one of them is not finite.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found):
        raise MetricError(f"a path length needs a row of 1 or more distances, got shape {found.shape}")
    if not np.isfinite(found).all():
        raise MetricError(
            f"{int((~np.isfinite(found)).sum())} of {len(found)} distances are NaN or infinite; the "
            "generator failed there: check its weights and precision"
        )
    lower = float(np.percentile(found, low, method="lower"))
    return between(found, lower, float(np.percentile(found, high, method="higher")))


def between(values: FloatArray, lower: float, upper: float) -> Trimmed:
    """The mean of the values within two bounds, of which one at least lies there."""
    kept = values[(lower <= values) & (values <= upper)]
    return Trimmed(float(kept.mean()), lower, upper, kept)


def prepare(images: Tensor, options: PathOptions) -> Tensor:
    """What a perceptual distance is shown of a generator's images.

    In this order: rounding to 8 bits, where asked for; the middle, rows 3/8 to 7/8 and columns 2/8 to 6/8 in
    steps of an eighth of the height; the reduction; grey to three channels. ``box-by-crop`` takes the mean of
    boxes of ``side // 256`` by the side after the crop (StyleGAN, StyleGAN2), ``box-by-image`` of the whole
    image (StyleGAN2-ADA, StyleGAN3), ``64`` the mean of areas down to 64x64, or half-pixel bilinear where one
    side is not above 64 (torch-fidelity).

    Args:
        images: Floats in about [-1, 1], ``(n, 1 or 3, h, w)``.
        options: Fields ``crop``, ``reduce`` and ``pixels``.

    Returns:
        ``(n, 3, h', w')`` of the same type on the scale 0 to 255, neither clipped nor rounded unless
        ``pixels`` is ``uint8``.

    Raises:
        MetricError: Another shape, nothing left after the crop, or a side that boxes do not divide.
        SourceError: Images to be rounded are not finite.
    """
    from torch.nn import functional

    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise MetricError(
            f"a perceptual distance is of grey or RGB images (n, 1 or 3, h, w), got {tuple(images.shape)}"
        )
    side, eighth = images.shape[2], images.shape[2] // 8
    x = to_uint8(images).to(images.dtype) if options.pixels == "uint8" else images
    if options.crop:
        x = x[:, :, 3 * eighth : 7 * eighth, 2 * eighth : 6 * eighth]
        if not x.shape[2] * x.shape[3]:
            raise MetricError(f"nothing is left of the middle of images of {side} rows; use 8 rows or more")
    if options.reduce == "64":
        both = (AREA_SIDE, AREA_SIDE)
        larger = min(x.shape[2:]) > AREA_SIDE
        x = (
            functional.interpolate(x, both, mode="area")
            if larger
            else functional.interpolate(x, both, mode="bilinear", align_corners=False)
        )
    else:
        factor = (x.shape[2] if options.reduce == "box-by-crop" else side) // BOX_SIDE
        if factor > 1:
            if x.shape[2] % factor or x.shape[3] % factor:
                raise MetricError(
                    f"images of {x.shape[2]} by {x.shape[3]} cannot be cut into boxes of {factor} by "
                    f"{factor}, as this protocol shrinks them; use a protocol with another crop, or another "
                    "resolution"
                )
            x = functional.avg_pool2d(x, factor)
    if options.pixels == "float":
        x = (x + 1) * 127.5
    return x if x.shape[1] == 3 else x.repeat(1, 3, 1, 1)


def path_pairs(
    mapping: Callable[[Tensor], Tensor], z0: Tensor, z1: Tensor, t: Tensor, options: PathOptions
) -> tuple[Tensor, Tensor]:
    """Styles at ``t`` and at ``t + epsilon`` on the ways between pairs of latents.

    In w both latents are mapped and joined by a line; in z they are joined first, and the two points mapped.

    Args:
        mapping: Of latents ``(n, d)`` to styles ``(n, ...)``.
        z0: Where the ways begin, ``(n, d)``.
        z1: Where they end.
        t: Places on them, ``(n,)``; in float64 they and the step are exact to more digits than the latents.
        options: Fields ``space``, ``interpolation`` and ``epsilon``.

    Returns:
        Styles at ``t`` and at ``t + epsilon``, in the type that ``mapping`` gives.

    Raises:
        MetricError: See `slerp`.
    """
    places = (t, t + options.epsilon)
    if options.space == "w":
        w0, w1 = mapping(z0), mapping(z1)
        first, second = (lerp(w0, w1, place).to(w0.dtype) for place in places)
    else:
        join = slerp if options.interpolation == "slerp" else lerp
        first, second = (mapping(join(z0, z1, place).to(z0.dtype)) for place in places)
    return first, second


def path_distances(
    synthesise: Callable[[Tensor], Tensor],
    mapping: Callable[[Tensor], Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
    z0: Tensor,
    z1: Tensor,
    t: Tensor,
    options: PathOptions,
) -> Tensor:
    """Distance over the squared step for pairs of latents: what a path length is the trimmed mean of.

    Args:
        synthesise: Of styles ``(2 n, ...)`` to images, `prepare`'s argument: all images at ``t``, then all at
            ``t + epsilon``. Whatever is random in them must be the same in both halves.
        mapping: See `path_pairs`.
        distance: Of two batches of prepared images, ``(n,)``.
        z0: Where the ways begin, ``(n, d)``.
        z1: Where they end.
        t: Places on them, ``(n,)``.
        options: All fields.

    Returns:
        ``(n,)``.

    Raises:
        MetricError: See `slerp` and `prepare`.
    """
    import torch

    first, second = path_pairs(mapping, z0, z1, t, options)
    at, further = prepare(synthesise(torch.cat([first, second])), options).chunk(2)
    return distance(at, further) / options.epsilon**2
