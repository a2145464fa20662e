"""Models whose likelihood has a closed form: rows whose truth is known, and a floor for everything learned.

- ``uniform``: every level equally likely, exactly ``bits`` bits/dim of any image.
- ``categorical``: every dimension by itself, by the frequencies of its levels in some images, with additive
  smoothing: (count + a) / (n + a · 2^bits), a = 1 unless said (Laplace 1814). A probability of levels.
- ``gaussian-pca``: probabilistic PCA of uniformly dequantised images, by the maximum-likelihood solution of
  Tipping and Bishop 1999 (eq. 7 and 8), with the covariance of the noise, 1/12 of a squared level, added in
  closed form instead of by draws. An exact density, which stands for a probability through uniform
  dequantisation: its mean over the noise is an upper bound on bits/dim (Theis et al. 2016, section 3.1).

They draw images too, and offer the capabilities of `evalkit.adapters.capabilities`. Arithmetic is float64, an
image at a time, so that an answer depends on the image, or the seed, alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.digest import digest
from evalkit.errors import UsageError
from evalkit.imaging.native import from_native
from evalkit.sources.base import Int64Array, UInt8Array

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CHUNK", "Categorical", "ClosedForm", "GaussianPCA", "Shape", "Uniform"]

Float64Array = npt.NDArray[np.float64]

CHUNK = 256


class Shape(NamedTuple):
    """Channels, height and width of what a model has a likelihood of, and how its samples are enlarged."""

    channels: int
    height: int
    width: int
    enlarge: int = 1

    @property
    def dims(self) -> int:
        """Dimensions of an image."""
        return self.channels * self.height * self.width


class ClosedForm(ABC):
    """A model with a likelihood in closed form.

    Attributes:
        name: What the user typed.
        identity: Digest of all that decides its answers.
        known_by_answers: False: nothing beside `identity` decides them.
        resolution: The longer side of the images it draws.
        num_classes: 0.
        likelihood: What `nats` returns, as `evalkit.adapters.likelihood.Likelihood` has it.
    """

    known_by_answers = False
    num_classes = 0
    _DEQUANTISATION: ClassVar[str] = "discrete"
    _DENSITY: ClassVar[str | None] = None

    def __init__(self, name: str, shape: Shape, bits: int, identity: Mapping[str, Any]) -> None:
        """Takes what all of them have; ``identity`` is what decides the answers beside the class."""
        self.name, self.shape, self.bits = name, shape, bits
        self.resolution = max(shape.height, shape.width) * shape.enlarge
        self.identity = digest([type(self).__name__, bits, list(shape), identity])
        self.likelihood: Mapping[str, Any] = {
            "kind": "exact",
            "bits": bits,
            "dequantisation": self._DEQUANTISATION,
            "vouched": True,
            "density": self._DENSITY,
            "shape": shape[:3],
        }

    def sample(self, seeds: Int64Array, labels: Int64Array | None = None) -> Tensor:
        """Images of seeds, uint8 ``(n, 3, h, w)``; each depends on its seed alone.

        Raises:
            UsageError: Labels were given.
        """
        import torch

        if labels is not None:
            raise UsageError(f"{self.name} knows no classes and was given labels; give none")
        made = np.empty((len(seeds), *self.shape[:3]), np.uint8)
        for place, seed in enumerate(seeds.tolist()):
            levels = self._draw(np.random.default_rng(seed))
            made[place] = (levels << (8 - self.bits)).astype(np.uint8).reshape(self.shape[:3])
        return torch.from_numpy(from_native(made, self.shape.enlarge))

    def nats(self, images: Tensor, *, seeds: Int64Array | None = None) -> Tensor:
        """-ln p of images, float64 ``(n,)``; exact, so that seeds decide nothing.

        Args:
            images: ``(n, c, h, w)``: uint8, or of a density float64 on its scale.
            seeds: Ignored.

        Raises:
            UsageError: Images of another size.
        """
        import torch

        del seeds
        given = images.detach().cpu().numpy()
        if given.shape[1:] != self.shape[:3]:
            raise UsageError(
                f"{self.name} has a likelihood of images of {self.shape[:3]}, and was given {given.shape[1:]}"
            )
        found = np.array([self._nats(image.reshape(-1)) for image in given], dtype=np.float64)
        return torch.from_numpy(found)

    @abstractmethod
    def _draw(self, rng: np.random.Generator) -> Int64Array:
        """Levels of one image, ``(dims,)``."""

    @abstractmethod
    def _nats(self, image: npt.NDArray[Any]) -> float:
        """-ln p of one image, ``(dims,)``."""


class Uniform(ClosedForm):
    """Every level equally likely."""

    def __init__(self, name: str, shape: Shape, bits: int) -> None:
        """Takes the size of the images alone."""
        super().__init__(name, shape, bits, {})

    def _draw(self, rng: np.random.Generator) -> Int64Array:
        levels: Int64Array = rng.integers(0, 1 << self.bits, self.shape.dims, dtype=np.int64)
        return levels

    def _nats(self, image: npt.NDArray[Any]) -> float:
        return len(image) * self.bits * math.log(2)


class Categorical(ClosedForm):
    """Frequencies of the levels of each dimension by itself."""

    def __init__(
        self, name: str, shape: Shape, bits: int, levels: UInt8Array, *, smoothing: float, fingerprint: str
    ) -> None:
        """Counts.

        Args:
            name: What the user typed.
            shape: Of the images.
            bits: Of a level.
            levels: ``(n, dims)``.
            smoothing: a, what is added to every count.
            fingerprint: Of the images.
        """
        super().__init__(name, shape, bits, {"smoothing": smoothing, "data": fingerprint})
        most = 1 << bits
        counts = np.zeros(shape.dims * most, dtype=np.int64)
        first = np.arange(shape.dims, dtype=np.int64) * most
        for start in range(0, len(levels), CHUNK):
            counts += np.bincount(
                (first + levels[start : start + CHUNK]).reshape(-1), minlength=shape.dims * most
            )
        with np.errstate(divide="ignore"):  # without smoothing, what was never seen is impossible
            self._minus_log = -np.log(
                (counts.reshape(shape.dims, most) + smoothing) / (len(levels) + smoothing * most)
            )
        self._dims = np.arange(shape.dims)
        self._cumulated: Float64Array | None = None

    def _draw(self, rng: np.random.Generator) -> Int64Array:
        if self._cumulated is None:
            self._cumulated = np.exp(-self._minus_log).cumsum(axis=1)
        # Sums of rounded terms do not end at 1.
        until = rng.random(len(self._cumulated)) * self._cumulated[:, -1]
        levels: Int64Array = (self._cumulated <= until[:, None]).sum(axis=1, dtype=np.int64)
        return np.minimum(levels, (1 << self.bits) - 1)

    def _nats(self, image: npt.NDArray[Any]) -> float:
        return math.fsum(self._minus_log[self._dims, image >> (8 - self.bits)].tolist())


class GaussianPCA(ClosedForm):
    """Probabilistic PCA of images on [0, 1) with the noise of dequantisation."""

    _DEQUANTISATION = "uniform"
    _DENSITY = "unit"

    def __init__(
        self, name: str, shape: Shape, bits: int, levels: UInt8Array, *, components: int, fingerprint: str
    ) -> None:
        """Fits.

        Args:
            name: What the user typed.
            shape: Of the images.
            bits: Of a level.
            levels: ``(n, dims)``, n of 2 or more.
            components: k, from 1 to min(dims, n) - 1.
            fingerprint: Of the images.
        """
        super().__init__(name, shape, bits, {"components": components, "data": fingerprint})
        step = 2.0**-bits
        noise = step**2 / 12  # variance of uniform noise of one level's width
        centre = levels.mean(axis=0, dtype=np.float64)
        variances, axes, total = _principal(levels, centre, components)
        self._mean = (centre + 0.5) * step
        self._variances = variances * step**2 + noise
        self._axes = axes
        rest = total * step**2 + shape.dims * noise - self._variances.sum()
        # Never below the noise, which rounding of the difference of two sums might be.
        self._rest = max(rest / (shape.dims - len(variances)), noise)
        self._constant = 0.5 * (
            shape.dims * math.log(2 * math.pi)
            + float(np.log(self._variances).sum())
            + (shape.dims - len(variances)) * math.log(self._rest)
        )

    def _draw(self, rng: np.random.Generator) -> Int64Array:
        strength = np.sqrt(np.maximum(self._variances - self._rest, 0.0))
        y = self._mean + self._axes @ (strength * rng.standard_normal(len(strength)))
        y += math.sqrt(self._rest) * rng.standard_normal(len(y))
        most = 1 << self.bits
        levels: Int64Array = np.clip(np.floor(y * most), 0, most - 1).astype(np.int64)
        return levels

    def _nats(self, image: npt.NDArray[Any]) -> float:
        away = image - self._mean
        along = self._axes.T @ away
        across = away - self._axes @ along
        return self._constant + 0.5 * float(
            (along**2 / self._variances).sum() + (across**2).sum() / self._rest
        )


def _principal(
    levels: UInt8Array, centre: Float64Array, components: int
) -> tuple[Float64Array, Float64Array, float]:
    """Largest variances ``(k,)``, their axes ``(dims, k)``, and the sum of all variances."""
    num, dims = levels.shape
    by_dims = dims <= num  # of two matrices with the same eigenvalues, the smaller
    table = np.zeros((dims, dims) if by_dims else (num, num))
    total = 0.0
    for start in range(0, num if by_dims else dims, CHUNK):
        part = slice(start, start + CHUNK)
        away = (levels[part] - centre) if by_dims else (levels[:, part] - centre[part])
        table += away.T @ away if by_dims else away @ away.T
        total += float((away**2).sum())
    values, vectors = np.linalg.eigh(table / num)
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    # Axes without spread are as good as those that are left out: both have the noise alone.
    there = values > 1e-12 * max(float(values[0]), 1e-300)
    values, vectors = values[there], vectors[:, there]
    if not by_dims:
        vectors = (levels.T @ vectors - np.outer(centre, vectors.sum(axis=0))) / np.sqrt(num * values)
    return values, np.ascontiguousarray(vectors), total / num
