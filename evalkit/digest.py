"""Canonical JSON and its sha256: the only hash of specifications in the project.

A digest covers every field of what it is given, by construction: dataclasses are expanded field by field and
carry their class name, so that adding, renaming or changing a field changes the digest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt


def plain(value: object) -> object:
    """Expands dataclasses, tuples and mappings into what JSON can hold, keeping every field.

    Raises:
        TypeError: A value has no canonical form (arrays, paths, sets, objects).
        ValueError: A float is not finite.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no canonical JSON form")
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"__type__": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        if bad := [k for k in value if not isinstance(k, str)]:
            raise TypeError(f"mapping keys must be strings, got {bad[0]!r}")
        return {k: plain(v) for k, v in value.items()}
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no white space: equal values give equal text."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: object) -> str:
    """The sha256 of `canonical_json`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def arrays_sha256(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Digest of named arrays: names, shapes and float32 values, ordered by name, whatever file held them."""
    import numpy as np

    total = hashlib.sha256(b"evalkit-tensors-1")
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name], dtype=np.float32)
        total.update(f"{name}|{value.shape}|".encode())
        total.update(value.data)
    return total.hexdigest()
