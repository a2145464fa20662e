"""Which device networks run on, and what a person calls it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from evalkit.engine.distributed import World
from evalkit.errors import UsageError

if TYPE_CHECKING:
    import torch


def pick_device(asked: str, world: World) -> str:
    """The torch device for ``asked``: auto takes a GPU where there is one, each process its own.

    Raises:
        UsageError: A GPU was asked for and there is none, or the name is unknown.
    """
    import torch

    there = torch.cuda.is_available()
    if asked == "cpu" or (asked == "auto" and not there):
        return "cpu"
    if asked not in ("auto", "cuda") and not asked.startswith("cuda:"):
        raise UsageError(f"unknown device {asked!r}; use auto, cpu, cuda or cuda:N")
    if not there:
        raise UsageError(f"{asked} was asked for and torch sees no GPU; use --device cpu")
    if asked.startswith("cuda:"):
        return asked
    return f"cuda:{world.local_rank % torch.cuda.device_count()}"


@functools.cache
def describe_device(device: torch.device) -> str:
    """The device as a person would name it: the GPU's model, or the CPU with the number of threads."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads)"
