"""Rows of restorations: a number for each sample of each image, or one row for all samples of an image.

The rows of one network, or of none, are made together, so that an image is read once for all of them; they
are kept apart by network, so that a new metric never computes an old one's network again. A group is one
restoration or one image, since sizes differ: a row depends on that one alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.digest import digest
from evalkit.engine.probes import draw_uniform
from evalkit.engine.restoration.request import RestorationRequest
from evalkit.engine.restoration.samples import Restorations
from evalkit.errors import CheckpointError, EvalkitError, MetricError, UsageError
from evalkit.imaging.colour import grey_level, luma
from evalkit.imaging.resize_matlab import downscale
from evalkit.metrics.likelihood.bits_per_dim import bits_per_dim, dequantise, discretised
from evalkit.metrics.restoration.diversity import best_of_samples, pixel_std
from evalkit.metrics.restoration.psnr import lr_psnr, psnr, shave
from evalkit.metrics.restoration.ssim import ssim
from evalkit.protocols.restoration_options import (
    ConditionalLikelihoodOptions,
    ConsistencyOptions,
    DiversityOptions,
    FidelityOptions,
    PerceptualOptions,
    SampleOptions,
    SampleSpreadOptions,
)
from evalkit.protocols.spec import ProtocolSpec
from evalkit.sources.pairs import Pairs

if TYPE_CHECKING:
    from evalkit.features.perceptual import Perceptual

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]

_LARGEST_NATS = 1e30  # of an image; float32 rows hold no more


def layer_of(spec: ProtocolSpec) -> str:
    """The layer that holds the rows of ``spec``; the best and the worst sample share those of all samples."""
    options: Any = spec.options
    if isinstance(options, SampleOptions):
        options = type(options)(
            **{name: getattr(options, name) for name in options.__slots__ if name != "of_samples"}
        )
    return (
        f"{type(options).__name__.removesuffix('Options').lower()}-{digest([spec.extractor, options])[:12]}"
    )


class _Seen(NamedTuple):
    # What a row is made of.
    image: int
    where: str
    restored: UInt8Array  # (n, 3, h, w), n of as many as the row is of
    original: UInt8Array


class _RestorationProbe(ABC):
    # An `evalkit.engine.probes.Probe`; each kind says what a row is of.
    group = 1
    passes = 1
    kind: str
    through = "pixels"
    draws = False  # noise of its own
    judges_restorations = True

    def __init__(
        self,
        request: RestorationRequest,
        restorations: Restorations,
        specs: Sequence[ProtocolSpec],
        judge: Perceptual | None,
    ) -> None:
        self._request, self._restorations, self._judge = request, restorations, judge
        self._pairs: Pairs = request.pairs
        self._specs = {layer_of(spec): spec for spec in specs}
        self.layers: Mapping[str, int] = dict.fromkeys(self._specs, 1)
        self.name = f"{self.kind} through {self.through if judge is None else judge.name}"
        seed = request.seed if self.draws else None
        self.settings = digest([self.kind, restorations.fingerprint, self._pairs.fingerprint, seed])
        self.weights_sha256 = "" if judge is None else judge.sha256
        self.weights_file = "" if judge is None else judge.weights_file
        self.device_type = "cpu" if judge is None else str(judge.device).split(":")[0]

    def __call__(self, indices: range) -> Mapping[str, Float32Array]:
        seen = self._look(min(indices.start, self.num_rows - 1))
        found = {}
        for layer, spec in self._specs.items():
            try:
                value = self._value(spec.options, seen)
            except (MetricError, UsageError) as error:
                raise type(error)(f"{seen.where}: {error}") from error
            # Infinite is a PSNR of two equal images, of which the procedure has to speak.
            if np.isnan(value):
                raise MetricError(f"{spec.name} of {seen.where} is not a number")
            found[layer] = np.full((1, 1), value, np.float32)
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What records should say of the rows."""
        return ()

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def _look(self, row: int) -> _Seen: ...

    @abstractmethod
    def _value(self, options: object, seen: _Seen) -> float: ...

    def _seen(self, image: int, samples: Sequence[int], where: str) -> _Seen:
        original = self._pairs.hr(image)
        restored = [self._restorations.get(image, sample) for sample in samples]
        for sample, each in zip(samples, restored, strict=True):
            if each.shape != original.shape:
                raise MetricError(
                    f"sample {sample} of {self._pairs.names[image]} is {each.shape[2]}x{each.shape[1]} and "
                    f"its original {original.shape[2]}x{original.shape[1]}; they have to be of one size"
                )
        together = np.stack(restored) if restored else np.empty((0, *original.shape), np.uint8)
        return _Seen(image, where, together, original)


