"""Rows of restorations: a number for each sample of each image, or one row for all samples of an image.

The rows of one network, or of none, are made together, so that an image is read once for all of them; they
are kept apart by network, so that a new metric never computes an old one's network again. A group is one
restoration or one image, since sizes differ: a row depends on that one alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evalkit.digest import digest
from evalkit.engine.probes import draw_uniform
from evalkit.engine.restoration.request import RestorationRequest
from evalkit.engine.restoration.samples import Restorations
from evalkit.errors import CheckpointError, EvalkitError, MetricError
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


class _RestorationProbe:
    # What both kinds share; an `evalkit.engine.probes.Probe`.
    group = 1
    passes = 1

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
        self.weights_sha256 = "" if judge is None else judge.sha256
        self.weights_file = "" if judge is None else judge.weights_file
        self.device_type = "cpu" if judge is None else str(judge.device).split(":")[0]

    @property
    def _through(self) -> str:
        return "pixels" if self._judge is None else self._judge.name

    def _samples(self, image: int) -> UInt8Array:
        # Those that can differ, (n, 3, h, w).
        return np.stack([self._sample(image, sample) for sample in range(self._restorations.distinct)])

    def _sample(self, image: int, sample: int) -> UInt8Array:
        found, original = self._restorations.get(image, sample), self._pairs.hr(image)
        if found.shape != original.shape:
            raise MetricError(
                f"sample {sample} of {self._pairs.names[image]} is {found.shape[2]}x{found.shape[1]} and its "
                f"original {original.shape[2]}x{original.shape[1]}; they have to be of one size"
            )
        return found

    def _named(self, image: int, sample: int | None = None) -> str:
        which = "" if sample is None or self._restorations.num == 1 else f", sample {sample}"
        return f"{self._pairs.names[image]}{which}"

    def _row(self, values: Mapping[str, float], where: str) -> Mapping[str, Float32Array]:
        for layer, value in values.items():
            # Infinite is a PSNR of two equal images, of which the procedure has to speak.
            if np.isnan(value):
                raise MetricError(f"{self._specs[layer].name} of {where} is not a number")
        return {layer: np.full((1, 1), value, np.float32) for layer, value in values.items()}


class SampleProbe(_RestorationProbe):
    """A row a restoration: row i * n + k is sample k of image i.

    Attributes:
        settings: Digest of the restorations, pairs and counts.
    """

    def __init__(
        self,
        request: RestorationRequest,
        restorations: Restorations,
        specs: Sequence[ProtocolSpec],
        judge: Perceptual | None,
    ) -> None:
        """Takes protocols of single samples that look through ``judge``, or through nothing where None."""
        super().__init__(request, restorations, specs, judge)
        self.name = f"restorations through {self._through}"
        self.num_rows = len(self._pairs) * restorations.distinct
        self.settings = digest(["samples", restorations.fingerprint, self._pairs.fingerprint])

    def __call__(self, indices: range) -> Mapping[str, Float32Array]:
        """The row of one restoration."""
        image, sample = divmod(min(indices.start, self.num_rows - 1), self._restorations.distinct)
        restored, original = self._sample(image, sample), self._pairs.hr(image)
        where = self._named(image, sample)
        try:
            values = {
                layer: self._value(spec.options, image, restored, original)
                for layer, spec in self._specs.items()
            }
        except MetricError as error:
            raise MetricError(f"{where}: {error}") from error
        return self._row(values, where)

    def _value(self, options: object, image: int, restored: UInt8Array, original: UInt8Array) -> float:
        if isinstance(options, FidelityOptions):
            return self._fidelity(options, image, restored, original)
        if isinstance(options, ConsistencyOptions):
            return self._consistency(options, image, restored, original)
        assert isinstance(options, PerceptualOptions)
        assert self._judge is not None
        return float(self._judge(restored[None], original)[0])

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
    """A row an image, of all its samples together, or of its likelihood.

    Attributes:
        settings: Digest of the restorations, pairs and counts.
    """

    def __init__(
        self,
        request: RestorationRequest,
        restorations: Restorations,
        specs: Sequence[ProtocolSpec],
        judge: Perceptual | None,
    ) -> None:
        """Takes protocols of several samples that look through ``judge``, or through nothing where None."""
        super().__init__(request, restorations, specs, judge)
        self.name = f"images through {self._through}"
        self.num_rows = len(self._pairs)
        self.settings = digest(["images", restorations.fingerprint, self._pairs.fingerprint, request.seed])

    def __call__(self, indices: range) -> Mapping[str, Float32Array]:
        """The row of one image."""
        image = min(indices.start, self.num_rows - 1)
        where = self._named(image)
        try:
            values = {layer: self._value(spec.options, image) for layer, spec in self._specs.items()}
        except MetricError as error:
            raise MetricError(f"{where}: {error}") from error
        return self._row(values, where)

    def _value(self, options: object, image: int) -> float:
        if isinstance(options, ConditionalLikelihoodOptions):
            return self._bits(options, image)
        samples, again = self._samples(image), self._restorations.num // self._restorations.distinct
        if isinstance(options, SampleSpreadOptions):
            return pixel_std(np.repeat(samples, again, axis=0), options.ddof)
        assert isinstance(options, DiversityOptions)
        assert self._judge is not None
        original = whole(self._pairs.hr(image), options.multiple)
        maps = self._judge.maps(np.stack([whole(each, options.multiple) for each in samples]), original)
        return best_of_samples(np.repeat(maps, again, axis=0)).score

    def _bits(self, options: ConditionalLikelihoodOptions, image: int) -> float:
        import torch

        model, original = self._request.model, self._pairs.hr(image)
        noise = draw_uniform(self._request.seed, "dequantise", range(image, image + 1), original.size)[0]
        given = dequantise(original, noise.reshape(original.shape), bits=options.bits, scale="unit")
        try:
            found = model.conditional_nats(
                torch.from_numpy(given[None]), torch.from_numpy(self._pairs.lr(image)[None].copy())
            )
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
