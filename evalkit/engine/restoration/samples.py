"""The restorations to be judged: those that were given, or those of a model, made once and kept as PNGs.

A model's restorations lie in the cache in a folder of their own for all that decides them (the model, the
low-resolution images, temperature, seed), a file each, which appears by one rename: a stopped run goes on
where it was, several processes share the work without talking, and more samples of the same images are added
to those that are there. Sample k of image i has a seed of its own. Floats are rounded by the one rule for
[0, 1] (`evalkit.imaging.quantise`), which truncates, as SRFlow's does.
"""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.digest import digest
from evalkit.engine.charts import write_png
from evalkit.engine.probes import draw_seeds
from evalkit.engine.restoration.request import RestorationRequest
from evalkit.errors import CheckpointError, EvalkitError, MetricError
from evalkit.imaging.quantise import to_uint8
from evalkit.sources.decode import decode
from evalkit.sources.pairs import Pairs

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]

FORMAT = "evalkit-restored-1"


class _Lost(NamedTuple):
    # A restoration that holds values without a grey level.
    image: int
    sample: int


class Restorations(ABC):
    """Restorations by image and sample.

    Attributes:
        name: How messages name what made them.
        num: Of each image.
        distinct: How many of each image can differ: 1 of a model that draws nothing.
        notes: What a record should say of them.
    """

    name: str
    num: int
    distinct: int
    notes: tuple[str, ...]

    @abstractmethod
    def get(self, image: int, sample: int) -> UInt8Array:
        """One restoration, uint8 RGB ``(3, h, w)``."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Digest of all that decides them."""


class GivenRestorations(Restorations):
    """Those that the user gave."""

    def __init__(self, pairs: Pairs, name: str) -> None:
        """Takes the pairs that hold them."""
        self._pairs = pairs
        self.name = name
        self.num = self.distinct = pairs.num_samples
        self.notes: tuple[str, ...] = ()

    def get(self, image: int, sample: int) -> UInt8Array:
        """One restoration."""
        return self._pairs.sr(image, sample)

    @property
    def fingerprint(self) -> str:
        """Digest of their content."""
        return self._pairs.sr_fingerprint


