"""Several processes on one evaluation, as ``torchrun`` starts them.

The processes share the feature store and nothing else: each fills shards from its own starting point and
skips those that are there, so the numbers cannot depend on how many there are, and a process that dies delays
the others but does not stop them. Process 0 computes and files the results.
"""

from __future__ import annotations

import dataclasses
import os

from evalkit.errors import UsageError


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """This process among those that share the work.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
        local_rank: Its number on this machine, which picks its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process files the results."""
        return self.rank == 0


def world() -> World:
    """The world that ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK`` describe; one process where unset.

    Raises:
        UsageError: The variables contradict each other.
    """
    try:
        rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_RANK", str(rank)))
    except ValueError as error:
        raise UsageError(
            f"RANK, WORLD_SIZE and LOCAL_RANK must be whole numbers ({error}); unset them"
        ) from error
    if not 0 <= rank < size:
        raise UsageError(
            f"RANK={rank} does not fit WORLD_SIZE={size}; start the processes with torchrun, or unset both"
        )
    return World(rank, size, local)
