"""Models from outside that restore images, as the capability `Restores` asks them.

A model from outside takes one low-resolution image, float32 ``(1, 3, h, w)`` in [0, 1] (or [-1, 1] where its
range is ``signed``), and returns its restoration ``(1, 3, h * scale, w * scale)`` or without the first axis:
floats of the same range, or uint8. Floats become levels by the rule of their range
(`evalkit.imaging.quantise`): those in [0, 1] later, those in [-1, 1] here, where their levels over 255 are
given on. Images with values that are not finite are given on as they are, to be counted.

One that draws has a parameter ``seed`` (an int) or ``seeds`` (int64 ``(1,)``), or a ``temperature``, or says
``stochastic = True``. It is called once a sample, so that batches cannot matter. Where it takes no seed,
torch's global generator is seeded around the call, and set back afterwards. One that draws nothing is called
once, and its answer stands for all samples. On its first image either is called twice and must answer alike.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evalkit.adapters.baselines import check_scale, no_temperature
from evalkit.adapters.capabilities import Restores
from evalkit.adapters.external_readers import (
    Function,
    Loaded,
    attribute,
    first_line,
    made_by,
    read_exported,
    read_onnx,
    read_torchscript,
    takes,
)
from evalkit.digest import digest
from evalkit.errors import CheckpointError, EvalkitError, SourceError, UsageError, nearest
from evalkit.imaging.quantise import RANGES, to_uint8

if TYPE_CHECKING:
    from torch import Tensor

Int64Array = npt.NDArray[np.int64]

# Levels given as floats lie above this almost everywhere; a flow's single values may too.
_FAR_OUTSIDE = 10.0
_FAR_SHARE = 0.05
_BELOW_UNIT = -0.25
# Kernels of a GPU may sum in another order at every call.
_REPEATED_WITHIN = 2 / 255


class ExternalRestorer:
    """A model from outside behind the capability `Restores`.

    Attributes:
        name: What the user typed.
        scale: How many times as high and as wide its images are.
        stochastic: Whether it draws.
        temperature: Its usual temperature; None where it has none.
        identity: The sha256 of its file, or of its factory's source and its weights, with its range; None of
            an object that was handed over.
        known_by_answers: Whether something beside `identity` may decide its images: False of a file alone,
            since a factory may read weights that lie in none of its parameters.
        value_range: ``unit`` or ``signed``.
        device: Where it runs.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        name: str,
        scale: int,
        value_range: str = "unit",
        stochastic: bool | None = None,
        temperature: float | None = None,
        known_by_answers: bool = True,
        device: str = "cpu",
    ) -> None:
        """Learns from its parameters what it can be asked; it is not called yet.

        Args:
            loaded: The model; a torch module is on the device already.
            name: In messages and records.
            scale: How many times as high and as wide its images are.
            value_range: ``unit`` for floats in [0, 1], ``signed`` for [-1, 1].
            stochastic: Whether it draws; as its attribute or its parameters say where None.
            temperature: Its usual temperature; its attribute, or the default of its parameter, where None.
            known_by_answers: See the attribute.
            device: Where it runs.

        Raises:
            UsageError: A number or an option cannot be, or the model says it is of another scale.
        """
        _check_range(value_range)
        check_scale(scale)
        function = loaded.function
        own = attribute(function, "scale")
        if own is not None and own != scale:
            raise UsageError(f"{name} enlarges {own} times, and the scale is {scale}; give --scale {own}")
        self._heated = takes(function, "temperature")
        self._seeded = next((word for word in ("seed", "seeds") if takes(function, word)), None)
        if temperature is None:
            temperature = _usual_temperature(function) if self._heated else None
        elif not self._heated:
            raise UsageError(
                f"{name} has no parameter temperature, and {temperature} was given; leave it out, or let the "
                "function take it"
            )
        else:
            _check_temperature(name, temperature)
        if stochastic is None:
            said = getattr(function, "stochastic", None)
            stochastic = said if isinstance(said, bool) else bool(self._heated or self._seeded)
        self.name, self.scale, self.stochastic = name, scale, stochastic
        self.temperature = temperature
        identity = loaded.identity
        if identity is not None and value_range != "unit":
            identity = digest([identity, value_range])
        self.identity, self.known_by_answers = identity, known_by_answers
        self.value_range = value_range
        self.device = device
        self._function, self._sides = function, loaded.sides
        self._repeats = False  # seen to answer alike when it is called twice

    def restore(self, image: Tensor, *, seeds: Int64Array, temperature: float | None = None) -> Tensor:
        """Restorations of ``image``, uint8 ``(3, h, w)``: ``(n, 3, h * scale, w * scale)`` on the CPU.

        Returns:
            uint8, or floats in about [0, 1], which may not be finite.

        Raises:
            UsageError: A temperature was given to a model without one, or cannot be.
            CheckpointError: The model raises, returns no image or one of another size, or answers
                differently when it is called twice.
            SourceError: Its images are in another range than declared.
        """
        import torch

        if temperature is not None:
            if not self.stochastic or not self._heated:
                raise no_temperature(self.name, temperature)
            _check_temperature(self.name, temperature)
        heat = self.temperature if temperature is None and self.stochastic else temperature
        if not self.stochastic:
            made = self._one(image, 0, heat)
            self._check_repeats(image, 0, heat, made)
            return made.expand(len(seeds), *made.shape)
        parts = [self._one(image, int(seed), heat) for seed in seeds]
        if parts:
            self._check_repeats(image, int(seeds[0]), heat, parts[0])
            return torch.stack(parts)
        return torch.empty((0, 3, *(side * self.scale for side in image.shape[1:])), dtype=torch.uint8)

    def _one(self, image: Tensor, seed: int, heat: float | None) -> Tensor:
        import torch

        from evalkit.imaging.exact import exact_float32

        height, width = image.shape[1:]
        given = image.to(self.device, torch.float32)[None] / 255
        if self.value_range == "signed":
            given = given * 2 - 1
        self._check_sides(tuple(given.shape))
        options: dict[str, Any] = {}
        if self._seeded == "seed":
            options["seed"] = seed
        elif self._seeded == "seeds":
            options["seeds"] = torch.tensor([seed], dtype=torch.int64)
        if self._heated and heat is not None:
            options["temperature"] = heat
        where = f"{self.name}, given an image of {width}x{height},"
        try:
            with exact_float32(), _seeded(seed if self.stochastic and self._seeded is None else None):
                made = self._function(given, **options)
        except EvalkitError:
            raise
        except (Exception, SystemExit) as error:  # foreign code may raise anything
            raise CheckpointError(f"{where} raised {type(error).__name__}: {first_line(error)}") from error
        return self._checked(made, height, width, heat, where)

    def _checked(self, made: object, height: int, width: int, heat: float | None, where: str) -> Tensor:
        import torch

        if isinstance(made, np.ndarray) and made.dtype.kind in "fu":
            made = torch.from_numpy(np.ascontiguousarray(made))
        if not isinstance(made, torch.Tensor) or made.layout != torch.strided or made.is_quantized:
            raise CheckpointError(
                f"{where} returned {_kind(made)}; expected is one tensor or array of floats or uint8: let a "
                "factory pick it out"
            )
        made = made.detach().cpu()
        if made.dtype != torch.uint8 and not made.is_floating_point():
            raise CheckpointError(f"{where} returned numbers of type {made.dtype}; return floats or uint8")
        if made.dtype in (torch.float16, torch.bfloat16):
            made = made.float()
        picture = made[0] if made.ndim == 4 and len(made) == 1 else made
        if picture.ndim != 3 or picture.shape[0] != 3:
            raise CheckpointError(
                f"{where} returned shape {tuple(made.shape)}; expected is one RGB image, (1, 3, h, w)"
            )
        high, wide = height * self.scale, width * self.scale
        if picture.shape[1:] != (high, wide):
            raise CheckpointError(
                f"{self.name} returned {picture.shape[2]}x{picture.shape[1]} for a {width}x{height} image at "
                f"scale {self.scale}; expected {wide}x{high}: check the scale, and how the model pads "
                "and crops"
            )
        if picture.dtype == torch.uint8:
            return picture
        if heat is None or heat <= 1:  # hotter samples of a flow may lie anywhere
            _check_values(picture, self.value_range, where)
        if self.value_range == "unit":
            return picture
        # Whole levels, by the rule of this range: (x + 1) / 2 alone puts a quarter of them a hair too low,
        # and they are cut later.
        if bool(torch.isfinite(picture).all()):
            return to_uint8(picture, "signed") / 255
        return (picture + 1) / 2

    def _check_sides(self, shape: tuple[int, ...]) -> None:
        fits = len(self._sides) == len(shape) and all(
            side in (None, given) for side, given in zip(self._sides, shape, strict=True)
        )
        if self._sides and not fits:
            fixed = ", ".join("any" if side is None else str(side) for side in self._sides)
            raise CheckpointError(
                f"{self.name} is a graph for inputs of shape ({fixed}) and was given {shape}; export it for "
                "one image (1, 3, h, w) whose height and width may vary (dynamic_shapes, dynamic_axes)"
            )

    def _check_repeats(self, image: Tensor, seed: int, heat: float | None, made: Tensor) -> None:
        import torch

        if self._repeats:
            return
        again = self._one(image, seed, heat)
        scale = 255 if made.dtype == torch.uint8 else 1
        one, other = made.double() / scale, again.double() / scale
        if not torch.allclose(one, other, rtol=1e-3, atol=_REPEATED_WITHIN, equal_nan=True):
            raise CheckpointError(
                f"{self.name} gave another image when it was called again "
                + (
                    "with the same seed; draw all randomness from the seed"
                    if self.stochastic
                    else "and is not declared to draw; let it take a seed, or set stochastic = True on it"
                )
                + ", for example by torch.Generator().manual_seed(seed)"
            )
        self._repeats = True