class ModelRestorations(Restorations):
    """Those that a model makes; `make` has to be called before any is read."""

    def __init__(self, request: RestorationRequest) -> None:
        """Asks the model for one restoration unless its identity is all it needs; makes none yet.

        Raises:
            CheckpointError: The model fails, or returns something else than restorations.
        """
        self._request, self._model, self._pairs = request, request.model, request.pairs
        self.name = request.name
        self.num = request.num_samples
        self.distinct = 1 if request.deterministic else request.num_samples
        heat = request.temperature
        drawn = f", seed {request.seed}" if self.distinct > 1 or not request.deterministic else ""
        warmth = "" if heat is None else f", temperature {heat:g}"
        self.notes = (
            f"made by {request.model.name}{warmth}{drawn}; floats are truncated to levels"
            + (", one of each image, which stands for all its samples" if request.deterministic else ""),
        )
        identity = getattr(request.model, "identity", None)
        if identity is None or getattr(request.model, "known_by_answers", False):
            # Known by its answer too: an object, or what a factory reads, may have changed.
            answer = hashlib.sha256(self.ask(0, [0]).tobytes()).hexdigest()
            identity = answer if identity is None else [identity, answer]
        self._key = digest(
            [
                FORMAT, identity, self._pairs.fingerprint, heat,
                None if request.deterministic else request.seed,
                str(getattr(request.model, "device", "cpu")).split(":")[0],
            ]
        )  # fmt: skip
        self._folder = request.restored / self._key[:32]

    @property
    def fingerprint(self) -> str:
        """Digest of the model, its settings, the pairs and the number of samples that can differ."""
        return digest([self._key, self.distinct])

    def missing(self) -> list[tuple[int, list[int]]]:
        """Images with samples that are not on file, and which."""
        absent = [
            (image, [k for k in range(self.distinct) if not self._path(image, k).is_file()])
            for image in range(len(self._pairs))
        ]
        return [(image, samples) for image, samples in absent if samples]

    def make(self) -> float:
        """Makes what is not on file; returns the seconds it took.

        Raises:
            CheckpointError: The model fails, or returns something else than restorations.
            MetricError: Restorations hold values that are not finite; the others are kept.
            StoreError: The cache cannot be written.
        """
        started = time.perf_counter()
        to_do = self.missing()
        total, request = sum(len(samples) for _, samples in to_do), self._request
        if not to_do:
            return 0.0
        size, rank = request.world.size, request.world.rank
        # Own share first; what others have not finished by then is made too, so that one that died holds up
        # nobody.
        order = [each for each in to_do if each[0] % size == rank]
        order += [each for each in to_do if each[0] % size != rank]
        lost: list[_Lost] = []
        with request.reporter.track(f"restoring with {self._model.name}", unit="restorations") as progress:
            done = 0
            for image, samples in order:
                left = [k for k in samples if not self._path(image, k).is_file()]
                if left:
                    lost += self._restore(image, left)
                done += len(samples)
                progress(done, total)
        if lost:
            raise MetricError(self._lost(lost))
        return time.perf_counter() - started

    def get(self, image: int, sample: int) -> UInt8Array:
        """One restoration, from its file."""
        path = self._path(image, sample if self.distinct > 1 else 0)
        return decode(path.read_bytes(), str(path))

    def _path(self, image: int, sample: int) -> Path:
        return self._folder / f"{image:06d}_{sample:03d}.png"

    def _restore(self, image: int, samples: list[int]) -> list[_Lost]:
        made, lost = self.ask(image, samples), []
        for k, each in zip(samples, made, strict=True):
            if each.dtype != np.uint8 and not np.isfinite(each).all():
                lost.append(_Lost(image, k))
                continue
            write_png(self._path(image, k), each if each.dtype == np.uint8 else to_uint8(each, "unit"))
        return lost

    def ask(self, image: int, samples: list[int]) -> npt.NDArray[Any]:
        """What the model gives for some samples of an image, floats or uint8; nothing is filed.

        Raises:
            CheckpointError: The model fails, or returns something else than restorations.
        """
        import torch

        from evalkit.imaging.exact import exact_float32

        low = self._pairs.lr(image)
        place = range(image, image + 1)
        seeds = np.concatenate([draw_seeds(self._request.seed, f"restore{k}", place) for k in samples])
        where = f"{self._model.name}, asked to restore {self._pairs.names[image]},"
        heat = {} if self._request.temperature is None else {"temperature": self._request.temperature}
        try:
            with exact_float32():
                made = self._model.restore(torch.from_numpy(low.copy()), seeds=seeds, **heat)
        except EvalkitError:
            raise
        except (Exception, SystemExit) as error:  # foreign code may raise anything
            first = (str(error).strip().splitlines() or [""])[0][:200]
            raise CheckpointError(f"{where} raised {type(error).__name__}: {first}") from error
        found = made.detach().cpu().numpy() if hasattr(made, "detach") else made
        scale = self._pairs.scale
        shape = (len(samples), 3, low.shape[1] * scale, low.shape[2] * scale)
        if not isinstance(found, np.ndarray) or found.shape != shape:
            got = f"shape {found.shape}" if isinstance(found, np.ndarray) else type(made).__name__
            raise CheckpointError(
                f"{where} returned {got}; expected is {shape}: {len(samples)} RGB images of "
                f"{shape[3]}x{shape[2]}, {scale} times {low.shape[2]}x{low.shape[1]}"
            )
        if found.dtype != np.uint8 and found.dtype.kind != "f":
            raise CheckpointError(
                f"{where} returned numbers of type {found.dtype}; return floats in [0, 1] or uint8"
            )
        return found

    def _lost(self, lost: list[_Lost]) -> str:
        first, asked = lost[0], len(self._pairs) * self.distinct
        heat = self._request.temperature
        at = "" if heat is None else f" at temperature {heat:g}"
        advice = "check its weights" if not heat else f"take a lower temperature than {heat:g}"
        name = self._pairs.names[first.image]
        left = asked - len(lost)
        kept = f"The other {left} are kept, and no number was made of them alone" if left else "None is left"
        return (
            f"{len(lost)} of {asked} restorations of {self._model.name}{at} hold values that are not "
            f"finite and have no grey level; the first is sample {first.sample} of {name}: {advice}. "
            f"{kept}"
        )


def restorations_of(request: RestorationRequest) -> Restorations:
    """The restorations of a request; those of a model are not made yet."""
    if request.model is None:
        return GivenRestorations(request.pairs, request.name)
    return ModelRestorations(request)
