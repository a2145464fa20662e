"""Models from outside: a factory in Python, TorchScript, a torch.export program, an ONNX graph.

A model maps latents z, float32 ``(n, z_dim)`` or ``(n, z_dim, 1, 1)``, to images ``(n, c, h, w)`` with one or
three channels: floats in the declared range, or uint8. A conditional one takes int64 labels ``(n,)`` as its
second argument. One that gives floats can be asked for more (`evalkit.adapters.external_latents`). The
latents of seed s are ``numpy.random.RandomState(s).randn(z_dim)``, as the official samplers of the GAN family
draw them. Models are called with the same number of latents every time (the last ones repeated), so that
neither the batch size nor the order of seeds can move an image.

**A Python factory and a TorchScript file are programs: loading them runs code.** Take them from people you
trust. An exported program and an ONNX graph are descriptions of a computation. A state dict is numbers alone;
it does not say what to compute, and is refused with the way out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evalkit.adapters.capabilities import HasLikelihood
from evalkit.adapters.external_readers import (
    Loaded,
    first_line,
    loaded_from,
    made_by,
    read_exported,
    read_onnx,
    read_torchscript,
)
from evalkit.adapters.likelihood import FunctionLikelihood
from evalkit.errors import CheckpointError, EvalkitError, UsageError, nearest
from evalkit.imaging.quantise import RANGES
from evalkit.sources.generated import RangeWording, round_floats

if TYPE_CHECKING:
    from torch import Tensor

Int64Array = npt.NDArray[np.int64]
MICRO_BATCH = 8
MAX_SEED = 2**32 - 1
MAX_WIDTH = 2**20
SUFFIXES = (".pt", ".pth", ".pt2", ".onnx")
_FACTORY = re.compile(r"(?P<place>.+?):(?P<name>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)")
_WORDING = RangeWording("give --range unit", "was given with --range unit")


class ExternalModel:
    """A model from outside, behind the capability `Samples`.

    Attributes:
        name: What the user typed.
        identity: The sha256 of the model's file, or of its source file and weights; None of an object that
            was handed over.
        z_dim: Width of the latents.
        num_classes: Number of classes, 0 without labels.
        value_range: ``signed`` or ``unit``; floats are rounded accordingly.
        resolution: Height and width of the images.
        rounded: Whether it returns uint8.
        device: Where it runs.
    """

    def __init__(
        self, loaded: Loaded, *, name: str, z_dim: int, value_range: str, num_classes: int, device: str
    ) -> None:
        """Tries the model on eight seeds, to learn the form of its latents and images.

        Raises:
            CheckpointError: It takes neither form of latents, or returns something else than images.
            SourceError: Its images are in another range than declared.
        """
        self.name = name
        self.identity = loaded.identity
        self.z_dim = z_dim
        self.num_classes = num_classes
        self.value_range = value_range
        self._function = loaded.function
        self._loaded = loaded
        self.device = device
        self._batch = loaded.batch or MICRO_BATCH
        self._axes = self._find_axes()
        seeds = np.arange(self._batch, dtype=np.int64)
        self.resolution = int(self._images(self.latents(seeds), self._classes(seeds), seeds).shape[-1])

    def latents(self, seeds: Int64Array) -> Tensor:
        """Latents z of seeds: float32 ``(n, z_dim)``, on the CPU.

        Raises:
            UsageError: A seed is negative or larger than 2^32 - 1.
        """
        import torch

        if len(seeds) and (int(np.min(seeds)) < 0 or int(np.max(seeds)) > MAX_SEED):
            raise UsageError(f"seeds must be 0 to {MAX_SEED}, given were {np.min(seeds)} to {np.max(seeds)}")
        drawn = [np.random.RandomState(int(seed)).randn(self.z_dim) for seed in seeds]
        return torch.from_numpy(np.array(drawn, np.float32).reshape(len(seeds), self.z_dim))

    def sample(self, seeds: Int64Array, labels: Int64Array | None = None) -> Tensor:
        """Images of seeds: uint8 ``(n, 3, h, w)``, on the CPU.

        Raises:
            UsageError: Labels are missing, not wanted, or no classes of the model.
            CheckpointError: The model fails, or returns something else than images.
            SourceError: Its images are in another range than declared, or not finite.
        """
        import torch

        labels = self._check_labels(seeds, labels)
        parts = []
        for start in range(0, len(seeds), self._batch):
            part = seeds[start : start + self._batch]
            padded = np.concatenate([part, np.repeat(part[-1:], self._batch - len(part))])
            classes = None
            if labels is not None:
                own = labels[start : start + self._batch]
                classes = np.concatenate([own, np.repeat(own[-1:], self._batch - len(own))])
            parts.append(self._images(self.latents(padded), classes, part)[: len(part)])
        if not parts:
            return torch.empty((0, 3, self.resolution, self.resolution), dtype=torch.uint8)
        return torch.from_numpy(np.concatenate(parts))

    def _classes(self, seeds: Int64Array) -> Int64Array | None:
        return seeds % self.num_classes if self.num_classes else None

    def _check_labels(self, seeds: Int64Array, labels: Int64Array | None) -> Int64Array | None:
        if not self.num_classes:
            if labels is not None:
                raise UsageError(
                    f"{self.name} has no classes and labels were given; leave them out, or say how many it "
                    "has (num_classes)"
                )
            return None
        if labels is None:
            raise UsageError(
                f"{self.name} is conditional on {self.num_classes} classes; give labels, one a seed, from 0 "
                f"to {self.num_classes - 1}"
            )
        labels = np.asarray(labels, np.int64)
        if labels.shape != (len(seeds),) or (
            len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes
        ):
            raise UsageError(
                f"{self.name} wants {len(seeds)} labels from 0 to {self.num_classes - 1}, one a seed; given "
                f"were {labels.size} of shape {labels.shape}"
            )
        return labels

    def _call(self, z: Tensor, labels: Int64Array | None, axes: int) -> Any:  # noqa: ANN401 - foreign code
        import torch

        from evalkit.imaging.exact import exact_float32

        given = [self._shaped(z, axes).to(self.device)]
        if labels is not None:
            given.append(torch.from_numpy(labels.copy()).to(self.device))
        with exact_float32():
            return self._function(*given)

    def _shaped(self, z: Tensor, axes: int) -> Tensor:
        # As the model takes them: rows, rows with two more axes, or grids.
        shape = self._loaded.z_shape
        return z.reshape(len(z), *(shape or (*z.shape[1:], *(1,) * (axes - 2))))

    def _find_axes(self) -> int:
        seeds = np.arange(self._batch, dtype=np.int64)
        z, labels = self.latents(seeds), self._classes(seeds)
        failures = []
        for axes in (2, 4) if self._loaded.z_shape is None else (4,):
            try:
                self._call(z, labels, axes)
            except (Exception, SystemExit) as error:  # foreign code may raise anything
                lines = str(error).strip().splitlines() or [""]
                shape = list(self._shaped(z, axes).shape)
                failures.append(
                    f"with latents of shape {shape} it raised {type(error).__name__}: {lines[0][:200]}"
                )
            else:
                return axes
        also = " and labels of shape [n]" if self.num_classes else ""
        raise CheckpointError(
            f"{self.name} could not be called{also}; {'; '.join(failures)}. Check the width of its latents "
            f"(--z-dim {self.z_dim}) and whether it takes labels; a factory can wrap any other form of call"
        )

    def _images(self, z: Tensor, labels: Int64Array | None, seeds: Int64Array) -> npt.NDArray[np.uint8]:
        where = f"{self.name} (seeds {seeds[0]} to {seeds[-1]})"
        made = self._array(lambda: self._call(z, labels, self._axes), len(z), where)
        self.rounded = made.dtype.kind != "f"
        if made.dtype.kind == "f":
            made = round_floats(made, self.value_range, where, _WORDING)
        if made.dtype != np.uint8:
            raise CheckpointError(f"{where} returned images of type {made.dtype}; return floats or uint8")
        return np.ascontiguousarray(np.repeat(made, 3, axis=1) if made.shape[1] == 1 else made)

    def _array(self, call: Callable[[], Any], num: int, where: str) -> npt.NDArray[Any]:
        # What foreign code returned, where it is images.
        try:
            made = call()
        except EvalkitError:
            raise
        except (Exception, SystemExit) as error:  # foreign code may raise anything
            raise CheckpointError(f"{where} raised {type(error).__name__}: {first_line(error)}") from error
        if hasattr(made, "detach"):
            made = made.detach().cpu()
            try:
                made = (made.float() if str(made.dtype) == "torch.bfloat16" else made).numpy()
            except (TypeError, RuntimeError) as error:  # sparse, quantised …
                raise CheckpointError(
                    f"{where} returned a tensor that is no plain array ({error})"
                ) from error
        expected = f"expected is one array or tensor of shape ({num}, 3, h, w) or ({num}, 1, h, w)"
        if not isinstance(made, np.ndarray):
            raise CheckpointError(
                f"{where} returned {type(made).__name__}; {expected}: let a factory pick it out"
            )
        if (
            made.ndim != 4
            or len(made) != num
            or made.shape[1] not in (1, 3)
            or made.shape[2] != made.shape[3]
            or not made.shape[2]
        ):
            raise CheckpointError(f"{where} returned shape {made.shape}; {expected}, with h equal to w")
        return made


def is_external(spec: str) -> bool:
    """Whether a spelling is one of a model from outside: a file of a known ending, or ``module:factory``."""
    return Path(spec).suffix.lower() in SUFFIXES or _FACTORY.fullmatch(spec) is not None


def load_external(
    spec: str,
    *,
    z_dim: int | None = None,
    value_range: str = "signed",
    num_classes: int = 0,
    device: str = "cpu",
) -> ExternalModel | HasLikelihood:
    """Loads a model from outside, and tries it on eight seeds; not one that says how likely images are.

    Args:
        spec: ``package.module:factory`` or ``file.py:factory`` (called without arguments, it returns a
            module, a function of latents, or a model with a likelihood), a TorchScript file ``.pt`` or
            ``.pth``, an exported program ``.pt2``, or ``.onnx``.
        z_dim: Width of the latents. Where it is None, the model's attribute ``z_dim`` or the shape in the
            file says.
        value_range: ``signed`` for floats in [-1, 1], or ``unit`` for [0, 1].
        num_classes: Number of classes; the model's attribute ``num_classes`` where it has one and this is 0.
        device: Where to run it, such as ``cpu`` or ``cuda``.

    Raises:
        UsageError: A name, a number or an option cannot be.
        CheckpointError: The file is none of these, or the model does not do what this page says.
        SourceError: A factory cannot be imported, or images are in another range than declared.
    """
    _check_range(value_range)
    path, suffix = Path(spec), Path(spec).suffix.lower()
    if suffix in SUFFIXES:
        if not path.is_file():
            raise CheckpointError(
                f"{spec} is no file; check the path, or name a factory as package.module:factory"
            )
        reader = {".pt2": read_exported, ".onnx": read_onnx}.get(suffix, read_torchscript)
        loaded = reader(path, device)
    elif match := _FACTORY.fullmatch(spec):
        made, identity = made_by(match["place"], match["name"], spec)
        if isinstance(made, HasLikelihood):
            if z_dim is not None or value_range != "signed" or num_classes:
                raise UsageError(
                    f"{spec} makes a model with a likelihood, which is asked as it is; leave --z-dim, "
                    "--range and --num-classes out"
                )
            if isinstance(made, FunctionLikelihood):
                made.identity = identity
            return made  # it is asked for what it says of images, and has no latents to be tried
        loaded = loaded_from(made, identity, spec, device)
    else:
        raise UsageError(
            f"{spec!r} names no model; accepted are package.module:factory, file.py:factory, programs ending "
            f"in {', '.join(SUFFIXES)}, official checkpoints, and reference models by name (`evalkit list "
            "models`)"
        )
    return _wrap(loaded, spec, z_dim, value_range, num_classes, device)


def adapt(
    model: Any,  # noqa: ANN401 - any object of the shapes described
    *,
    name: str | None = None,
    z_dim: int | None = None,
    value_range: str = "signed",
    num_classes: int = 0,
    device: str = "cpu",
) -> ExternalModel:
    """A model of your own as `evalkit.evaluate` asks it, tried on eight seeds.

    What it can be asked depends on its shape (`evalkit.adapters.external_latents`): a function or torch
    module of latents, or an object with ``map`` and ``synthesise``; a parameter ``transform``, or an
    attribute ``z_shape`` where latents are grids, makes equivariance defined.

    Args:
        model: The model.
        name: Its name in messages and records; that of its function or class where None.
        z_dim: Width of the latents; its attribute ``z_dim``, or the size of ``z_shape``, where None.
        value_range: ``signed`` for floats in [-1, 1], or ``unit`` for [0, 1].
        num_classes: Number of classes; its attribute ``num_classes`` where 0.
        device: Where to run it.

    Raises:
        UsageError: A name, a number or an option cannot be.
        CheckpointError: It is no model, or does not do what is described.
        SourceError: Its images are in another range than declared.
    """
    _check_range(value_range)
    label = name or str(getattr(model, "__qualname__", type(model).__qualname__))
    loaded = loaded_from(model, None, label, device)
    return _wrap(loaded, label, z_dim, value_range, num_classes, device)


def _check_range(value_range: str) -> None:
    if value_range not in RANGES:
        raise UsageError(
            f"unknown range {value_range!r} (nearest: {nearest(value_range, RANGES)}); give signed for "
            "floats in [-1, 1] or unit for [0, 1]"
        )


def _wrap(
    loaded: Loaded, name: str, z_dim: int | None, value_range: str, num_classes: int, device: str
) -> ExternalModel:
    from evalkit.adapters.external_latents import kind_of

    width = loaded.z_dim if z_dim is None else z_dim
    if loaded.z_shape is not None and width != loaded.z_dim:
        raise UsageError(
            f"{name} has latents of shape {loaded.z_shape}, {loaded.z_dim:,} numbers, and --z-dim {width} "
            "was given; leave it out"
        )
    if width is None or width < 1:
        raise UsageError(f"{name} does not say how wide its latents are; give --z-dim N")
    if width > MAX_WIDTH:
        raise UsageError(f"{name}: latents of width {width:,} are wider than {MAX_WIDTH:,}; check --z-dim")
    classes = num_classes or loaded.num_classes
    if classes < 0:
        raise UsageError(f"num_classes is {classes}; give 0 for a model without labels, or how many it has")
    options: dict[str, Any] = {
        "name": name, "z_dim": width, "value_range": value_range, "num_classes": classes, "device": device
    }  # fmt: skip
    made = kind_of(loaded, classes)(loaded, **options)
    # The small steps of latent metrics are lost in rounded images: these are all such a model offers.
    return ExternalModel(loaded, **options) if made.rounded else made
