"""A grid of features read at transformed places: how an input without coordinates of its own is moved.

StyleGAN and StyleGAN2 begin with a learned constant of 4x4 pixels; other generators with latents that form a
grid. Neither has coordinates that a transform could act on. Here the grid itself is moved, bilinearly, with
its border continued outwards. This is evalkit's own definition: Karras et al. 2021 state no equivariance for
such networks, and begin (figure 3, configuration B) with Fourier features in the constant's place.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from evalkit.errors import UsageError


def moved_grid(grid: Tensor, transform: Tensor) -> Tensor:
    """The grid behind a moved picture.

    Args:
        grid: ``(n, c, h, w)``.
        transform: Inverse transform of the picture, ``(3, 3)``; its shift is a share of the picture.

    Returns:
        ``(n, c, h, w)``; the grid itself, to the last bit, under the identity.

    Raises:
        UsageError: The transform has another shape.
    """
    if tuple(transform.shape) != (3, 3):
        raise UsageError(
            f"a transform of a grid of features has shape (3, 3); given is {tuple(transform.shape)}"
        )
    matrix = transform.double()
    if torch.equal(matrix, torch.eye(3, dtype=matrix.dtype, device=matrix.device)):
        return grid
    # Places are in units of half a picture, so shifts count twice.
    matrix = matrix[:2] * matrix.new_tensor([1.0, 1.0, 2.0])
    places = functional.affine_grid(
        matrix.to(grid).expand(len(grid), 2, 3), list(grid.shape), align_corners=False
    )
    return functional.grid_sample(grid, places, mode="bilinear", padding_mode="border", align_corners=False)
