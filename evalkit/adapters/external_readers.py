"""Readers of models from outside; each gives a function of latents. Factories and TorchScript are run."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.digest import arrays_sha256
from evalkit.errors import CheckpointError, EvalkitError, SourceError, UsageError, nearest
from evalkit.files import sha256_file
from evalkit.sources.generated import load_callable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Of latents, and of labels where the model has them.
Function = Callable[..., Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A model before it is tried.

    Attributes:
        function: Latents (and labels) to images.
        identity: The sha256 of what it was made of; None of an object that is known by its answers alone.
        z_dim: Width of the latents, where the model says it.
        batch: How many latents it insists on, where it does.
        mapping: Latents (and labels) to styles, where the model has the two halves.
        synthesis: Styles to images, where the model has the two halves.
        z_shape: Shape of one latent, where the model says that latents are grids.
        num_classes: Number of classes, where the model says it.
        sides: Of its first input, where a file says them; None in the place of one that may vary.
    """

    function: Function
    identity: str | None
    z_dim: int | None = None
    batch: int | None = None
    mapping: Function | None = None
    synthesis: Function | None = None
    z_shape: tuple[int, int, int] | None = None
    num_classes: int = 0
    sides: tuple[int | None, ...] = ()


def takes(function: Function, name: str) -> bool:
    """Whether a function, a module or a TorchScript program has a parameter of this name."""
    forward = getattr(function, "forward", function)
    schema = getattr(forward, "schema", None)  # of TorchScript
    if schema is not None:
        return any(argument.name == name for argument in schema.arguments)
    try:
        return name in inspect.signature(forward).parameters
    except (TypeError, ValueError):
        return False


def loaded_from(made: Any, identity: str | None, spec: str, device: str) -> Loaded:  # noqa: ANN401 - any model
    """What a factory returned, or a user handed over: a function of latents, or an object with two halves.

    Raises:
        CheckpointError: It can neither be called nor has both ``map`` and ``synthesise``.
    """
    if hasattr(made, "state_dict") and hasattr(made, "eval"):
        made = made.to(device).eval()
    mapping, synthesis = getattr(made, "map", None), getattr(made, "synthesise", None)
    function = made
    if callable(mapping) and callable(synthesis):
        first, second = mapping, synthesis

        def function(*given: Any) -> Any:  # noqa: ANN401
            return second(first(*given))

    elif not callable(made):
        raise CheckpointError(
            f"{spec} returned {type(made).__name__}; a factory takes no arguments and returns a torch "
            "module, a function of latents, or an object with map (latents to styles) and synthesise (styles "
            "to images)"
        )
    else:
        mapping = synthesis = None
    shape = getattr(made, "z_shape", None)
    if shape is not None:
        shape = tuple(shape) if isinstance(shape, Sequence) else (shape,)
        if len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape):
            raise CheckpointError(
                f"{spec} has z_shape = {shape}; latents that are grids have a shape (channels, height, width)"
            )
    return Loaded(
        function=function,
        identity=identity,
        z_dim=math.prod(shape) if shape else attribute(made, "z_dim"),
        mapping=mapping,
        synthesis=synthesis,
        z_shape=shape,
        num_classes=attribute(made, "num_classes") or 0,
    )


