"""EQ-T and EQ-R: the PSNR between what a generator makes of a moved input and its picture, moved.

Karras et al. 2021, section 3 and appendix E; official file NVlabs/stylegan3@c233a91 metrics/equivariance.py:
EQ-T of shifts by whole pixels (``int``) and by fractions (``frac``), EQ-R of rotations (``rot``). Images are
floats in about [-1, 1], not clipped. Squared errors are pooled over all images before the logarithm is taken.
A generator's transform is the *inverse* of what happens to the picture: its input is read at ``M (x, y)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evalkit.errors import MetricError
from evalkit.metrics.equivariance import warps

FloatArray = npt.NDArray[np.float64]
Operation = Literal["int", "frac", "rot"]
OPERATIONS: tuple[Operation, ...] = ("int", "frac", "rot")
PEAK = 2.0  # from black to white

# Images under an inverse transform ``(3, 3)``.
Synthesis = Callable[[Tensor], Tensor]


class Move(NamedTuple):
    """What happens to the pictures of a batch.

    Attributes:
        tx: Shift to the right, as a share of the width.
        ty: Shift down, as a share of the height.
        angle: Rotation, radians.
    """

    tx: float = 0.0
    ty: float = 0.0
    angle: float = 0.0


class Compared(NamedTuple):
    """Two images that are equal where the generator is equivariant, and where they can be compared.

    Attributes:
        made: Of the moved input, ``(n, c, h, w)``.
        expected: The picture of the input as it was, moved; likewise.
        mask: 1 where they are compared, ``(1, 1, h, w)``.
    """

    made: Tensor
    expected: Tensor
    mask: Tensor

    def error(self) -> Tensor:
        """Squared errors, 0 where nothing is compared: ``(n, c, h, w)``."""
        return (self.made - self.expected).square() * self.mask

    def sums(self) -> FloatArray:
        """For each image the sum of squared errors and how many values it is over: float64 ``(n, 2)``."""
        errors = self.error().double().sum(dim=(1, 2, 3)).cpu().numpy()
        counted = float(self.mask.double().sum()) * self.made.shape[1]
        return np.stack([errors, np.full(len(errors), counted)], axis=1)


def draw_move(
    operation: Operation, uniform: FloatArray, *, translate_max: float = 0.125, rotate_max: float = 1.0
) -> Move:
    """The move of uniform draws.

    Args:
        operation: ``int``, ``frac`` or ``rot``.
        uniform: In [0, 1): two for shifts (x, y), one for a rotation.
        translate_max: Largest shift, as a share of the image.
        rotate_max: Largest rotation, as a share of half a turn.
    """
    signed = [2 * float(u) - 1 for u in uniform]
    if operation == "rot":
        return Move(angle=signed[0] * math.pi * rotate_max)
    return Move(tx=signed[0] * translate_max, ty=signed[1] * translate_max)


def compare(synthesis: Synthesis, original: Tensor, operation: Operation, move: Move) -> Compared:
    """Makes the image of a moved input and moves the original.

    Args:
        synthesis: The generator, of the latents behind ``original``.
        original: Its images without a transform, ``(n, c, h, w)``.
        operation: ``int``, ``frac`` or ``rot``.
        move: How to move; ``int`` rounds it to whole pixels.

    Raises:
        MetricError: Under the transform the generator gives images of another shape.
    """
    moved = synthesis(_matrix(_snapped(move, original) if operation == "int" else move))
    if moved.shape != original.shape:
        raise MetricError(
            f"the generator returned images of shape {tuple(moved.shape)} under a transform and "
            f"{tuple(original.shape)} without; return the same shape"
        )
    if operation == "rot":
        made, kept = warps.fractional_pseudo_rotation(moved, move.angle)
        expected, mask = warps.fractional_rotation(original, move.angle)
        return Compared(made, expected, mask * kept)
    if operation == "int":
        return Compared(moved, *warps.integer_shift(original, *_snapped(move, original)[:2]))
    return Compared(moved, *warps.fractional_shift(original, move.tx, move.ty))


def _snapped(move: Move, images: Tensor) -> Move:
    return Move(*warps.snap(move.tx, move.ty, *images.shape[-2:]))


def _matrix(move: Move) -> Tensor:
    # The inverse of the picture's move.
    matrix = warps.rotation(-move.angle)
    matrix[0, 2], matrix[1, 2] = -move.tx, -move.ty
    return torch.from_numpy(matrix).float()


def psnr(error: float, counted: float) -> float:
    """PSNR in dB of a sum of squared errors over ``counted`` values.

    Raises:
        MetricError: No value could be compared, or all are equal.
    """
    if counted <= 0:
        raise MetricError(
            "no pixel of any image could be compared: the images are too small for the filters of this "
            "metric (rotations need more than 12 pixels a side)"
        )
    if error <= 0:
        raise MetricError(
            "the image of every moved input equals the moved image to the last bit: the PSNR is infinite, "
            "and no number can be filed; the generator is exactly equivariant, or gives one flat colour"
        )
    return 20 * math.log10(PEAK) - 10 * math.log10(error / counted)
