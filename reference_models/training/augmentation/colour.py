"""Colour augmentations: matrices on (red, green, blue, 1).

Paper: Karras et al. 2020 (arXiv:2006.06676), appendix B. With the luma axis ``v = (1, 1, 1) / sqrt(3)``:
brightness adds b to all channels, contrast multiplies all by c, luma flip is the reflection ``I - 2 v v^T``,
hue a rotation around v, saturation multiplies what is orthogonal to v.

Official: NVlabs/stylegan2-ada-pytorch@6f160b3, training/augment.py. Differs: nothing. A grey image is
coloured as (y, y, y), and the mean of its channels is taken back; hue and saturation cannot change it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalkit.errors import UsageError
from reference_models.training.augmentation.config import COLOR, AugmentConfig
from reference_models.training.augmentation.draws import Draws
from reference_models.training.augmentation.geometric import matrices


def colour_matrix(config: AugmentConfig, draws: Draws, p: float) -> Tensor | None:
    """The matrices of a batch.

    Args:
        config: Augmentations.
        draws: Of the batch.
        p: Strength, 0 to 1.

    Returns:
        float64 ``(n, 4, 4)``, None where no colour augmentation is on.
    """
    if not config.any_of(*COLOR):
        return None
    luma = torch.zeros(4, 4, dtype=torch.float64)
    luma[:3, :3] = 1 / 3
    rest = torch.eye(4, dtype=torch.float64) - luma  # orthogonal to the luma axis, and the 1
    b = draws.chosen("brightness", p * config.brightness) * draws.normal("brightness") * config.brightness_std
    colour = translate3d(b)
    log_c = draws.chosen("contrast", p * config.contrast) * draws.normal("contrast") * config.contrast_std
    colour = scale3d(torch.exp2(log_c)) @ colour
    flipped = draws.chosen("lumaflip", p * config.lumaflip) & (draws.uniform("lumaflip") >= 0.5)
    colour = (torch.eye(4, dtype=torch.float64) - 2 * luma * flipped[:, None, None]) @ colour
    angle = draws.chosen("hue", p * config.hue) * (draws.uniform("hue") * 2 - 1) * math.pi * config.hue_max
    colour = rotate_hue(angle) @ colour
    log_s = draws.chosen("saturation", p * config.saturation) * draws.normal("saturation")
    factor = torch.exp2(log_s * config.saturation_std)[:, None, None]
    saturated = luma + rest * factor
    saturated[:, 3, 3] = 1
    return saturated @ colour


def translate3d(shift: Tensor) -> Tensor:
    """``(n, 4, 4)`` that add ``(n,)`` to all channels."""
    matrix = torch.eye(4, dtype=shift.dtype).repeat(len(shift), 1, 1)
    matrix[:, :3, 3] = shift[:, None]
    return matrix


def scale3d(factor: Tensor) -> Tensor:
    """``(n, 4, 4)`` that multiply all channels by ``(n,)``."""
    return torch.diag_embed(torch.stack([factor, factor, factor, torch.ones_like(factor)], dim=-1))


def rotate_hue(angle: Tensor) -> Tensor:
    """``(n, 4, 4)`` that rotate by ``(n,)`` radians around the luma axis."""
    # Rodrigues: cos I + sin [v]x + (1 - cos) v v^T has three different entries, in cyclic order.
    cos, sin = angle.cos(), angle.sin() / math.sqrt(3)
    third = (1 - cos) / 3
    a, b, c = cos + third, third - sin, third + sin
    one, zero = torch.ones_like(a), torch.zeros_like(a)
    return matrices([[a, b, c, zero], [c, a, b, zero], [b, c, a, zero], [zero, zero, zero, one]])


def recolour(images: Tensor, colour: Tensor) -> Tensor:
    """Applies matrices to every pixel.

    Args:
        images: ``(n, c, r, r)``, three channels or one.
        colour: ``(n, 4, 4)``.

    Returns:
        Images of the same shape.

    Raises:
        UsageError: There are neither one nor three channels.
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        raise UsageError(
            f"colour augmentations know images of 1 or 3 channels; these have {channels}: choose the set 'bg'"
        )
    colour = colour[:, :3].to(device=images.device, dtype=images.dtype)
    if channels == 1:
        grey = colour.mean(dim=1)
        return images * grey[:, :3].sum(dim=1)[:, None, None, None] + grey[:, 3, None, None, None]
    return torch.baddbmm(colour[:, :, 3:], colour[:, :, :3], images.flatten(2)).view_as(images)
