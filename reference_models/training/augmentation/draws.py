"""What chance decides about a batch, drawn once in a fixed order: two tables with a row for every image.

The tables do not depend on p, on the config or on the images. So a run whose p moves, or that is resumed,
draws what another would; and an image that is augmented at some p is so at every larger one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Whether an augmentation is applied, then what it is applied with: uniform numbers in [0, 1).
_UNIFORM = (
    *(f"{name}?" for name in ("xflip", "rotate90", "xint", "scale", "rotate_pre", "rotate_post", "aniso")),
    *(f"{name}?" for name in ("xfrac", "brightness", "contrast", "lumaflip", "hue", "saturation")),
    *(f"{name}?" for name in ("band0", "band1", "band2", "band3", "noise", "cutout")),
    *("xflip", "rotate90", "xint_x", "xint_y", "rotate_pre", "rotate_post", "lumaflip", "hue"),
    *("cutout_x", "cutout_y"),
)
# Standard normal numbers.
_NORMAL = (
    *("scale", "aniso", "xfrac_x", "xfrac_y", "brightness", "contrast", "saturation"),
    *("band0", "band1", "band2", "band3", "noise"),
)


class Draws(NamedTuple):
    """The tables of a batch, float64 on the CPU, where the matrices are made of them.

    Attributes:
        uniforms: ``(n, columns)`` in [0, 1).
        normals: ``(n, columns)``.
    """

    uniforms: Tensor
    normals: Tensor

    def chosen(self, name: str, probability: Tensor | float) -> Tensor:
        """Bool ``(n,)``: which images an augmentation is applied to."""
        return self.uniforms[:, _UNIFORM.index(f"{name}?")] < probability

    def uniform(self, name: str) -> Tensor:
        """``(n,)`` in [0, 1)."""
        return self.uniforms[:, _UNIFORM.index(name)]

    def normal(self, name: str) -> Tensor:
        """``(n,)`` of a standard normal distribution."""
        return self.normals[:, _NORMAL.index(name)]


def draw(count: int, generator: torch.Generator) -> Draws:
    """The draws of ``count`` images; both tables come from the device of ``generator``."""
    device = generator.device
    uniforms = torch.rand(count, len(_UNIFORM), generator=generator, device=device)
    normals = torch.randn(count, len(_NORMAL), generator=generator, device=device)
    both = torch.cat([uniforms, normals], dim=1).cpu().double()  # one copy from the device, not two
    return Draws(both[:, : len(_UNIFORM)], both[:, len(_UNIFORM) :])
