"""The baselines of every table of super-resolution: interpolations, as something that restores.

``bicubic`` and ``lanczos`` are MATLAB's imresize (`evalkit.imaging.resize_matlab`), which tables of
super-resolution mean by these words (Dong et al. 2014 and most since); Pillow's and OpenCV's give other
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evalkit.digest import digest
from evalkit.errors import UsageError, lookup
from evalkit.imaging.resize_matlab import imresize

if TYPE_CHECKING:
    from torch import Tensor

Int64Array = npt.NDArray[np.int64]

BASELINES: Mapping[str, str] = {
    "nearest": "each pixel repeated",
    "bicubic": "MATLAB's imresize, bicubic with a = -0.5, rounded to uint8 after each pass",
    "lanczos": "MATLAB's imresize with lanczos3, rounded to uint8 after each pass",
}


class Baseline:
    """An interpolation as something that restores.

    Attributes:
        name: One of `BASELINES`.
        scale: By how much it enlarges.
        stochastic: False.
        temperature: None.
        identity: Digest of name and scale.
    """

    stochastic = False
    temperature: float | None = None

    def __init__(self, name: str, scale: int) -> None:
        """Takes one of the names of `BASELINES`.

        Raises:
            UsageError: The name is unknown, or the scale is no whole number from 1 up.
        """
        lookup(name, BASELINES, "baseline")
        check_scale(scale)
        self.name, self.scale = name, scale
        self.identity: str | None = digest(["evalkit-baseline-1", name, scale])

    def restore(self, image: Tensor, *, seeds: Int64Array, temperature: float | None = None) -> Tensor:
        """The enlarged image, as often as there are seeds: uint8 ``(n, 3, h * scale, w * scale)``.

        Raises:
            UsageError: A temperature was given.
        """
        import torch

        if temperature is not None:
            raise no_temperature(self.name, temperature)
        pixels = image.cpu().numpy()
        if self.name == "nearest":
            made = pixels.repeat(self.scale, axis=-2).repeat(self.scale, axis=-1)
        else:
            made = imresize(pixels, self.scale, kernel="bicubic" if self.name == "bicubic" else "lanczos3")
        return torch.from_numpy(made).expand(len(seeds), *made.shape)


def check_scale(scale: object) -> None:
    """Checks that a scale is a whole number from 1 up.

    Raises:
        UsageError: It is not.
    """
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise UsageError(f"the scale is {scale!r}; give a whole number from 1 up, such as 4")


def no_temperature(name: str, value: float) -> UsageError:
    """The error of a temperature that was given to what has none."""
    return UsageError(f"{name} has no temperature; leave --temperature {value:g} out")
