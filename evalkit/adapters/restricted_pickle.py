"""The reader for pickles that may hold data alone, and a survey of what a pickle would call.

`RestrictedUnpickler` builds containers, text, numbers and what its table allows (see
`evalkit.adapters.pickle_machine` for how); `numpy_globals` is the part of a table that numeric arrays need.
`survey` goes through any pickle with stand-ins in the place of every object, so that its globals can be
listed before anyone decides to trust it. Neither imports anything that a file names.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, BinaryIO

from evalkit.adapters.numpy_pickle import numpy_globals
from evalkit.adapters.passive import Global, Inert, Passive, clip
from evalkit.adapters.pickle_machine import MAX_OPERATIONS, RestrictedUnpickler
from evalkit.errors import CheckpointError

__all__ = [
    "MAX_OPERATIONS",
    "Global",
    "Passive",
    "RestrictedUnpickler",
    "Survey",
    "clip",
    "numpy_globals",
    "survey",
]

# Torch keeps every storage as bytes with five more pickles inside.
_NESTED = ("torch.storage", "_load_from_bytes")
_NESTED_PICKLES = 5


@dataclass(frozen=True, slots=True)
class Survey:
    """What a pickle names.

    Attributes:
        globals: ``module.name`` of all of them, those of storages inside included, in alphabetical order.
        pickles: How many pickles were gone through.
        problem: Why the survey stopped early, or None.
    """

    globals: tuple[str, ...]
    pickles: int
    problem: str | None


class _Surveyor(RestrictedUnpickler):
    def __init__(self, file: BinaryIO, what: str, found: set[str]) -> None:
        super().__init__(file, {}, what=what, persistent=lambda given: Inert())
        self._found = found

    def _find(self, module: str, name: str) -> Global:
        found = Global(module, name)
        self._found.add(str(found))
        return found

    def _reduce(self) -> None:
        # Torch's first format keeps classes behind persistent ids.
        if len(self._stack) > 1 and isinstance(self._stack[-2], Inert):
            self._pop()
        else:
            super()._reduce()

    def _call(self, function: Global, arguments: tuple[Any, ...]) -> object:
        if (function.module, function.name) == _NESTED and arguments and isinstance(arguments[0], bytes):
            inside = survey(io.BytesIO(arguments[0]), what=self._what, pickles=_NESTED_PICKLES)
            self._found.update(inside.globals)
            self._charged(arguments[0])
            if inside.problem:
                raise CheckpointError(inside.problem)
        # A table of functions has no methods to call, but its values may be asked for as bytes.
        if function == Global("_codecs", "encode") and arguments and isinstance(arguments[0], str):
            return arguments[0].encode("latin1", "replace")
        return Inert()


def survey(file: BinaryIO, *, what: str, pickles: int = 1) -> Survey:
    """Lists the globals of a pickle without calling, importing or building any of them.

    Args:
        file: A seekable stream, at the beginning of the pickle.
        what: How messages name it.
        pickles: How many pickles follow each other there; a stream that ends after fewer is no error.
    """
    found: set[str] = set()
    problem, done = None, 0
    try:
        while done < pickles and file.read(1):
            file.seek(-1, io.SEEK_CUR)
            _Surveyor(file, what, found).load()
            done += 1
    except CheckpointError as error:
        problem = str(error)
    return Survey(tuple(sorted(found)), done, problem)
