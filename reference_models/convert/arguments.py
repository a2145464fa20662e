"""Constructor arguments as official checkpoints carry them: read by name, every one accounted for.

An argument is taken, ignored by name, or refused by name: a network is never built from half of its
description.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence

import numpy as np

from evalkit.errors import CheckpointError, nearest


class Arguments:
    """The keyword arguments of one official constructor."""

    def __init__(self, given: Mapping[str, object], what: str) -> None:
        """Takes the arguments; ``what`` is how messages name the network."""
        self._left = dict(given)
        self._known: set[str] = set()
        self._what = what

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def whole(self, name: str, default: int) -> int:
        """Takes a whole number."""
        value = self._take(name, default)
        try:
            return operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            raise self._wrong(name, value, "a whole number") from None

    def whole_or_none(self, name: str, default: int | None) -> int | None:
        """Takes a whole number or None."""
        return None if self._peek(name, default) is None else self.whole(name, default or 0)

    def number(self, name: str, default: float) -> float:
        """Takes a finite number."""
        value = self._take(name, default)
        number = _finite(value)
        if number is None:
            raise self._wrong(name, value, "a finite number")
        return number

    def number_or_none(self, name: str, default: float | None) -> float | None:
        """Takes a finite number or None."""
        return None if self._peek(name, default) is None else self.number(name, default or 0.0)

    def flag(self, name: str, default: bool) -> bool:
        """Takes true or false."""
        value = self._take(name, default)
        if not isinstance(value, int | np.bool_) or value not in (True, False):
            raise self._wrong(name, value, "True or False")
        return bool(value)

    def word(self, name: str, default: str) -> str:
        """Takes a string."""
        value = self._take(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a string")
        return value

    def numbers(self, name: str, default: Sequence[float]) -> tuple[float, ...]:
        """Takes a list of numbers."""
        value = self._take(name, default)
        numbers = [_finite(one) for one in value] if isinstance(value, list | tuple) else [None]
        if None in numbers:
            raise self._wrong(name, value, "a list of finite numbers")
        return tuple(one for one in numbers if one is not None)

    def group(self, name: str) -> Arguments:
        """Takes a dictionary of further arguments; none given is an empty one."""
        value = self._take(name, None)
        if value is not None and not isinstance(value, Mapping):
            raise self._wrong(name, value, "a dictionary")
        inner = {} if value is None else {str(key): each for key, each in value.items()}
        return Arguments(inner, f"{self._what}, {name}")

    def ignore(self, *names: str) -> None:
        """Drops arguments that do not change what a network computes in float32."""
        for name in names:
            self._take(name, None)

    def finish(self) -> None:
        """Refuses whatever was neither taken nor ignored.

        Raises:
            CheckpointError: It names them all.
        """
        if self._left:
            first = next(iter(self._left))
            raise CheckpointError(
                f"{self._what}: unknown constructor argument {', '.join(map(repr, self._left))} (nearest to "
                f"{first!r}: {nearest(str(first), sorted(self._known))}); known are "
                f"{', '.join(sorted(self._known))}: the file belongs to another version or another network"
            )

    def _take(self, name: str, default: object) -> object:
        self._known.add(name)
        return self._left.pop(name, default)

    def _peek(self, name: str, default: object) -> object:
        value = self._left.get(name, default)
        return self._take(name, default) if value is None else value

    def _wrong(self, name: str, value: object, wanted: str) -> CheckpointError:
        return CheckpointError(
            f"{self._what}: the constructor argument {name} is {value!r}, which is not {wanted}; the file is "
            "damaged or belongs to another network"
        )


def _finite(value: object) -> float | None:
    if isinstance(value, bool | str | bytes):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
