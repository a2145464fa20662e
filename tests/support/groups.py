"""Processes that train together, in one process: no network, no start-up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn


class Alone:
    """One process."""

    rank, size = 0, 1

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Leaves gradients as they are."""

    def mean(self, value: Tensor) -> Tensor:
        """The value itself."""
        return value

    def average_buffers(self, module: nn.Module, names: Sequence[str]) -> None:
        """Leaves buffers as they are."""
