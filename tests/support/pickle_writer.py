"""Writes pickles that name what they like: stand-ins for files of official tools, sound, damaged and
hostile."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Name:
    """A global."""

    module: str
    name: str


class Call:
    """A call of a global, with a state to set where one is given."""

    def __init__(self, module: str, name: str, *arguments: Any, state: Any = None) -> None:
        self.function, self.arguments, self.state = Name(module, name), arguments, state


@dataclass(frozen=True)
class Persistent:
    """A persistent id."""

    value: Any


def dumps(value: Any, protocol: int = 4) -> bytes:
    """The pickle of ``value``."""
    return b"\x80" + bytes([protocol]) + _emit(value) + b"."


def _emit(value: Any) -> bytes:
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_emit, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(_emit, value)) + b"e"
    if isinstance(value, set):
        return b"\x8f(" + b"".join(map(_emit, sorted(value))) + b"\x90"
    if isinstance(value, dict):
        return b"}(" + b"".join(_emit(key) + _emit(item) for key, item in value.items()) + b"u"
    if isinstance(value, Name):
        return b"c" + f"{value.module}\n{value.name}\n".encode()
    if isinstance(value, Persistent):
        return _emit(value.value) + b"Q"
    if isinstance(value, Call):
        made = _emit(value.function) + _emit(value.arguments) + b"R"
        return made if value.state is None else made + _emit(value.state) + b"b"
    raise TypeError(type(value).__name__)


# --- the structure of StyleGAN2-ADA and StyleGAN3 files -----------------------------------------------------

STORAGE_NAMES = {
    "f8": "Double",
    "f4": "Float",
    "f2": "Half",
    "i8": "Long",
    "i4": "Int",
    "u1": "Byte",
    "b1": "Bool",
}


def storage(array: np.ndarray, *, name: str | None = None, numel: int | None = None) -> bytes:
    """A storage in torch's first format."""
    kind = Name("torch", (name or STORAGE_NAMES[array.dtype.str[1:]]) + "Storage")
    count = array.size if numel is None else numel
    parts = [
        dumps(0x1950A86A20F9469CFC6C, 2),
        dumps(1001, 2),
        dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}, 2),
        dumps(Persistent(("storage", kind, "7", "cpu", count, None)), 2),
        dumps(["7"], 2),
    ]
    return b"".join(parts) + struct.pack("<q", count) + array.tobytes()


def tensor(
    array: np.ndarray,
    *,
    size: tuple[int, ...] | None = None,
    stride: tuple[int, ...] | None = None,
    offset: int = 0,
    data: bytes | None = None,
) -> Call:
    """A tensor; by default all of a storage of its own."""
    size = array.shape if size is None else size
    steps = tuple(int(np.prod(size[axis + 1 :])) for axis in range(len(size))) if stride is None else stride
    held = Call("torch.storage", "_load_from_bytes", storage(array) if data is None else data)
    hooks = Call("collections", "OrderedDict")
    return Call(
        "torch._utils", "_rebuild_tensor_v2", held, offset, tuple(map(int, size)), steps, False, hooks
    )


def parameter(array: np.ndarray) -> Call:
    """A parameter."""
    return Call("torch._utils", "_rebuild_parameter", tensor(array), True, Call("collections", "OrderedDict"))


def module(
    parameters: dict[str, Any] | None = None,
    buffers: dict[str, Any] | None = None,
    modules: dict[str, Any] | None = None,
    *,
    kwargs: dict[str, Any] | None = None,
    class_name: str = "Generator",
    source: str = "",
    version: int = 6,
    **state: Any,
) -> Call:
    """A module as the official tools store it."""
    attributes = {
        "training": False,
        "_parameters": parameters or {},
        "_buffers": buffers or {},
        "_non_persistent_buffers_set": set(),
        "_modules": modules or {},
        "_init_args": (),
        "_init_kwargs": kwargs or {},
        **state,
    }
    meta = {
        "type": "class",
        "version": version,
        "module_src": source,
        "class_name": class_name,
        "state": attributes,
    }
    return Call("torch_utils.persistence", "_reconstruct_persistent_obj", meta)


def network_file(average: Any = None, **more: Any) -> bytes:
    """A whole file; by default with a small average network of two levels."""
    if average is None:
        block = module({"weight": parameter(np.arange(6, dtype=np.float32).reshape(2, 3)), "bias": None}, {})
        average = module(
            buffers={"w_avg": tensor(np.arange(4, dtype=np.float32))},
            modules={
                "synthesis": module(modules={"b4": block}, class_name="SynthesisNetwork"),
                "embed": None,
            },
            kwargs={
                "z_dim": 4,
                "img_resolution": 8,
                "gain": numpy_scalar(0.5),
                "nested": {"k": [1, (2, None)]},
            },
        )
    held = {
        "G": None,
        "D": None,
        "G_ema": average,
        "augment_pipe": None,
        "training_set_kwargs": {"path": "x"},
    }
    return dumps({**held, **more})


def numpy_scalar(value: float) -> Call:
    """A NumPy scalar of type float64."""
    dtype = Call("numpy", "dtype", "f8", False, True, state=(3, "<", None, None, None, -1, -1, 0))
    return Call("numpy.core.multiarray", "scalar", dtype, struct.pack("<d", value))


def numpy_array(array: np.ndarray) -> Call:
    """A NumPy array, as NumPy 1 pickles it."""
    dtype = Call(
        "numpy", "dtype", array.dtype.str[1:], False, True, state=(3, "<", None, None, None, -1, -1, 0)
    )
    state = (1, array.shape, dtype, False, array.tobytes())
    return Call("numpy.core.multiarray", "_reconstruct", Name("numpy", "ndarray"), (0,), b"b", state=state)
