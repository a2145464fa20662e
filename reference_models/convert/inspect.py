"""What a model file is, before anyone trusts it: kind, model, config, parameters, digests, what it calls.

Nothing that a file names is imported or called. Pickles are gone through by
`evalkit.adapters.restricted_pickle`, in which a global is a name and an object is a stand-in. A file is
called safe if reading it with evalkit runs nothing of it; what its globals are is listed either way.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.adapters.nvidia_pickle import STORAGES, read_nvidia_pickle
from evalkit.adapters.restricted_pickle import RestrictedUnpickler, Survey, numpy_globals, survey
from evalkit.digest import arrays_sha256
from evalkit.errors import CheckpointError
from evalkit.files import sha256_file
from reference_models.convert.files import checkpoint_paths, read_checkpoint
from reference_models.convert.tf_pickle import identify, read_tf_pickle

Array = npt.NDArray[Any]

_ACCEPTED = (
    "network pickles of StyleGAN2-ADA and StyleGAN3, TensorFlow pickles of ProGAN, StyleGAN and StyleGAN2, "
    "evalkit's NAME.safetensors with NAME.json, PyTorch state dicts, TorchScript, torch.export programs and "
    "ONNX graphs"
)
_TORCH_GLOBALS = {
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "collections.OrderedDict",
    "argparse.Namespace",  # the options that NVAE's files hold: attributes, and no code
} | {f"torch.{name}" for name in (*STORAGES, "BFloat16Storage")}
# The index of a zip file of torch; the numbers lie beside it.
_MAX_INDEX, _MAX_HEADER, _MAX_TENSORS, _MAX_DEPTH = 256 << 20, 100 << 20, 100_000, 16
_LEGACY_PICKLES = 4  # before the numbers: magic number, version, system, and the object
_KIMG = re.compile(r"network-(?:snapshot|final)-(?:\d+x\d+-)?0*(\d+)$")
_KINDS: Mapping[str, tuple[str, ...]] = {
    "nvidia": ("network pickle of StyleGAN2-ADA",),
    "tf": ("network pickle of ProGAN",),
    "pytorch": ("PyTorch state dict",),
    "evalkit": ("evalkit checkpoint", "safetensors"),
    "program": ("TorchScript", "torch.export", "ONNX"),
}
# A tensor that only this model has, at the end of its name.
_MARKS = {
    "stylegan3": "synthesis.input.freqs",
    "stylegan2": "synthesis.b4.const",
    "stylegan": "4x4.Const.const",
    "progan": "4x4.Dense.weight",
    "vdvae": "decoder.out_net.out_conv.weight",
    "nvae": "prior_ftr0",
    "srflow": "flowUpsamplerNet.layers.1.actnorm.bias",
}


def inspect_checkpoint(path: str | Path) -> dict[str, Any]:
    """What there is to know of a model file without running any of it.

    Args:
        path: The file; of evalkit's own pair, either one.

    Returns:
        What JSON can hold: ``file``, ``kind``, ``model`` (None where nobody can tell), ``config``,
        ``parameters`` (their number), ``tensors`` (number of tensors), ``networks`` (parameters of each),
        ``kimg``, ``sha256`` (of the file), ``tensors_sha256`` (None where the numbers were not read),
        ``safe``, ``globals``, ``problem`` (why it is not safe or cannot be loaded, or None).

    Raises:
        CheckpointError: The file is missing, damaged, or of no known kind.
    """
    file = Path(path)
    if not file.is_file():
        numbers, description = checkpoint_paths(file)
        if not (numbers.is_file() and description.is_file()):
            raise CheckpointError(f"{file} is no file; accepted are {_ACCEPTED}")
        file = numbers
    facts: dict[str, Any] = {
        "file": str(path),
        "kind": None,
        "model": None,
        "config": None,
        "parameters": None,
        "tensors": None,
        "networks": {},
        "kimg": None,
        "sha256": None,
        "tensors_sha256": None,
        "safe": True,
        "globals": [],
        "problem": None,
    }
    try:
        with file.open("rb") as stream:
            head = stream.read(2)
        facts |= _facts(file, head)
        facts["sha256"] = sha256_file(file)
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be read: {error.strerror or error}; check its permissions"
        ) from None
    return facts


def file_kind(path: Path) -> str:
    """Which reader a file is for.

    Returns:
        ``nvidia``, ``tf``, ``pytorch`` (a state dict, hostile ones included), ``evalkit``, ``program``
        (TorchScript, torch.export, ONNX), or ``unknown``.
    """
    if path.suffix.lower() == ".safetensors":
        return "evalkit"  # whatever is wrong with it is for our reader to explain
    try:
        with path.open("rb") as stream:
            # The numbers are read once, by the reader that this answer picks.
            kind = str(_facts(path, stream.read(2), numbers=False)["kind"])
    except (CheckpointError, OSError):
        return "unknown"
    return next((short for short, start in _KINDS.items() if kind.startswith(start)), "unknown")


def _facts(file: Path, head: bytes, *, numbers: bool = True) -> dict[str, Any]:
    suffix = file.suffix.lower()
    if suffix in (".safetensors", ".json"):
        return _own(file)
    if head == b"PK":
        return _zip(file)
    if head[:1] == b"\x80":
        return _pickle(file, numbers)
    # A model begins with one of its first fields: version, producer, graph or operator set.
    if suffix == ".onnx" and head[:1] in (b"\x08", b"\x12", b"\x1a", b"\x3a", b"\x42"):
        return {"kind": "ONNX graph"}
    raise CheckpointError(f"{file} is no model file that evalkit knows; accepted are {_ACCEPTED}")


def _own(file: Path) -> dict[str, Any]:
    numbers, description = checkpoint_paths(file)
    if not description.is_file():
        shapes = _safetensors_shapes(numbers)
        return {
            "kind": "safetensors without a description",
            "problem": f"{description.name} is missing, so nothing says which model the numbers belong to",
            **_counts(shapes),
        }
    stored = read_checkpoint(file)
    return {
        "kind": "evalkit checkpoint",
        "config": dict(stored.config),
        "kimg": stored.kimg,
        "tensors_sha256": stored.tensors_sha256,
        **_counts({name: array.shape for name, array in stored.tensors.items()}),
        "model": stored.model,
    }


def _counts(shapes: Mapping[str, tuple[int, ...]], parameters: Iterable[str] | None = None) -> dict[str, Any]:
    counted = shapes if parameters is None else parameters
    found = [model for model, mark in _MARKS.items() if any(name.endswith(mark) for name in shapes)]
    return {
        "model": found[0] if found else None,
        "parameters": sum(math.prod(shapes[name]) for name in counted),
        "tensors": len(shapes),
    }


def _safetensors_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    # Eight bytes of length, then JSON: name -> dtype, shape, offsets.
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        text = stream.read(size) if size <= _MAX_HEADER else b""
    try:
        header = json.loads(text)
        return {
            name: tuple(int(side) for side in entry["shape"])
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{file} is no sound safetensors file; it is cut short or damaged: get it again"
        ) from error


# --- pickles ------------------------------------------------------------------------------------------------


def _pickle(file: Path, numbers: bool) -> dict[str, Any]:
    with file.open("rb") as stream:
        found = survey(stream, what=str(file), pickles=_LEGACY_PICKLES)
    names = set(found.globals)

    def tell(kind: str, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return _guarded(kind, read) if numbers else {"kind": kind}

    base = {"globals": list(found.globals), "kimg": _kimg(file)}
    if "torch_utils.persistence._reconstruct_persistent_obj" in names:
        return base | tell("network pickle of StyleGAN2-ADA or StyleGAN3 (PyTorch)", lambda: _nvidia(file))
    if {"dnnlib.tflib.network.Network", "tfutil.Network", "network.Network"} & names:
        return base | tell(
            "network pickle of ProGAN, StyleGAN or StyleGAN2 (TensorFlow)", lambda: _tensorflow(file)
        )
    if any(name.startswith("torch.") and name.endswith("Storage") for name in names):
        return base | tell("PyTorch state dict (first format)", lambda: _legacy_state(file, found))
    if found.problem and not names:
        raise CheckpointError(found.problem)
    shown = f"it would call {', '.join(found.globals)}" if names else "it names nothing, and holds no network"
    return base | {"kind": "pickle of no known kind", "safe": not names, "problem": found.problem or shown}


def _guarded(kind: str, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"kind": kind, **read()}
    except CheckpointError as error:
        return {"kind": kind, "safe": False, "problem": str(error)}


def _kimg(file: Path) -> float | None:
    # The files do not say it; the names that the training programs give do.
    match = _KIMG.search(file.stem)
    return float(match[1]) if match else None


def _nvidia(file: Path) -> dict[str, Any]:
    read = read_nvidia_pickle(file)
    best = read.networks["G_ema"]
    shapes = {name: array.shape for name, array in best.tensors.items()}
    return {
        "networks": {
            key: sum(net.tensors[name].size for name in net.parameters) for key, net in read.networks.items()
        },
        "config": {"class_name": best.class_name, **best.init_kwargs},
        "tensors_sha256": _digest(best.tensors),
        **_counts(shapes, best.parameters),
        "model": best.kind,
    }


def _tensorflow(file: Path) -> dict[str, Any]:
    read = read_tf_pickle(file)
    best = read.networks["G_ema"]
    return {
        "networks": {key: sum(a.size for a in net.variables.values()) for key, net in read.networks.items()},
        "config": {"function": best.function, **_json(best.static_kwargs)},
        "tensors_sha256": _digest(best.variables),
        **_counts({name: array.shape for name, array in best.variables.items()}),
        "model": identify(read.networks),
    }


def _json(value: Any) -> Any:  # noqa: ANN401
    return json.loads(json.dumps(value, default=str))


def _digest(tensors: Mapping[str, Array]) -> str:
    return arrays_sha256({name: np.asarray(array) for name, array in tensors.items()})


# --- PyTorch ------------------------------------------------------------------------------------------------


class _Dict(dict[Any, Any]):
    # An OrderedDict; a state dict carries version numbers of modules as an attribute.
    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        return


class _Namespace:
    # Options; what they are is read by the model's converter.
    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        return


class _Shape(tuple[int, ...]):
    # What is kept of a tensor.
    __slots__ = ()


def _shape(*arguments: object) -> _Shape:
    size = arguments[2] if len(arguments) > 2 else None
    if not isinstance(size, tuple) or not all(type(side) is int and side >= 0 for side in size):
        raise CheckpointError("a tensor has no size; the file is damaged or made by hand")
    return _Shape(size)


def _never(*arguments: object) -> object:
    raise CheckpointError("a type of torch is called, which torch never writes; the file was made by hand")


def _state_table() -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = {("torch", name): _never for name in (*STORAGES, "BFloat16Storage")}
    return {
        **table,
        **numpy_globals(),
        ("collections", "OrderedDict"): _Dict,
        ("argparse", "Namespace"): _Namespace,
        ("torch._utils", "_rebuild_tensor_v2"): _shape,
        ("torch._utils", "_rebuild_parameter"): lambda data, *rest: data,
    }


def _state(stream: io.BufferedReader | io.BytesIO, what: str, skip: int) -> dict[str, Any]:
    unpickler = RestrictedUnpickler(stream, _state_table(), what=what, persistent=lambda given: None)
    for _ in range(skip):
        unpickler.load()
    shapes: dict[str, tuple[int, ...]] = {}
    _shapes(unpickler.load(), "", shapes, _MAX_DEPTH, [_MAX_TENSORS], what)
    if not shapes:
        raise CheckpointError(f"{what} holds no tensors by name; it is no state dict")
    return _counts(shapes)


def _shapes(
    value: object, name: str, found: dict[str, tuple[int, ...]], depth: int, left: list[int], what: str
) -> None:
    left[0] -= 1
    if left[0] < 0 or not depth:
        raise CheckpointError(f"{what} is nested too deep, or without end; it was made by hand")
    if isinstance(value, _Shape):
        found[name] = tuple(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _shapes(item, f"{name}.{key}" if name else str(key), found, depth - 1, left, what)


def _legacy_state(file: Path, found: Survey) -> dict[str, Any]:
    if foreign := set(found.globals) - _TORCH_GLOBALS:
        raise _foreign(file, foreign)
    with file.open("rb") as stream:
        return _state(stream, str(file), _LEGACY_PICKLES - 1)


def _foreign(file: Path, names: set[str]) -> CheckpointError:
    return CheckpointError(
        f"{file} holds Python objects beside tensors ({', '.join(sorted(names))}), which opening it would "
        "call; ask for the state dict alone (torch.save(model.state_dict(), …)) or safetensors"
    )


def _zip(file: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                return {
                    "kind": "TorchScript",
                    "safe": False,
                    "problem": "a program: loading it runs its code",
                }
            if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names):
                return {"kind": "torch.export program"}
            indices = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
            if not indices:
                raise CheckpointError(f"{file} is an archive and holds no model; accepted are {_ACCEPTED}")
            if archive.getinfo(indices[0]).file_size > _MAX_INDEX:
                raise CheckpointError(
                    f"{file} has an index of absurd size; it was made to exhaust this machine"
                )
            index = archive.read(indices[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{file} is a damaged archive ({error}); get it again") from error
    found = survey(io.BytesIO(index), what=str(file))

    def read() -> dict[str, Any]:
        if foreign := set(found.globals) - _TORCH_GLOBALS:
            raise _foreign(file, foreign)
        return _state(io.BytesIO(index), str(file), 0)

    return {"globals": list(found.globals), **_guarded("PyTorch state dict", read)}
