"""Network files of StyleGAN2-ADA and StyleGAN3 (PyTorch), read without running the code they carry.

Official: NVlabs/stylegan2-ada-pytorch@d72cc7d and NVlabs/stylegan3@c233a91, torch_utils/persistence.py,
dnnlib, legacy.py. A file is a pickle of a dict with the networks ``G``, ``D`` and ``G_ema`` (the average of
G, from which to sample). Every module in it is a call of ``_reconstruct_persistent_obj`` with the text of a
Python module, the name of a class in it, and the module's attributes. The official reader executes the text.
This one
keeps it as text, and collects what a state dict would hold: parameters and persistent buffers, by dotted
name.

Storages are bytes in torch's first format: five small pickles (magic number, version, system, a persistent id
that gives type and length, keys), the length again, and the numbers, little-endian. They are parsed here;
torch is not imported. Views into storages are checked against their bounds and copied.

Every number keeps its stored type; whether weights are finite is for the loader to ask.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from evalkit.adapters.numpy_pickle import is_count, numpy_globals
from evalkit.adapters.restricted_pickle import Global, RestrictedUnpickler, clip
from evalkit.errors import CheckpointError

Array = npt.NDArray[Any]

NETWORKS = ("G", "D", "G_ema")
STORAGES: Mapping[str, str] = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "u1",
}  # fmt: skip
_MAGIC = 0x1950A86A20F9469CFC6C  # the integer 119547037146038801333356
_LEGACY_VERSION, _PERSISTENCE_VERSION = 1001, 6
# The five pickles beside a storage's numbers have some twenty operations each.
_STORAGE_OPERATIONS = 1000
_MAX_AXES, _MAX_DEPTH, _MAX_NAME, _MAX_ARGUMENTS = 16, 32, 200, 20_000
_MADE_BY_HAND = "the file is damaged or made by hand"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredNetwork:
    """One network of a file.

    Attributes:
        class_name: Name of its class, such as ``Generator``.
        init_args: Positional arguments it was made with.
        init_kwargs: Named arguments it was made with: containers, text, numbers, and None alone.
        tensors: Parameters and persistent buffers by name, as its state dict has them.
        parameters: Names of those that are parameters.
        source: Text of the Python module with the class; kept, never run.
        kind: ``stylegan2`` or ``stylegan3``, told by its children; None if it is neither.
    """

    class_name: str
    init_args: tuple[Any, ...]
    init_kwargs: Mapping[str, Any]
    tensors: Mapping[str, Array]
    parameters: tuple[str, ...]
    source: str
    kind: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NvidiaPickle:
    """A file's networks and what else it says.

    Attributes:
        networks: By ``G``, ``D`` and ``G_ema``; the last is always there.
        training_set_kwargs: Options of the data set it was trained on, or None.
        augment_pipe: Buffers of the augmentations it was trained with, as a network of its own; None without.
    """

    networks: Mapping[str, StoredNetwork]
    training_set_kwargs: Mapping[str, Any] | None
    augment_pipe: StoredNetwork | None


class _Module:
    # What _reconstruct_persistent_obj was called with.
    __slots__ = ("class_name", "source", "state")

    def __init__(self, meta: object) -> None:
        if not isinstance(meta, dict):
            raise CheckpointError(
                f"a network object is described by a {type(meta).__name__}; {_MADE_BY_HAND}"
            )
        if missing := [
            key for key in ("type", "version", "module_src", "class_name", "state") if key not in meta
        ]:
            raise CheckpointError(f"a network object lacks its {', '.join(missing)}; {_MADE_BY_HAND}")
        version = meta["version"]
        if type(version) is not int or version != _PERSISTENCE_VERSION or meta["type"] != "class":
            shown = version if type(version) is int and abs(version) < 1000 else type(version).__name__
            raise CheckpointError(
                f"a network object is of format version {shown}; version {_PERSISTENCE_VERSION}, which "
                "StyleGAN2-ADA and StyleGAN3 write, is the one that is read"
            )
        self.source, self.class_name, self.state = meta["module_src"], meta["class_name"], meta["state"]
        if not isinstance(self.source, str) or not isinstance(self.class_name, str):
            raise CheckpointError(f"a network object has no class name or source text; {_MADE_BY_HAND}")
        if not isinstance(self.state, dict):
            raise CheckpointError(f"a network object has no attributes; {_MADE_BY_HAND}")


class _Storage:
    # The numbers of a storage, not yet cut into tensors.
    __slots__ = ("is_bool", "nbytes", "numbers")

    def __init__(self, numbers: Array, is_bool: bool) -> None:
        self.numbers, self.is_bool, self.nbytes = numbers, is_bool, int(numbers.nbytes)


def allowed_globals(what: str) -> Mapping[tuple[str, str], Callable[..., Any]]:
    """All that such a file may name; ``what`` is how messages name the file."""
    return {
        **numpy_globals(),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Module,
        ("dnnlib.util", "EasyDict"): _empty_dict,
        ("collections", "OrderedDict"): _empty_dict,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch.storage", "_load_from_bytes"): lambda data: _storage(data, f"{what}, in a tensor's data,"),
        ("builtins", "set"): _set,
        ("__builtin__", "set"): _set,
    }


def read_nvidia_pickle(path: str | Path) -> NvidiaPickle:
    """Reads a network file of StyleGAN2-ADA or StyleGAN3.

    Raises:
        CheckpointError: The file cannot be read, names anything that is not allowed, is damaged, or holds
            something else.
    """
    what = str(path)
    if not Path(path).is_file():
        raise CheckpointError(f"{what} is no file; give a network file (.pkl) of StyleGAN2-ADA or StyleGAN3")
    try:
        with Path(path).open("rb") as file:
            loaded = RestrictedUnpickler(file, allowed_globals(what), what=what).load()
    except OSError as error:
        raise CheckpointError(
            f"{what} cannot be read: {error.strerror or error}; check its permissions"
        ) from None
    if not isinstance(loaded, dict) or not isinstance(loaded.get("G_ema"), _Module):
        inside = f"a dict without network G_ema ({len(loaded)} entries)" if isinstance(loaded, dict) else (
            f"a {type(loaded).__name__}"
        )  # fmt: skip
        raise CheckpointError(
            f"{what} holds {inside}; a network file of StyleGAN2-ADA or StyleGAN3 holds G, D and G_ema"
        )
    stored = {key: loaded[key] for key in NETWORKS if loaded.get(key) is not None}
    options, pipe = loaded.get("training_set_kwargs"), loaded.get("augment_pipe")
    return NvidiaPickle(
        networks={key: _network(module, f"{what}, network {key}") for key, module in stored.items()},
        training_set_kwargs=None if options is None else _options(options, f"{what}, training_set_kwargs"),
        augment_pipe=None if pipe is None else _network(pipe, f"{what}, augment_pipe"),
    )


# --- what the file may call ---------------------------------------------------------------------------------


def _empty_dict() -> dict[Any, Any]:
    return {}


def _set(items: object = None) -> set[Any]:
    # The members are attribute names; whether they are is asked where they are used.
    if items is not None and not (isinstance(items, list) and all(type(item) is str for item in items)):
        raise CheckpointError(f"a set holds something else than names; {_MADE_BY_HAND}")
    return set(items or ())


def _parameter(data: object, requires_grad: object, hooks: object) -> Array:
    if not isinstance(data, np.ndarray):
        raise CheckpointError(f"a parameter is a {type(data).__name__}, not a tensor; {_MADE_BY_HAND}")
    return data


def _tensor(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object,
    hooks: object,
    metadata: object = None,
) -> Array:
    if not isinstance(storage, _Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise CheckpointError(f"a tensor has no storage, size or stride; {_MADE_BY_HAND}")
    if len(size) != len(stride) or len(size) > _MAX_AXES or not all(map(is_count, (offset, *size, *stride))):
        raise CheckpointError(f"a tensor has an impossible size or stride; {_MADE_BY_HAND}")
    numbers, count = storage.numbers, math.prod(size)
    last = int(offset) + sum((side - 1) * step for side, step in zip(size, stride, strict=True))  # type: ignore[call-overload]
    if count > len(numbers) or (count and last >= len(numbers)):
        raise CheckpointError(
            f"a tensor reaches beyond its storage ({count:,} elements up to position {last:,}, of "
            f"{len(numbers):,}); " + _MADE_BY_HAND
        )
    # An axis of one element may have any stride; it is never stepped along.
    steps = tuple(step * numbers.itemsize if side > 1 else 0 for side, step in zip(size, stride, strict=True))
    start = numbers[offset:] if count else numbers[:0]
    view = np.lib.stride_tricks.as_strided(start, size, steps) if count else start.reshape(size)
    return view != 0 if storage.is_bool else np.array(view, numbers.dtype.newbyteorder("="), order="C")


def _storage(data: object, what: str) -> _Storage:
    if not isinstance(data, bytes):
        raise CheckpointError(f"{what} is a {type(data).__name__}, not bytes; {_MADE_BY_HAND}")
    file = io.BytesIO(data)
    names = {("torch", name): _never for name in STORAGES}

    def load(allowed: Mapping[tuple[str, str], Callable[..., Any]], persistent: Any = None) -> Any:  # noqa: ANN401
        return RestrictedUnpickler(
            file, allowed, what=what, persistent=persistent, max_operations=_STORAGE_OPERATIONS
        ).load()

    if load({}) != _MAGIC or load({}) != _LEGACY_VERSION:
        raise CheckpointError(f"{what} is not in torch's first format; {_MADE_BY_HAND}")
    system = load({})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(f"{what} is not little-endian, which is all that is read")
    kind, key, count = load(names, _storage_id)
    if load({}) != [key]:
        raise CheckpointError(f"{what} lists other storages than its own; {_MADE_BY_HAND}")
    return _numbers(file, kind, count, what)


def _never(*arguments: object) -> object:
    raise CheckpointError("a storage class is called, which torch never writes; it was made by hand")


def _storage_id(given: object) -> tuple[str, str, int]:
    # ("storage", class, key, location, number of elements, and None where it is no view of another one)
    if (
        not isinstance(given, tuple)
        or len(given) not in (5, 6)
        or given[0] != "storage"
        or given[5:] not in ((), (None,))
    ):
        raise CheckpointError(f"a storage has an odd description; {_MADE_BY_HAND}")
    kind, key, count = given[1], given[2], given[4]
    if not isinstance(kind, Global) or type(key) is not str or not is_count(count):
        raise CheckpointError(f"a storage has an odd type, key or length; {_MADE_BY_HAND}")
    return kind.name, key, count


def _numbers(file: BinaryIO, kind: str, count: int, what: str) -> _Storage:
    header, data = file.read(8), file.read()
    dtype = np.dtype(STORAGES[kind])
    if len(header) != 8 or struct.unpack("<q", header)[0] != count or len(data) != count * dtype.itemsize:
        raise CheckpointError(
            f"{what} holds {len(data):,} bytes where {count:,} numbers of {dtype.itemsize} bytes are "
            "announced; " + _MADE_BY_HAND
        )
    return _Storage(np.frombuffer(data, dtype), kind == "BoolStorage")


# --- what the networks hold ---------------------------------------------------------------------------------


def _network(module: object, where: str) -> StoredNetwork:
    if not isinstance(module, _Module):
        raise CheckpointError(
            f"{where}: a {type(module).__name__} where a network is expected; {_MADE_BY_HAND}"
        )
    tensors: dict[str, Array] = {}
    parameters: list[str] = []
    _collect(module, "", where, tensors, parameters, set(), _MAX_DEPTH)
    arguments = _plain(
        module.state.get("_init_args", ()), f"{where}, arguments", _MAX_DEPTH, [_MAX_ARGUMENTS]
    )
    if not isinstance(arguments, tuple):
        raise CheckpointError(f"{where}: its arguments are no tuple; {_MADE_BY_HAND}")
    return StoredNetwork(
        class_name=clip(module.class_name),
        init_args=arguments,
        init_kwargs=_options(module.state.get("_init_kwargs", {}), f"{where}, arguments"),
        tensors=tensors,
        parameters=tuple(parameters),
        source=module.source,
        kind=_kind(module),
    )


def _section(module: _Module, key: str, where: str) -> dict[str, Any]:
    found = module.state.get(key)
    if not isinstance(found, dict):
        raise CheckpointError(f"{where}: a {clip(module.class_name)} has no {key}; {_MADE_BY_HAND}")
    for name in found:
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or "." in name:
            raise CheckpointError(f"{where}: an odd name in {key}; {_MADE_BY_HAND}")
    return found


def _collect(
    module: _Module,
    prefix: str,
    where: str,
    tensors: dict[str, Array],
    parameters: list[str],
    seen: set[int],
    depth: int,
) -> None:
    # A pickle can put an object into itself, or into ten thousand places.
    if id(module) in seen or not depth:
        raise CheckpointError(f"{where}: module {clip(prefix)} occurs twice or too deep; {_MADE_BY_HAND}")
    seen.add(id(module))
    passing = module.state.get("_non_persistent_buffers_set", set())
    if not isinstance(passing, set):
        raise CheckpointError(f"{where}: its list of passing buffers is none; {_MADE_BY_HAND}")
    for key, is_parameter in (("_parameters", True), ("_buffers", False)):
        for name, value in _section(module, key, where).items():
            if value is None or (not is_parameter and name in passing):
                continue
            full = prefix + name
            if not isinstance(value, np.ndarray) or full in tensors:
                raise CheckpointError(
                    f"{where}: {clip(full)} is no tensor, or is there twice; {_MADE_BY_HAND}"
                )
            tensors[full] = value
            if is_parameter:
                parameters.append(full)
    for name, child in _section(module, "_modules", where).items():
        if child is None:
            continue
        if not isinstance(child, _Module):
            raise CheckpointError(f"{where}: {clip(prefix + name)} is no module; {_MADE_BY_HAND}")
        _collect(child, f"{prefix}{name}.", where, tensors, parameters, seen, depth - 1)


def _kind(module: _Module) -> str | None:
    children = module.state["_modules"]
    synthesis = children.get("synthesis")
    inner = synthesis.state["_modules"] if isinstance(synthesis, _Module) else {}
    if inner.get("input") is not None:
        return "stylegan3"
    # The discriminator of both is StyleGAN2's, and has its blocks at the top.
    return "stylegan2" if inner.get("b4") is not None or children.get("b4") is not None else None


def _options(given: object, where: str) -> dict[str, Any]:
    options = _plain(given, where, _MAX_DEPTH, [_MAX_ARGUMENTS])
    if not isinstance(options, dict):
        raise CheckpointError(f"{where}: options are a {type(given).__name__}, not a dict; {_MADE_BY_HAND}")
    return options


def _plain(value: object, where: str, depth: int, left: list[int]) -> Any:  # noqa: ANN401
    # Containers, text and numbers; the copy is bounded, since a pickle can nest a list in itself.
    left[0] -= 1
    if not depth or left[0] < 0:
        raise CheckpointError(f"{where}: nested too deep, or without end; {_MADE_BY_HAND}")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return (
            _plain(value.tolist(), where, depth, left)
            if value.size <= left[0]
            else _plain(None, where, 0, left)
        )
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item, where, depth - 1, left) for item in value)
    if isinstance(value, dict):
        return {str(key): _plain(item, where, depth - 1, left) for key, item in value.items()}
    raise CheckpointError(
        f"{where}: a {type(value).__name__}, where numbers and text are expected; {_MADE_BY_HAND}"
    )
