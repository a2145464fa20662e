"""Where the random numbers of a model with latents come from: seeds, a generator of training, or a record.

A network that draws asks a `Draws` for standard normal and uniform numbers, in the order in which it needs
them. From seeds every image has a generator of its own, so that it depends on its seed alone, whatever batch
it is part of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evalkit.errors import UsageError

_SEEDS = 2**63


class Draws(Protocol):
    """Random numbers of a batch of images."""

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal float32 ``(n, *shape)``."""
        ...

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform float32 ``(n, *shape)`` from 0 up to and without 1."""
        ...


class SeedDraws:
    """One generator an image, on the CPU: the same numbers on every device and in every batch."""

    def __init__(self, seeds: npt.NDArray[np.int64], device: torch.device | str = "cpu") -> None:
        """Takes seeds ``(n,)`` from 0 to 2^63 - 1.

        Raises:
            UsageError: A seed is out of range, or they have another shape.
        """
        seeds = np.asarray(seeds)
        if seeds.ndim != 1 or not np.issubdtype(seeds.dtype, np.integer):
            raise UsageError(
                f"seeds are whole numbers of shape (n,); given are {seeds.dtype} of shape {seeds.shape}"
            )
        if seeds.size and not (0 <= int(seeds.min()) and int(seeds.max()) < _SEEDS):
            raise UsageError(f"seeds go from 0 to {_SEEDS - 1}; given are {seeds.min()} to {seeds.max()}")
        self._device = torch.device(device)
        self._generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal float32 ``(n, *shape)``."""
        return self._stacked([torch.randn(tuple(shape), generator=each) for each in self._generators], shape)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform float32 ``(n, *shape)``."""
        return self._stacked([torch.rand(tuple(shape), generator=each) for each in self._generators], shape)

    def _stacked(self, drawn: list[Tensor], shape: Sequence[int]) -> Tensor:
        return (torch.stack(drawn) if drawn else torch.empty(0, *shape)).to(self._device)


class BatchDraws:
    """One generator for a whole batch, as training has."""

    def __init__(self, num: int, rng: torch.Generator) -> None:
        """Draws for ``num`` images on the generator's device."""
        self._num, self._rng = num, rng

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal float32 ``(n, *shape)``."""
        return torch.randn(self._num, *shape, generator=self._rng, device=self._rng.device)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform float32 ``(n, *shape)``."""
        return torch.rand(self._num, *shape, generator=self._rng, device=self._rng.device)


class GivenDraws:
    """Numbers that somebody drew before, handed out in order; for comparisons with recorded runs."""

    def __init__(self, normal: Iterable[Tensor] = (), uniform: Iterable[Tensor] = ()) -> None:
        """Takes the arrays ``(n, *shape)`` in the order in which they will be asked for."""
        self._normal, self._uniform = iter(normal), iter(uniform)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """The next normal array.

        Raises:
            ValueError: It has another shape.
        """
        return _checked(next(self._normal), shape)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """The next uniform array.

        Raises:
            ValueError: It has another shape.
        """
        return _checked(next(self._uniform), shape)


def _checked(drawn: Tensor, shape: Sequence[int]) -> Tensor:
    if tuple(drawn.shape[1:]) != tuple(shape):
        raise ValueError(
            f"the numbers given are {tuple(drawn.shape)}; asked for are (n, {', '.join(map(str, shape))})"
        )
    return drawn