class SampleProbe(_RestorationProbe):
    """A row a restoration: row i * n + k is sample k of image i."""

    kind = "restorations"

    @property
    def num_rows(self) -> int:
        """Restorations that can differ."""
        return len(self._pairs) * self._restorations.distinct

    def _look(self, row: int) -> _Seen:
        image, sample = divmod(row, self._restorations.distinct)
        which = "" if self._restorations.num == 1 else f", sample {sample}"
        return self._seen(image, [sample], f"{self._pairs.names[image]}{which}")

    def _value(self, options: object, seen: _Seen) -> float:
        if isinstance(options, FidelityOptions):
            return self._fidelity(options, seen.image, seen.restored[0], seen.original)
        if isinstance(options, ConsistencyOptions):
            return self._consistency(options, seen.image, seen.restored[0], seen.original)
        assert isinstance(options, PerceptualOptions)
        assert self._judge is not None
        return float(self._judge(seen.restored, seen.original)[0])

    def _fidelity(
        self, options: FidelityOptions, image: int, restored: UInt8Array, original: UInt8Array
    ) -> float:
        scale = self._pairs.scale
        border = {"none": 0, "scale": scale, "scale+6": scale + 6}[options.border]
        a: Any = shave(restored, border)
        b: Any = shave(original, border)
        if options.channels == "y":
            of = grey_level if self._pairs.grey(image) else luma
            a, b = of(a), of(b)
        if options.measure == "psnr":
            return psnr(a, b)
        assert options.window is not None
        return ssim(a, b, window=options.window)

    def _consistency(
        self, options: ConsistencyOptions, image: int, restored: UInt8Array, original: UInt8Array
    ) -> float:
        scale = self._pairs.scale
        if options.against == "input":
            return lr_psnr(restored, self._pairs.lr(image), scale)
        restored, original = (whole(each, options.multiple) for each in (restored, original))
        return lr_psnr(restored, downscale(original, scale), scale)


class ImageProbe(_RestorationProbe):
    """A row an image, of all its samples together."""

    kind = "images"

    @property
    def num_rows(self) -> int:
        """Images."""
        return len(self._pairs)

    def _look(self, row: int) -> _Seen:
        return self._seen(row, range(self._restorations.distinct), self._pairs.names[row])

    def _value(self, options: object, seen: _Seen) -> float:
        again = self._restorations.num // self._restorations.distinct
        if isinstance(options, SampleSpreadOptions):
            return pixel_std(np.repeat(seen.restored, again, axis=0), options.ddof)
        assert isinstance(options, DiversityOptions)
        assert self._judge is not None
        cut = whole(seen.original, options.multiple)
        maps = self._judge.maps(np.stack([whole(each, options.multiple) for each in seen.restored]), cut)
        return best_of_samples(np.repeat(maps, again, axis=0)).score


class LikelihoodProbe(_RestorationProbe):
    """A row an image: bits per dimension that the model gives the original."""

    kind = "originals"
    through = "the model"
    judges_restorations = False
    draws = True

    @property
    def num_rows(self) -> int:
        """Images."""
        return len(self._pairs)

    @property
    def notes(self) -> tuple[str, ...]:
        """How originals were cropped, where they were."""
        sizes = [self._pairs.size(image) for image in range(len(self._pairs))]
        cut = [image for image, size in enumerate(sizes) if any(side % self._multiple for side in size)]
        if not cut:
            return ()
        (height, width), name = sizes[cut[0]], self._pairs.names[cut[0]]
        fitting = "x".join(str(side - side % self._multiple) for side in (width, height))
        return (
            f"the likelihood is one of originals cropped at the bottom and the right to multiples of "
            f"{self._multiple}, which the model needs: {len(cut):,} of {len(sizes):,}, such as {name} from "
            f"{width}x{height} to {fitting}",
        )

    @property
    def _multiple(self) -> int:
        return math.lcm(int(getattr(self._request.model, "multiple", 1)), self._pairs.scale)

    def _look(self, row: int) -> _Seen:
        return self._seen(row, (), self._pairs.names[row])

    def _value(self, options: object, seen: _Seen) -> float:
        assert isinstance(options, ConditionalLikelihoodOptions)
        import torch

        model, image = self._request.model, seen.image
        original = np.ascontiguousarray(whole(seen.original, self._multiple))
        high, wide = (side // self._pairs.scale for side in original.shape[1:])
        low = self._pairs.lr(image)[:, :high, :wide]
        noise = draw_uniform(self._request.seed, "dequantise", range(image, image + 1), original.size)[0]
        given = dequantise(original, noise.reshape(original.shape), bits=options.bits, scale="unit")
        try:
            found = model.conditional_nats(torch.from_numpy(given[None]), torch.from_numpy(low[None].copy()))
            nats = float(found[0])
        except EvalkitError:
            raise
        except (Exception, SystemExit) as error:  # foreign code may raise anything
            raise CheckpointError(
                f"{model.name} was asked for the likelihood of {self._pairs.names[image]} and raised "
                f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
            ) from error
        if not abs(nats) < _LARGEST_NATS:
            raise MetricError(f"{model.name} gives {nats} nats; no mean is made over the other images")
        levels = discretised(nats, original.size, bits=options.bits, scale="unit")
        return bits_per_dim(levels, original.size)


def probe_kind(spec: ProtocolSpec) -> type[SampleProbe | ImageProbe | LikelihoodProbe]:
    """What makes the rows of a protocol."""
    if isinstance(spec.options, SampleOptions):
        return SampleProbe
    return LikelihoodProbe if isinstance(spec.options, ConditionalLikelihoodOptions) else ImageProbe


def whole(image: UInt8Array, multiple: int | None) -> UInt8Array:
    """An image cropped at the bottom and right to multiples of so many pixels; None leaves it."""
    if multiple is None:
        return image
    height, width = (side - side % multiple for side in image.shape[1:])
    if not (height and width):
        raise MetricError(
            f"the image is {image.shape[2]}x{image.shape[1]} and its sides are cropped to multiples of "
            f"{multiple}, which leaves nothing; take larger images"
        )
    return image[:, :height, :width]
