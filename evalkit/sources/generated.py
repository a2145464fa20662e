"""Images made by a callable of seeds: a model that is measured without writing its samples to disk.

The callable gets an int64 array of seeds, shape ``(n,)``, and returns one image a seed: uint8 of shape
``(n, h, w, 3)`` or ``(n, 3, h, w)`` (one or four channels too, as `evalkit.sources.arrays` reads them), or
floats of the same shapes, which `evalkit.imaging.quantise` rounds. Floats are in [-1, 1] unless the callable
has an attribute ``evalkit_range = "unit"``, which says [0, 1]. NumPy arrays and torch tensors on any device
are taken.

The image of a seed may depend on that seed alone. To keep a library's batching out of the numbers, the
callable is always called with the same chunks of `CHUNK` seeds, whatever part of them is asked for. It is
called twice on the first chunk, and must answer alike.

Making all images only to hash them would double the cost of every evaluation. The fingerprint therefore
covers the callable's name, the file it is defined in, the seeds, the range, and the pixels of the first and
the last chunk. Whatever else a callable reads (a checkpoint it loads) shows in those pixels. The digest of a
single item is that of the fingerprint and its seed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import EvalkitError, SourceError, UsageError, nearest
from evalkit.imaging.quantise import RANGES, to_uint8
from evalkit.sources.arrays import find_layout, to_rgb
from evalkit.sources.base import ImageSource, Int64Array, UInt8Array, array_digest

Generator = Callable[[Int64Array], Any]

CHUNK = 32
# A generator's floats overshoot their range by a little; grey levels given as floats overshoot it by far.
_FAR_OUTSIDE = 10.0
# Of floats declared to be in [0, 1], so many may lie below -1/4; more of them, and the range is another one.
_BELOW_UNIT = 0.05
# Kernels of a GPU may sum in another order at every call, which moves a rounded level by one.
_ROUNDING = 2


class RangeWording(NamedTuple):
    """How messages speak of the range of a generator's floats: how [0, 1] is declared, and that it was."""

    how: str
    declares: str


_WORDING = RangeWording('set evalkit_range = "unit" on the callable', "declares evalkit_range = 'unit'")