def adapt_restorer(
    function: Any,  # noqa: ANN401 - any callable
    *,
    scale: int,
    name: str | None = None,
    value_range: str = "unit",
    stochastic: bool | None = None,
    temperature: float | None = None,
    device: str = "cpu",
) -> ExternalRestorer:
    """A function or torch module of your own as something that restores images.

    Args:
        function: Takes float32 ``(1, 3, h, w)`` and returns ``(1, 3, h * scale, w * scale)``, floats or
            uint8; one that draws also takes ``seed`` or ``seeds``, and ``temperature`` where it has one.
        scale: How many times as high and as wide its images are.
        name: Its name in messages and records; that of its function or class where None.
        value_range: ``unit`` for floats in [0, 1] in and out, or ``signed`` for [-1, 1].
        stochastic: Whether it draws; as its attribute ``stochastic`` or its parameters say where None.
        temperature: Its usual temperature, where it takes one.
        device: Where to run it.

    Raises:
        UsageError: An option cannot be.
        CheckpointError: It cannot be called.
    """
    label = name or str(getattr(function, "__qualname__", type(function).__qualname__))
    return ExternalRestorer(
        _callable(function, None, label, device), name=label, scale=scale, value_range=value_range,
        stochastic=stochastic, temperature=temperature, device=device,
    )  # fmt: skip


