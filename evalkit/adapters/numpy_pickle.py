"""Numeric arrays, scalars and types as NumPy pickles them, rebuilt without NumPy's own unpickling.

NumPy writes an array as a call of ``_reconstruct`` and a state ``(1, shape, dtype, is_fortran, bytes)``, or
under protocol 5 as one call of ``_frombuffer``; a scalar as a call of ``scalar``; a type as a call of
``numpy.dtype`` and a state that gives the byte order. Before version 2 the module was ``numpy.core``, then
``numpy._core``. Protocols 2 and 3 spell bytes as text through ``_codecs.encode``.

Kinds f, i, u and b of at most 8 bytes are built. All else (objects, text, structures, subarrays) is refused:
an array of objects would be a door back into pickle. Arrays come in this machine's byte order, and own their
memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.adapters.passive import Global, Passive, clip
from evalkit.errors import CheckpointError

Array = npt.NDArray[Any]

_KIND = re.compile(r"[<>=|]?(f[248]|[iu][1248]|b1)")
_MAX_AXES = 32


class _Type(Passive):
    # A numpy.dtype before and after its state is known: the state may only say the byte order.
    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def build(self, state: object) -> object:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "=", "|"):
            raise CheckpointError("a numpy.dtype has an odd state; the file is damaged or made by hand")
        if any(part is not None for part in state[2:5]):
            raise CheckpointError("a numpy.dtype has fields, and only plain numbers are read")
        return _Type(self.dtype.newbyteorder(state[1]))


class _Unfilled(Passive):
    # An array before its state is known.
    __slots__ = ()

    def build(self, state: object) -> object:
        if not isinstance(state, tuple) or len(state) != 5:
            raise CheckpointError("a NumPy array has an odd state; the file is damaged or made by hand")
        _, shape, dtype, is_fortran, data = state
        return _array(data, dtype, shape, "F" if is_fortran is True else "C")


def numpy_globals() -> Mapping[tuple[str, str], Callable[..., Any]]:
    """What a pickle may call to build numeric arrays, scalars and types; for `RestrictedUnpickler`."""
    table: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "dtype"): _dtype,
        ("numpy", "ndarray"): _never,  # only ever an argument of _reconstruct
        ("_codecs", "encode"): _encode,
        ("__builtin__", "bytes"): _no_bytes,
        ("builtins", "bytes"): _no_bytes,
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = _reconstruct
        table[f"{core}.multiarray", "scalar"] = _scalar
        table[f"{core}.numeric", "_frombuffer"] = _from_buffer
    return table


def is_count(value: object) -> bool:
    """Whether a value of a file can be a length or a position: a small integer that is not negative."""
    return type(value) is int and 0 <= value < 2**48


def _never(*arguments: object) -> object:
    raise CheckpointError("numpy.ndarray is called directly, which NumPy never writes; it was made by hand")


def _no_bytes() -> bytes:
    return b""  # how protocol 2 spells them


def _encode(text: object, encoding: object = "utf-8") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise CheckpointError("_codecs.encode is used for something else than bytes; it was made by hand")
    return text.encode("latin1")


def _dtype(name: object, align: object = False, copy: object = False) -> _Type:
    if not isinstance(name, str) or not _KIND.fullmatch(name):
        shown = clip(name) if isinstance(name, str) else type(name).__name__
        raise CheckpointError(
            f"an array is of type {shown}, and only numbers of at most 8 bytes are read (f, i, u and b); "
            "arrays of Python objects are never loaded"
        )
    return _Type(np.dtype(name))


def _reconstruct(kind: object, shape: object, code: object) -> _Unfilled:
    if kind != Global("numpy", "ndarray"):
        raise CheckpointError("an array is of a class of its own; only plain arrays are read")
    return _Unfilled()


def _scalar(dtype: object, data: object = b"") -> object:
    # Indexing by an empty tuple makes a NumPy scalar of an array without axes.
    return _array(data, dtype, (), "C")[()]


def _from_buffer(data: object, dtype: object, shape: object, order: object, axes: object = None) -> Array:
    if order not in ("C", "F") or axes is not None:
        raise CheckpointError("an array has an odd order of its axes; save it again with an older protocol")
    return _array(data, dtype, shape, str(order))


def _array(data: object, dtype: object, shape: object, order: str) -> Array:
    if isinstance(data, str):  # bytes of Python 2
        data = data.encode("latin1")
    if not isinstance(dtype, _Type) or not isinstance(data, bytes):
        raise CheckpointError("an array is not made of bytes of a numeric type; only such arrays are read")
    if not isinstance(shape, tuple) or len(shape) > _MAX_AXES or not all(is_count(side) for side in shape):
        raise CheckpointError("an array has an impossible shape; the file is damaged or made by hand")
    given = dtype.dtype
    if math.prod(shape) * given.itemsize != len(data):
        raise CheckpointError(
            f"an array has {len(data):,} bytes of data, which do not fill its shape; the file is damaged or "
            "made by hand"
        )
    flat: Array = np.frombuffer(data, np.uint8 if given.kind == "b" else given)
    ordered: Array = flat.reshape(shape[::-1]).T if order == "F" else flat.reshape(shape)
    if given.kind == "b":  # a byte that is neither 0 nor 1 is no bool to NumPy's arithmetic
        return np.ascontiguousarray(ordered != 0).reshape(shape)
    return ordered.astype(given.newbyteorder("="), order="C")
