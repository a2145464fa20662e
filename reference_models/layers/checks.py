"""Refusals of sizes that no network can have, in one wording for all configs.

Upper bounds are far above every published network. They keep a damaged file from asking for a network that
no machine could lay out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from evalkit.errors import UsageError, nearest

WIDEST = 65536
LARGEST_SIDE = 16384


def check_whole(what: str, name: str, value: object, low: int, high: int = WIDEST) -> None:
    """Refuses a value that is no whole number of a range.

    Args:
        what: How messages name the network.
        name: Of the field.
        value: Given.
        low: Smallest accepted.
        high: Largest accepted.

    Raises:
        UsageError: The value is none of these.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{what}: {name} is {value!r}; give a whole number from {low} to {high}")


def check_positive(what: str, name: str, value: object) -> None:
    """Refuses a value that is no positive finite number.

    Raises:
        UsageError: It is none.
    """
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not (math.isfinite(value) and value > 0)
    ):
        raise UsageError(f"{what}: {name} is {value!r}; give a number above 0")


def check_side(what: str, value: object, low: int = 4) -> None:
    """Refuses a resolution that is no power of two.

    Raises:
        UsageError: It is none, or out of range.
    """
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or not low <= value <= LARGEST_SIDE
        or value & (value - 1)
    ):
        raise UsageError(
            f"{what}: img_resolution is {value!r}; give a power of two from {low} to {LARGEST_SIDE}"
        )


def check_choice(what: str, name: str, value: object, known: Sequence[str]) -> None:
    """Refuses a name that is not in a list.

    Raises:
        UsageError: It is not.
    """
    if value not in known:
        raise UsageError(
            f"{what}: {name} is {value!r} (nearest: {nearest(str(value), list(known))}); accepted are "
            f"{', '.join(known)}"
        )


def check_flags(what: str, **flags: object) -> None:
    """Refuses switches that are neither true nor false.

    Raises:
        UsageError: One is of another type.
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise UsageError(f"{what}: {name} is {value!r}; give True or False")


def check_shared_batch(batch: int, num_gpus: int, setting: str = "batch") -> None:
    """Refuses a batch that processes cannot share evenly.

    Args:
        batch: Images over all processes.
        num_gpus: Processes.
        setting: Its name in the recipe.

    Raises:
        UsageError: It cannot be divided.
    """
    if batch % num_gpus:
        raise UsageError(
            f"a batch of {batch} images cannot be shared evenly by {num_gpus} processes; give a batch that "
            f"{num_gpus} divides (--set {setting}=N), or start another number of processes"
        )


def check_range(what: str, name: str, value: object, high: float | None = None) -> None:
    """Refuses a value that is no number from 0 to ``high``; None is no limit.

    Raises:
        UsageError: It is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (number and 0 <= value and (high is None or value <= high)):  # type: ignore[operator]
        raise UsageError(f"{what}: {name} is {value!r}; give 0 {'or more' if high is None else f'to {high}'}")


def check_betas(what: str, betas: tuple[float, ...]) -> None:
    """Refuses what are no two decays of Adam.

    Raises:
        UsageError: They are none.
    """
    two = isinstance(betas, (tuple, list)) and len(betas) == 2
    if not two or not all(isinstance(beta, int | float) and 0 <= beta < 1 for beta in betas):
        raise UsageError(f"{what}: betas is {betas!r}; give two numbers from 0 to below 1")