def load_restorer(spec: str, *, scale: int, value_range: str = "unit", device: str = "cpu") -> Restores:
    """Loads something that restores from a factory (``package.module:factory``, ``file.py:factory``) or file.

    Args:
        spec: A factory, which returns a function, a torch module or an object with the capability `Restores`;
            a TorchScript file ``.pt`` or ``.pth``, an exported program ``.pt2``, or ``.onnx``.
        scale: How many times as high and as wide its images are.
        value_range: ``unit`` for floats in [0, 1] in and out, or ``signed`` for [-1, 1].
        device: Where to run it.

    Raises:
        UsageError: An option cannot be.
        CheckpointError: The file is none of these, or the factory fails or returns something else.
        SourceError: A factory cannot be imported.
    """
    from evalkit.adapters.external import SUFFIXES

    _check_range(value_range)
    path, suffix = Path(spec), Path(spec).suffix.lower()
    if suffix in SUFFIXES:
        if not path.is_file():
            raise CheckpointError(f"{spec} is no file; check the path, or name a factory as file.py:factory")
        loaded = {".pt2": read_exported, ".onnx": read_onnx}.get(suffix, read_torchscript)(path, device)
    else:
        place, _, name = spec.rpartition(":")
        made, identity = made_by(place, name, spec)
        if isinstance(made, Restores):
            return made
        loaded = _callable(made, identity, spec, device)
    return ExternalRestorer(
        loaded, name=spec, scale=scale, value_range=value_range, known_by_answers=suffix not in SUFFIXES,
        device=device,
    )  # fmt: skip