def attribute(model: object, name: str) -> int | None:
    """A whole number that a model carries under ``name``, or None."""
    value = getattr(model, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def made_by(place: str, name: str, spec: str) -> tuple[Any, str | None]:
    """What a factory makes, and its identity: ``place`` is a module or the path of a Python file.

    Raises:
        SourceError: It cannot be imported.
        CheckpointError: It fails.
    """
    factory = _from_file(Path(place), name, spec) if place.endswith(".py") else load_callable(place, name)
    try:
        made: Any = factory()  # type: ignore[call-arg]
    except EvalkitError:
        raise
    except (Exception, SystemExit) as error:  # foreign code may raise anything
        raise CheckpointError(f"{spec} raised {type(error).__name__}: {error}") from error
    return made, _identity(factory, name, made)


def _from_file(path: Path, name: str, spec: str) -> Function:
    if not path.is_file():
        raise SourceError(f"{spec}: {path} is no file; check the path")
    described = importlib.util.spec_from_file_location(f"_evalkit_model_{path.stem}", path)
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    sys.modules[described.name] = module  # dataclasses look their module up there
    try:
        described.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # foreign code may raise anything
        raise SourceError(f"{spec}: running {path} raised {type(error).__name__}: {error}") from error
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise SourceError(f"{spec}: {path} has no callable {name!r} (nearest: {nearest(name, there)})")
    return found


def _identity(factory: Function, name: str, made: object) -> str:
    # A file may hold several factories, and what they make may have no weights that tell them apart.
    total = hashlib.sha256(f"evalkit-external-1|{name}|".encode())
    try:
        file = inspect.getsourcefile(inspect.unwrap(factory))
        total.update(Path(file).read_bytes() if file else b"")
    except (TypeError, OSError, ValueError):
        total.update(f"{getattr(factory, '__module__', '')}:{getattr(factory, '__qualname__', '')}".encode())
    state = made.state_dict() if hasattr(made, "state_dict") else {}
    if isinstance(state, Mapping):
        arrays = {
            name: value.detach().cpu().float().numpy()
            for name, value in state.items()
            if hasattr(value, "detach")
        }
        total.update(arrays_sha256(arrays).encode())
    return total.hexdigest()


def first_line(error: BaseException) -> str:
    """What an error of foreign code says first, at most 200 characters."""
    return (str(error).strip().splitlines() or [""])[0][:200]


def read_torchscript(path: Path, device: str) -> Loaded:
    """Loads a TorchScript file, which runs its code.

    Raises:
        CheckpointError: The file is damaged or something else.
    """
    import torch

    archive = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        begun = file.read(4) == b"PK\x03\x04"
    if begun and not archive:  # the list of what is in an archive stands at its end
        raise CheckpointError(f"{path} ends too early: it is the beginning of an archive; get the file again")
    names = zipfile.ZipFile(path).namelist() if archive else []
    if not any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(
            f"{path} holds no TorchScript program; it is a state dict or a pickled object: numbers without "
            "the network they belong to. Write a factory that builds the network and loads the state dict, "
            "and give file.py:factory (docs/evaluate-your-model.md shows one), or save "
            "torch.jit.script(model)"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is being retired; its files are still there
        try:
            script = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, OSError) as error:
            raise CheckpointError(
                f"{path} cannot be read as TorchScript ({first_line(error)}); it is cut short, or was "
                "written by a newer torch"
            ) from error
    script.eval()
    return loaded_from(script, sha256_file(path), str(path), device)


def read_exported(path: Path, device: str) -> Loaded:
    """Loads a torch.export program.

    Raises:
        CheckpointError: The file is damaged or something else.
    """
    import torch

    if not zipfile.is_zipfile(path):  # torch would log a traceback of its own first
        raise CheckpointError(
            f"{path} cannot be read as a torch.export program: it is cut short or something else; save one "
            "with torch.export.save"
        )
    try:
        program = torch.export.load(str(path))
        if device != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, torch.device(device))
    except Exception as error:  # its reader raises many kinds for files that are not its own
        raise CheckpointError(
            f"{path} cannot be read as a torch.export program ({type(error).__name__}: "
            f"{first_line(error)}); save one with torch.export.save"
        ) from error
    return _described(program.module(), path, _exported_shape(program))


def _exported_shape(program: torch.export.ExportedProgram) -> tuple[int | None, ...]:
    inputs = program.graph_signature.user_inputs
    for node in program.graph.nodes:
        if inputs and node.name == inputs[0] and (value := node.meta.get("val")) is not None:
            return _fixed(value.shape)
    return ()


def _fixed(shape: Any) -> tuple[int | None, ...]:  # noqa: ANN401 - of torch, or a list of onnxruntime
    # Sides that may vary are symbols or text.
    return tuple(side if type(side) is int and side > 0 else None for side in shape)


def _described(function: Function, path: Path, sides: tuple[int | None, ...]) -> Loaded:
    batch, width = sides[:2] if len(sides) > 1 else (None, None)
    return Loaded(function=function, identity=sha256_file(path), z_dim=width, batch=batch, sides=sides)


def read_onnx(path: Path, device: str) -> Loaded:
    """Loads an ONNX graph, by onnxruntime.

    Raises:
        UsageError: onnxruntime is not installed, or does not run on the device.
        CheckpointError: The file is damaged or something else.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(f"{path} needs the package onnxruntime; pip install 'evalkit[onnx]'") from None
    wanted = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    if wanted not in onnxruntime.get_available_providers():
        raise UsageError(
            f"onnxruntime here has no {wanted}, which --device {device} needs; give --device cpu"
        )
    try:
        session = onnxruntime.InferenceSession(str(path), providers=[wanted])
    except Exception as error:  # its errors have no common base but this
        raise CheckpointError(
            f"{path} cannot be read as an ONNX graph ({type(error).__name__}: {first_line(error)})"
        ) from error
    inputs = session.get_inputs()

    def function(*given: Tensor) -> Any:  # noqa: ANN401
        named = {each.name: value.cpu().numpy() for each, value in zip(inputs, given, strict=True)}
        return session.run(None, named)[0]

    return _described(function, path, _fixed(inputs[0].shape) if inputs else ())