class GeneratedSource(ImageSource):
    """The images of ``num`` consecutive seeds."""

    def __init__(
        self,
        function: Generator,
        num: int,
        first_seed: int = 0,
        spec: str | None = None,
        *,
        identity: str | None = None,
    ) -> None:
        """Takes the callable; nothing is generated yet.

        Args:
            function: Seeds to images.
            num: How many images.
            first_seed: Seed of image 0.
            spec: How messages and records name it.
            identity: A digest of all that decides its images but the seeds, where there is one; stands for
                the callable's name and file in the fingerprint.

        Raises:
            UsageError: The count, the seed or the declared range cannot be.
        """
        self.spec = _name_of(function) if spec is None else spec
        if num < 1:
            raise UsageError(f"{self.spec} was asked for {num} images; give --num 1 or more")
        if first_seed < 0:
            raise UsageError(f"the first seed is {first_seed}; it must be 0 or more")
        if first_seed + num > 2**63 - 1:
            raise UsageError(
                f"{self.spec} was asked for seeds {first_seed} to {first_seed + num - 1}; they end at 2^63 - "
                "1"
            )
        self._range = getattr(function, "evalkit_range", "signed")
        if self._range not in RANGES:
            raise UsageError(
                f"{self.spec} declares evalkit_range = {self._range!r} (nearest: "
                f"{nearest(str(self._range), RANGES)}); accepted are {', '.join(map(repr, RANGES))}"
            )
        self._function = function
        self._identity = identity
        self._num = num
        self._first = first_seed
        self._lock = threading.Lock()
        self._kept: tuple[int, list[UInt8Array]] | None = None
        self._gives_floats = False
        self._probed: tuple[str, tuple[str, ...]] | None = None

    def __len__(self) -> int:
        return self._num

    def load(self, indices: Sequence[int]) -> list[UInt8Array]:
        """Generates the chunks that hold ``indices``; the last one is kept for the next call.

        Raises:
            SourceError: The callable raised, or returned something else than one image a seed.
        """
        with self._lock:
            return [self._chunk(index // CHUNK)[index % CHUNK] for index in indices]

    def item_digests(self, indices: Sequence[int]) -> Iterator[bytes]:
        """The sha256 of the fingerprint and the items' seeds; only the probes are generated."""
        for index in indices:
            yield hashlib.sha256(f"{self.fingerprint}|{self._first + index}".encode()).digest()

    def item_name(self, index: int) -> str:
        """The callable and the seed."""
        return f"{self.spec}, seed {self._first + index}"

    @property
    def fingerprint(self) -> str:
        """What the head of this file says; two chunks are generated, the first of them twice."""
        return self._probe()[0]

    def observed(self, indices: Sequence[int]) -> tuple[str, ...]:
        """What the fingerprint covers, and what the probes showed."""
        return self._probe()[1]

    def _seeds(self, chunk: int) -> Int64Array:
        stop = min((chunk + 1) * CHUNK, self._num)
        return np.arange(self._first + chunk * CHUNK, self._first + stop, dtype=np.int64)

    def _chunk(self, chunk: int) -> list[UInt8Array]:
        if self._kept is None or self._kept[0] != chunk:
            self._kept = (chunk, self._make(self._seeds(chunk)))
        return self._kept[1]

    def _make(self, seeds: Int64Array) -> list[UInt8Array]:
        where = f"{self.spec} (seeds {seeds[0]} to {seeds[-1]})"
        try:
            made = self._function(seeds.copy())
        except EvalkitError:
            raise
        except (Exception, SystemExit) as error:
            raise SourceError(
                f"{where} raised {type(error).__name__}: {error}; run it by hand on np.array([{seeds[0]}]) "
                "to see where"
            ) from error
        images = _as_array(made, where)
        if images.ndim != 4 or len(images) != len(seeds):
            raise SourceError(
                f"{where} returned shape {images.shape} for {len(seeds)} seeds; expected is one image a "
                f"seed: ({len(seeds)}, h, w, 3) or ({len(seeds)}, 3, h, w)"
            )
        if np.issubdtype(images.dtype, np.floating):
            images = self._rounded(images, where)
        layout = find_layout(images.shape, images.dtype, f"what {where} returned")
        return [to_rgb(image, layout) for image in images]

    def _rounded(self, images: npt.NDArray[Any], where: str) -> npt.NDArray[np.uint8]:
        self._gives_floats = True
        return round_floats(images, self._range, where, _WORDING)

    def _probe(self) -> tuple[str, tuple[str, ...]]:
        if self._probed is None:
            with self._lock:
                first, again = self._make(self._seeds(0)), self._chunk(0)
                last = self._chunk((self._num - 1) // CHUNK)
            covers = "its name, its file" if self._identity is None else "what the model is"
            notes = [
                f"made by a callable: the fingerprint covers {covers}, its seeds, and the pixels of the "
                f"first and last {CHUNK}"
            ]
            apart = _largest_difference(first, again)
            if apart is None or apart > _ROUNDING:
                raise SourceError(
                    f"{self.spec} gave different images for the same seeds when it was called twice; draw "
                    "all randomness from the seeds, for example np.random.default_rng(seed) or "
                    "torch.Generator().manual_seed(seed)"
                )
            if apart:
                notes.append(
                    f"the callable repeats its images only to within {apart} grey levels, so its fingerprint "
                    "may change from run to run"
                )
            # Level 128 is zero.
            if (
                self._gives_floats
                and self._range == "signed"
                and min(i.min() for i in (*first, *last)) >= 128
            ):
                notes.append(
                    "the callable's floats were read as [-1, 1] and all that were probed are in [0, 1]: if "
                    'that is their range, set evalkit_range = "unit" on it'
                )
            total = hashlib.sha256(b"evalkit-generated-1")
            name = _name_of(self._function) if self._identity is None else self._identity
            facts = f"{name}|{self._first}|{self._num}|{self._range}|"
            total.update(facts.encode())
            if self._identity is None:
                total.update(_file_digest(self._function))
            for image in (*first, *last):
                total.update(array_digest(image))
            self._probed = (total.hexdigest(), tuple(notes))
        return self._probed


def round_floats(
    images: npt.NDArray[Any], value_range: str, where: str, wording: RangeWording
) -> npt.NDArray[np.uint8]:
    """Rounds a generator's floats by the one rule, after asking whether they can be in the declared range.

    Args:
        images: Floats of any shape.
        value_range: ``signed`` or ``unit``.
        where: How messages name what made them.
        wording: How a range is declared there.

    Raises:
        SourceError: The floats are in no such range, or not finite.
    """
    low, high = ("-1", "1") if value_range == "signed" else ("0", "1")
    largest = float(np.nanmax(np.abs(images), initial=0.0))
    if largest > _FAR_OUTSIDE and np.isfinite(largest):
        raise SourceError(
            f"{where} returned floats up to {largest:.6g}; expected are floats in [{low}, {high}]: return "
            f"uint8 for grey levels, or {wording.how} for [0, 1] (the "
            'default is "signed" for [-1, 1])'
        )
    if value_range == "unit" and np.count_nonzero(images < -0.25) > _BELOW_UNIT * images.size:
        raise SourceError(
            f"{where} {wording.declares}, floats in [0, 1], and returned many negative ones, down to "
            f"{float(images.min()):.6g}; declare 'signed' if its images are in [-1, 1]"
        )
    try:
        return to_uint8(images, value_range)
    except SourceError as error:
        raise SourceError(f"{where}: {error}") from error


def load_callable(module_name: str, name: str) -> Generator:
    """Imports ``package.module:function``, the working folder included.

    Raises:
        SourceError: The module cannot be imported, or has no callable of this name.
    """
    _see_working_folder()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise SourceError(
            f"{module_name}:{name}: no module {error.name!r} in this environment or in {Path.cwd()}; run "
            "from the folder that holds it, or install it"
        ) from error
    except (Exception, SystemExit) as error:
        raise SourceError(
            f"{module_name}:{name}: importing {module_name} raised {type(error).__name__}: {error}"
        ) from error
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        what = "is no callable" if found is not None else "does not exist"
        raise SourceError(
            f"{module_name}:{name} {what} (nearest: {nearest(name, there)}); name a function of seeds in "
            f"{module_name}"
        )
    return found


def is_importable(module_name: str) -> bool:
    """Whether the outermost package of ``module_name`` is there, the working folder included."""
    _see_working_folder()
    try:
        return importlib.util.find_spec(module_name.split(".")[0]) is not None
    except ValueError:  # a module that was made by hand and has no spec
        return True


def _see_working_folder() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def _as_array(made: object, where: str) -> npt.NDArray[Any]:
    detach = getattr(made, "detach", None)
    if detach is not None:
        tensor = detach().cpu()
        # NumPy has no bfloat16.
        try:
            made = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
        except (TypeError, RuntimeError) as error:  # sparse, quantised …
            raise SourceError(f"{where} returned a tensor that is no plain array ({error})") from error
    if not isinstance(made, np.ndarray):
        raise SourceError(
            f"{where} returned {type(made).__name__}; expected is a NumPy array or a torch tensor"
        )
    return made


def _largest_difference(one: list[UInt8Array], other: list[UInt8Array]) -> int | None:
    if [image.shape for image in one] != [image.shape for image in other]:
        return None
    pairs = zip(one, other, strict=True)
    return max(int(np.abs(a.astype(np.int16) - b.astype(np.int16)).max()) for a, b in pairs)


def _name_of(function: Generator) -> str:
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', '?')}:{getattr(named, '__qualname__', '?')}"


def _file_digest(function: Generator) -> bytes:
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
        return hashlib.sha256(Path(file).read_bytes()).digest() if file else b""
    except (TypeError, OSError, ValueError):
        return b""  # builtins, partials and instances: the probes alone tell them apart