def _callable(made: Any, identity: str | None, spec: str, device: str) -> Loaded:  # noqa: ANN401
    if not callable(made):
        raise CheckpointError(
            f"{spec} is {_kind(made)}; what restores is a function or torch module of one image (1, 3, "
            "h, w), or "
            "an object with restore, name, scale, stochastic, temperature and identity"
        )
    if hasattr(made, "state_dict") and hasattr(made, "eval"):
        made = made.to(device).eval()
    return Loaded(function=made, identity=identity)


def _kind(made: object) -> str:
    dtype = getattr(made, "dtype", None)
    return type(made).__name__ + (f" of {dtype}" if dtype is not None else "")


def _check_range(value_range: str) -> None:
    if value_range not in RANGES:
        raise UsageError(
            f"unknown range {value_range!r} (nearest: {nearest(value_range, RANGES)}); give unit for "
            "floats in "
            "[0, 1] or signed for [-1, 1]"
        )


def _check_temperature(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise UsageError(f"{name}: the temperature is {value!r}; give a finite number from 0 up, such as 0.9")


def _usual_temperature(function: Function) -> float:
    # Of a model that takes one; 1 where it names none, at which a flow has what it learned.
    said = getattr(function, "temperature", None)
    if said is None:
        try:
            said = inspect.signature(getattr(function, "forward", function)).parameters["temperature"].default
        except (TypeError, ValueError, KeyError):
            return 1.0
    fits = isinstance(said, (int, float)) and not isinstance(said, bool) and 0 <= said < math.inf
    return float(said) if fits else 1.0


def _check_values(made: Tensor, value_range: str, where: str) -> None:
    # Shares, not extremes: at a high temperature single values of a flow may be anything.
    import torch

    finite = made[torch.isfinite(made)]
    if not finite.numel():
        return
    low, high = ("-1", "1") if value_range == "signed" else ("0", "1")
    if float((finite.abs() > _FAR_OUTSIDE).double().mean()) > _FAR_SHARE:
        raise SourceError(
            f"{where} returned floats up to {float(finite.abs().max()):.6g}; expected are floats in [{low}, "
            f"{high}]: return uint8 for grey levels, or divide by 255"
        )
    if value_range == "unit" and float((finite < _BELOW_UNIT).double().mean()) > _FAR_SHARE:
        raise SourceError(
            f"{where} returned many negative floats, down to {float(finite.min()):.6g}; expected are "
            "floats in "
            "[0, 1]: give --range signed if its images are in [-1, 1]"
        )


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Torch's global generators seeded inside, and as they were afterwards; nothing at all without a seed."""
    if seed is None:
        yield
        return
    import torch

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
