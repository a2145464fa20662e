"""Conversion of named tensors by table: total both ways, so that none is dropped without a word.

A `Rule` pairs two spellings of a name, with fields such as ``{r}`` that stand for the same text on both
sides, and says how the axes move. Every name must fit exactly one rule, and every shape must come out as the
other side wants it; what does not is listed in full, not one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.errors import CheckpointError

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

# A discriminator of the largest model has some 60 tensors, which all can be listed.
_MAX_LISTED = 200
_FIELD = re.compile(r"\{(\w+)\}")


def check_total(given: Shapes, wanted: Shapes, model: str) -> None:
    """Checks that a file has exactly the tensors a model has.

    Args:
        given: Shapes in the file, by name.
        wanted: Shapes in the model, by name.
        model: How the message names the model, such as ``stylegan2 at 256x256``.

    Raises:
        CheckpointError: Tensors are missing, left over or of another shape. All of them are listed.
    """
    missing = [f"{name} {shown(wanted[name])}" for name in wanted if name not in given]
    extra = [f"{name} {shown(given[name])}" for name in given if name not in wanted]
    wrong = [
        f"{name} is {shown(given[name])}, not {shown(wanted[name])}"
        for name in wanted
        if name in given and tuple(given[name]) != tuple(wanted[name])
    ]
    if not (missing or extra or wrong):
        return
    parts = [
        f"{len(items)} {what}: {_listed(items)}"
        for what, items in (("missing", missing), ("left over", extra), ("of another shape", wrong))
        if items
    ]
    raise CheckpointError(
        f"the tensors do not fit {model}; {'; '.join(parts)}. Give the checkpoint of this model and "
        "configuration (`evalkit checkpoint inspect FILE` shows which it is)"
    )


def shown(shape: Sequence[int]) -> str:
    """A shape as messages write it, such as ``[512, 512, 3, 3]``."""
    return f"[{', '.join(map(str, shape))}]"


@dataclass(frozen=True, slots=True)
class Rule:
    """One pair of spellings.

    Attributes:
        theirs: Name in the file. ``{field}`` stands for text without ``/`` and ``.``.
        ours: Name in the model, with the same fields.
        permute: Order of our axes, as positions among theirs; None keeps the order.
        flip: Our axes that run backwards, after the permutation.
    """

    theirs: str
    ours: str
    permute: tuple[int, ...] | None = None
    flip: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if set(_FIELD.findall(self.theirs)) != set(_FIELD.findall(self.ours)):
            raise ValueError(
                f"{self.theirs} and {self.ours} have other fields, so one does not tell the other"
            )
        if self.permute is not None and sorted(self.permute) != list(range(len(self.permute))):
            raise ValueError(f"{self.permute} is no order of axes")

    def forward(self, array: Array) -> Array:
        """Their array in our order of axes."""
        moved = array if self.permute is None else np.transpose(array, self.permute)
        return np.ascontiguousarray(np.flip(moved, self.flip) if self.flip else moved).reshape(moved.shape)

    def backward(self, array: Array) -> Array:
        """Our array in their order of axes; undoes `forward`."""
        moved = np.flip(array, self.flip) if self.flip else array
        moved = moved if self.permute is None else np.transpose(moved, np.argsort(self.permute))
        return np.ascontiguousarray(moved).reshape(moved.shape)


def to_ours(tensors: Mapping[str, Array], rules: Sequence[Rule], model: str) -> dict[str, Array]:
    """Tensors of a file under our names and in our order of axes.

    Raises:
        CheckpointError: Names fit no rule, or two names become one; all of them are listed.
    """
    return _converted(tensors, rules, model, lambda rule: (rule.theirs, rule.ours, rule.forward))


def to_theirs(tensors: Mapping[str, Array], rules: Sequence[Rule], model: str) -> dict[str, Array]:
    """Undoes `to_ours`.

    Raises:
        CheckpointError: Names fit no rule, or two names become one; all of them are listed.
    """
    return _converted(tensors, rules, model, lambda rule: (rule.ours, rule.theirs, rule.backward))


def _converted(
    tensors: Mapping[str, Array],
    rules: Sequence[Rule],
    model: str,
    side: Callable[[Rule], tuple[str, str, Callable[[Array], Array]]],
) -> dict[str, Array]:
    sides = [side(rule) for rule in rules]
    table = [(_pattern(source), target, move) for source, target, move in sides]
    made: dict[str, Array] = {}
    unknown, twice, odd = [], [], []
    for name, array in tensors.items():
        fits = [
            (match, target, move) for pattern, target, move in table if (match := pattern.fullmatch(name))
        ]
        if not fits:
            unknown.append(f"{name} {shown(array.shape)}")
            continue
        match, target, move = fits[0]
        renamed = _FIELD.sub(lambda field, match=match: match[field[1]], target)  # type: ignore[misc]
        if renamed in made:
            twice.append(f"{name} (both become {renamed})")
            continue
        try:
            made[renamed] = move(array)
        except ValueError:
            odd.append(f"{name} {shown(array.shape)}")
    problems = [
        f"{what}: {_listed(items)}"
        for what, items in (
            ("names that it does not know", unknown),
            ("names that meet", twice),
            ("tensors with another number of axes", odd),
        )
        if items
    ]
    if problems:
        raise CheckpointError(
            f"the file cannot be converted for {model}; {'; '.join(problems)}. It belongs to another model "
            "or to changed code (`evalkit checkpoint inspect FILE` shows what it holds)"
        )
    return made


def _pattern(template: str) -> re.Pattern[str]:
    parts = _FIELD.split(template)
    # Odd parts are field names; a field that comes again must read the same.
    seen: set[str] = set()
    text = ""
    for position, part in enumerate(parts):
        if position % 2 == 0:
            text += re.escape(part)
        else:
            text += f"(?P={part})" if part in seen else f"(?P<{part}>[^/.]+)"
            seen.add(part)
    return re.compile(text)


def _listed(items: Sequence[str]) -> str:
    rest = len(items) - _MAX_LISTED
    return ", ".join(items[:_MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
