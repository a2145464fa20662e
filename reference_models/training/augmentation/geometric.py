"""Pixel blitting and general geometric augmentations: their matrices.

Paper: Karras et al. 2020 (arXiv:2006.06676), appendix B. Positions are pixels from the middle of the image, x
to the right and y down. What is composed is the inverse: where in the image a position of the result is
looked up. The inverse of ``G = T_k ... T_1`` is ``T_1^-1 ... T_k^-1``, so every step multiplies from the
right.

Official: NVlabs/stylegan2-ada-pytorch@6f160b3, training/augment.py. Differs: quarter turns are exact.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reference_models.training.augmentation.config import BLIT, GEOM, AugmentConfig
from reference_models.training.augmentation.draws import Draws


def blit_inverse(config: AugmentConfig, draws: Draws, p: float, side: int) -> Tensor | None:
    """Inverse matrices of flips, quarter turns and shifts by whole pixels.

    Args:
        config: Augmentations.
        draws: Of the batch.
        p: Strength, 0 to 1.
        side: Of the images, in pixels.

    Returns:
        float64 ``(n, 3, 3)`` of whole numbers, None where none is on.
    """
    if not config.any_of(*BLIT):
        return None
    flipped = draws.chosen("xflip", p * config.xflip) & (draws.uniform("xflip") >= 0.5)
    inverse = scale2d(torch.where(flipped, -1.0, 1.0).double(), torch.ones_like(draws.uniform("xflip")))
    quarters = (draws.uniform("rotate90") * 4).floor()
    inverse = inverse @ quarter_turn(draws.chosen("rotate90", p * config.rotate90) * quarters)
    chosen = draws.chosen("xint", p * config.xint)
    x, y = (
        chosen * ((draws.uniform(f"xint_{axis}") * 2 - 1) * config.xint_max * side).round() for axis in "xy"
    )
    return inverse @ translate2d(-x, -y)


def general_inverse(config: AugmentConfig, draws: Draws, p: float, side: int) -> Tensor | None:
    """Inverse matrices of scales, rotations and shifts by parts of pixels.

    Args:
        config: Augmentations.
        draws: Of the batch.
        p: Strength, 0 to 1.
        side: Of the images, in pixels.

    Returns:
        float64 ``(n, 3, 3)``, None where none is on.
    """
    if not config.any_of(*GEOM):
        return None
    log_scale = draws.chosen("scale", p * config.scale) * draws.normal("scale") * config.scale_std
    inverse = scale2d(torch.exp2(-log_scale), torch.exp2(-log_scale))
    # An image stays unrotated with probability 1 - p over the two rotations together.
    half = 1 - math.sqrt(1 - min(p * config.rotate, 1.0))
    before, after = (
        draws.chosen(name, half) * (draws.uniform(name) * 2 - 1) * math.pi * config.rotate_max
        for name in ("rotate_pre", "rotate_post")
    )
    inverse = inverse @ rotate2d(before)
    log_aniso = draws.chosen("aniso", p * config.aniso) * draws.normal("aniso") * config.aniso_std
    inverse = inverse @ scale2d(torch.exp2(-log_aniso), torch.exp2(log_aniso))
    inverse = inverse @ rotate2d(after)
    chosen = draws.chosen("xfrac", p * config.xfrac)
    x, y = (chosen * draws.normal(f"xfrac_{axis}") * config.xfrac_std * side for axis in "xy")
    return inverse @ translate2d(-x, -y)


def translate2d(x: Tensor, y: Tensor) -> Tensor:
    """``(n, 3, 3)`` that shift by ``(n,)`` pixels."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return matrices([[one, zero, x], [zero, one, y], [zero, zero, one]])


def scale2d(x: Tensor, y: Tensor) -> Tensor:
    """``(n, 3, 3)`` that scale the axes by ``(n,)`` factors."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return matrices([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def rotate2d(angle: Tensor) -> Tensor:
    """``(n, 3, 3)`` that rotate from x towards y by ``(n,)`` radians."""
    return _turn(angle.cos(), angle.sin())


def quarter_turn(count: Tensor) -> Tensor:
    """``(n, 3, 3)`` of whole numbers that turn from x towards y by ``(n,)`` quarters (0 to 3)."""
    cos = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=count.dtype)
    return _turn(cos[count.long()], cos[(count.long() + 3) % 4])


def _turn(cos: Tensor, sin: Tensor) -> Tensor:
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    return matrices([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]])


def matrices(rows: list[list[Tensor]]) -> Tensor:
    """``(n, rows, columns)`` of entries ``(n,)``."""
    flat = torch.stack([entry for row in rows for entry in row], dim=-1)
    return flat.view(-1, len(rows), len(rows[0]))
