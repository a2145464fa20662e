"""What one upfirdn2d does, as data: filter, factors and padding, the sizes that follow, and the adjoint.

The adjoint of upsample-filter-downsample is again upsample-filter-downsample, with the factors swapped and
the filter mirrored. So the backward pass of the fast path, and its own backward pass, need no further
operation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

# What autograd hands to a Function; it takes any attribute.
Context = Any

Pads = tuple[int, int, int, int]


class Resample(NamedTuple):
    """One upfirdn2d without its input: everything that does not depend on the picture.

    Attributes:
        f: Filter ``(taps,)``, used along both axes, or ``(taps_y, taps_x)``; None is the identity.
        up: Factors along x and y.
        down: Factors along x and y.
        pads: Padding (x_lo, x_hi, y_lo, y_hi) of the upsampled picture; negative crops.
        flip: Correlate instead of convolve.
        gain: Factor of the result.
    """

    f: torch.Tensor | None
    up: tuple[int, int] = (1, 1)
    down: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    flip: bool = False
    gain: float = 1.0

    @property
    def is_identity(self) -> bool:
        """Whether nothing but the gain happens."""
        return self.f is None and self[1:4] == ((1, 1), (1, 1), (0, 0, 0, 0))

    @property
    def taps(self) -> tuple[int, int]:
        """Taps along x and y."""
        if self.f is None:
            return 1, 1
        return int(self.f.shape[-1]), int(self.f.shape[0])

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result; 0 or less where nothing is left."""
        x_lo, x_hi, y_lo, y_hi = self.pads
        taps_x, taps_y = self.taps
        return (
            (height * self.up[1] + y_lo + y_hi - taps_y + self.down[1]) // self.down[1],
            (width * self.up[0] + x_lo + x_hi - taps_x + self.down[0]) // self.down[0],
        )

    def transposed(self, height: int, width: int) -> Resample:
        """The adjoint operation, for inputs of this size: what carries gradients back."""
        x_lo, _, y_lo, _ = self.pads
        taps_x, taps_y = self.taps
        out_h, out_w = self.out_size(height, width)
        pads = (
            taps_x - 1 - x_lo,
            (width - 1) * self.up[0] + 1 + x_lo - out_w * self.down[0],
            taps_y - 1 - y_lo,
            (height - 1) * self.up[1] + 1 + y_lo - out_h * self.down[1],
        )
        return Resample(self.f, self.down, self.up, pads, not self.flip, self.gain)
