"""The likelihood of real images under a model: nats of every image, a row an image.

Each image has a seed of its own for everything random in its answer (posterior samples, dequantisation
noise), so that its row depends on the image, its place and the run's seed alone. An importance-weighted bound
streams its posterior samples, of which the first K are the same for any larger K.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evalkit.adapters.capabilities import need
from evalkit.adapters.likelihood import Likelihood, likelihood_of
from evalkit.digest import digest
from evalkit.engine.probes import draw_seeds, draw_uniform
from evalkit.errors import CheckpointError, EvalkitError, MetricError, ProtocolError, UsageError
from evalkit.imaging.native import to_native
from evalkit.metrics.likelihood.bits_per_dim import dequantise, nats_per_image
from evalkit.metrics.likelihood.importance import LogMeanExp
from evalkit.protocols.spec import LikelihoodOptions, ProtocolSpec
from evalkit.sources.base import ImageSource

if TYPE_CHECKING:
    from torch import Tensor

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]

GROUP = 16  # images that are asked for at once
_MOST_NATS = 1e30  # of an image; rows hold no more, and no image needs as many
WIDTH = 5  # numbers of a row: nats in three parts, and what tells images apart, in two


class LikelihoodProbe:
    """Nats of real images; an `evalkit.engine.probes.Probe`.

    A row holds five numbers: nats in float64, as a sum of three float32; and two whole numbers of 24 bits, of
    the sha256 of the image, by which a metric counts how many images differ. `nats_of` and `distinct` read
    them.

    Attributes:
        name: ``likelihood``, for progress.
        layers: One, ``nats``.
        group: Images that are asked for at once.
        settings: Digest of options, data, seed and of what the model says of itself.
        weights_sha256: "", since no network judges.
        passes: Times that the model is asked for one row.
        device_type: Where the model runs.
        likelihood: What the model says of its likelihood.
        enlarge: Side of the squares that the data have for one pixel of the model.
        source: The images.
        model_name: How messages name the model.
    """

    name = "likelihood"
    group = GROUP
    weights_sha256 = ""

    def __init__(self, model: Any, spec: ProtocolSpec, source: ImageSource, *, num: int, seed: int) -> None:  # noqa: ANN401
        """Checks that the model can be asked; nothing is computed yet.

        Args:
            model: Offers ``HasLikelihood``.
            spec: A protocol with `LikelihoodOptions`.
            source: Real images, all of one size.
            num: How many of them, from the first.
            seed: Seed of all draws.

        Raises:
            UsageError: The model says something of its likelihood that cannot be.
            ProtocolError: Its bits are not the protocol's.
            UsageError: The images have another size than the model's.
            SourceError: They are enlarged or grey in the model's eyes, and not in truth.
        """
        need(model, "HasLikelihood", spec.name)
        assert isinstance(spec.options, LikelihoodOptions)
        self._model, self._options, self._num, self._seed = model, spec.options, num, seed
        self.source, self.likelihood, self.model_name = source, likelihood_of(model), str(model.name)
        check_bits(spec, self.likelihood, model.name)
        self.layers: Mapping[str, int] = {"nats": WIDTH}
        self.passes = spec.options.num_importance or 1
        device = str(getattr(model, "device", "cpu"))
        self.device_type = device.split(":")[0]
        first = source.load([0])[0]
        self.enlarge = self._enlarged(first)
        self._view = view_of(self.likelihood, first)
        self.settings = digest(
            {
                "options": spec.options,
                "data": source.fingerprint,
                "likelihood": self.likelihood,
                "seed": seed,
            }
        )

    def __call__(self, indices: range) -> Mapping[str, Float32Array]:
        """Rows of one group of images; those beyond the last repeat it."""
        places = np.minimum(np.asarray(indices), self._num - 1)
        images = self._images(places)
        step = 1 << (8 - self.likelihood.bits)
        floored = images // step * step
        if not self.likelihood.floors_itself:
            images = floored
        nats = self._weighted(images, places) if self._streams else self._asked(images, places)
        wrong = np.flatnonzero(~(np.abs(nats) < _MOST_NATS))
        if len(wrong):
            at = int(wrong[0])
            raise MetricError(
                f"{self._model.name} gives {nats[at]} nats for {self.source.item_name(int(places[at]))}; a "
                "mean over the others would hide it: mend the model, or leave the image out of the data"
            )
        return {"nats": np.stack([*_parts(nats), *_marks(floored)], axis=1)}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a record says of the likelihood beside its protocol: dequantisation and dimensions."""
        return {"dequantisation": self.likelihood.dequantisation, "dims": self.likelihood.num_dims}

    @property
    def view(self) -> str:
        """How the model sees the images, where it takes others than they are: ``8x8 grey``; or ""."""
        return self._view

    @property
    def _streams(self) -> bool:
        return self._options.bound == "iwae" and self.likelihood.kind != "iwae"

    def _asked(self, images: UInt8Array, places: Int64Array) -> Float64Array:
        return self._nats(self._model.nats, images, places, "posterior0")

    def _weighted(self, images: UInt8Array, places: Int64Array) -> Float64Array:
        total = LogMeanExp(len(images))
        for sample in range(self._options.num_importance or 0):
            total.add(-self._nats(self._minus_log_weights, images, places, f"posterior{sample}"))
        return -total.value()

    def _minus_log_weights(self, images: Tensor, *, seeds: Int64Array) -> Tensor:
        found: Tensor = -self._model.log_weights(images, seeds=seeds)
        return found

    def _nats(
        self, ask: Callable[..., Any], images: UInt8Array, places: Int64Array, stream: str
    ) -> Float64Array:
        # Per image, of whatever the model has a likelihood of.
        import torch

        said = self.likelihood
        # Copies: what a model does to its input in place must reach neither its next answer nor the digests.
        given = torch.from_numpy(images.copy())
        if said.dequantisation == "uniform":
            assert said.density is not None
            # One noise an image, whatever is asked of it: bounds of one image are then of one density.
            noise = np.stack(
                [
                    draw_uniform(self._seed, "dequantise", range(at, at + 1), said.num_dims)[0]
                    for at in places.tolist()
                ]
            ).reshape(images.shape)
            given = torch.from_numpy(dequantise(images, noise, bits=said.bits, scale=said.density))
        seeds = np.concatenate([draw_seeds(self._seed, stream, range(at, at + 1)) for at in places.tolist()])
        found = _row_of_numbers(lambda: ask(given, seeds=seeds), len(images), self._model.name)
        return nats_per_image(found, said.units, said.num_dims)

    def _images(self, places: Int64Array) -> UInt8Array:
        wanted = dict.fromkeys(places.tolist())
        loaded = dict(zip(wanted, self.source.load(list(wanted)), strict=True))
        channels = self.likelihood.shape[0]
        shape = (3, *(side * self.enlarge for side in self.likelihood.shape[1:]))
        for at, image in loaded.items():
            if image.shape != shape:
                raise UsageError(
                    f"{self.source.item_name(at)} is {image.shape[2]}x{image.shape[1]} where the others are "
                    f"{shape[2]}x{shape[1]}; a likelihood is one of images of one size"
                )
        stacked = np.stack([loaded[at] for at in places.tolist()])
        return to_native(
            stacked, self.enlarge, channels, name=lambda row: self.source.item_name(int(places[row]))
        )

    def _enlarged(self, image: UInt8Array) -> int:
        channels, height, width = self.likelihood.shape
        enlarge = max(int(image.shape[1]) // height, 1)
        if image.shape[1:] != (height * enlarge, width * enlarge):
            raise UsageError(
                f"{self._model.name} has a likelihood of images of {width}x{height} and {self.source.spec} "
                f"has images of {image.shape[2]}x{image.shape[1]}; resizing would change the number, so give "
                "data of the model's own size"
            )
        to_native(
            image[None], enlarge, channels, name=self.source.item_name
        )  # refuses what is not made of squares
        return enlarge


def view_of(said: Likelihood, image: UInt8Array) -> str:
    """How a model sees images that are like this one: ``8x8 grey``, or "" where as they are."""
    channels, height, width = said.shape
    return "" if image.shape == said.shape else f"{width}x{height}{' grey' if channels == 1 else ''}"


def check_bits(spec: ProtocolSpec, said: Likelihood, name: str) -> None:
    """Refuses to ask a model for a likelihood of levels that it was not made for.

    Raises:
        ProtocolError: The bits differ.
    """
    assert isinstance(spec.options, LikelihoodOptions)
    if said.bits == spec.options.bits:
        return
    other = f"{spec.name}_5bit" if spec.options.bits == 8 else spec.name.removesuffix("_5bit")
    raise ProtocolError(
        f"{spec.name} is of {spec.options.bits}-bit images and {name} was made for {said.bits}-bit ones; the "
        f"two numbers cannot be compared or converted: use {other}"
    )


def lacks_bound(spec: ProtocolSpec, model: Any) -> str | None:  # noqa: ANN401
    """Why a model's likelihood is not of the kind that a protocol names; None where it is."""
    assert isinstance(spec.options, LikelihoodOptions)
    said, wanted = likelihood_of(model), spec.options.bound
    if wanted == "iwae":
        k = spec.options.num_importance
        if said.kind == "iwae":
            return (
                None
                if said.num_importance == k
                else f"this is a bound of {k} samples; {model.name} declares one of {said.num_importance}"
            )
        if hasattr(model, "log_weights"):
            return None
        return f"this needs a model that draws importance weights; {model.name} has no log_weights"
    if said.kind != wanted:
        return f"this is for a likelihood of kind {wanted}; {model.name} declares {said.kind}"
    return None


def nats_of(rows: Float64Array) -> Float64Array:
    """Nats of every image, ``(n,)``, from rows."""
    nats: Float64Array = (rows[:, 2] + rows[:, 1]) + rows[:, 0]
    return nats


def distinct(rows: Float64Array) -> int:
    """How many images differ, from rows."""
    return len(np.unique(rows[:, 3:], axis=0))


def _parts(nats: Float64Array) -> list[Float32Array]:
    # Whose sum is the number again, to its last bit.
    parts: list[Float32Array] = []
    left = nats
    for _ in range(3):
        parts.append(left.astype(np.float32))
        left = left - parts[-1].astype(np.float64)
    return parts


def _marks(images: UInt8Array) -> tuple[Float32Array, Float32Array]:
    # 48 bits of the digest, as two whole numbers that float32 holds.
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    parts = [[int.from_bytes(each[start : start + 3], "big") for each in digests] for start in (0, 3)]
    return np.array(parts[0], np.float32), np.array(parts[1], np.float32)


def _kind_of(answered: object) -> str:
    dtype = getattr(answered, "dtype", None)
    return type(answered).__name__ if dtype is None else f"numbers of type {dtype}"


def _row_of_numbers(ask: Callable[[], Any], num: int, name: str) -> Float64Array:
    # What a model answered, which may be somebody else's code.
    try:
        answered = ask()
    except EvalkitError:
        raise
    except (Exception, SystemExit) as error:  # foreign code may raise anything
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise CheckpointError(
            f"{name} was asked for the nats of {num} images and raised {type(error).__name__}: {first}"
        ) from error
    if hasattr(answered, "detach"):
        answered = answered.detach().cpu()
        answered = (answered if answered.is_complex() else answered.double()).numpy()
    try:
        if np.iscomplexobj(answered):
            raise TypeError
        found = np.asarray(answered, dtype=np.float64)
    except (TypeError, ValueError):
        raise CheckpointError(
            f"{name} returned {_kind_of(answered)} for {num} images; return {num} numbers, one an image"
        ) from None
    if found.shape != (num,):
        raise CheckpointError(
            f"{name} returned shape {found.shape} for {num} images; return ({num},), one number an image, "
            "and no mean over a batch"
        )
    return found
