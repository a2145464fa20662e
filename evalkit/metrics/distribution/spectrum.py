"""Average power spectrum of a set of images (Karras et al. 2021, "Alias-free GANs", the average spectra).

Images x, with levels 0 to 255, are whitened by the mean and the standard deviation of all levels of the
*real* set, times a separable Kaiser window (beta 8, which keeps strong low frequencies from leaking into weak
high ones), padded with zeros to a multiple of their side, and transformed:

    P(k) = mean over images and channels of |FFT(window (x - mean) / std)(k)|²,   window² summing to 1.

So independent levels of the real set's variance have P = 1, 0 dB, at every frequency, and by Parseval P over
all m x m frequencies sums to m² times the mean sum of the squares of window times white image. The window
blurs: with beta 8 a wave is 1.6 frequencies of the unpadded image wide at half its power and 5.6 at its foot,
and its side lobes lie 58 dB below (64 pixels).

Written from the paper's words; one window sample lies on every pixel (ends included), and the spread over
images gives each point of a curve a standard error, which the paper has not.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError, UsageError

FloatArray = npt.NDArray[np.float64]

BETA = 8.0
INTERPOLATION = 4
SMALLEST, LARGEST_PADDED = 4, 8192
SLICES = ("0", "45", "radial")
# What is left of exact zeros in double precision: a power this far below the largest is rounding.
_ROUNDING = 1e-30


class Levels:
    """Mean and standard deviation of all levels of a set of images, by sums of whole numbers: exact."""

    def __init__(self) -> None:
        """Empty."""
        self._count = self._sum = self._squares = 0

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        """Adds one image, uint8 of any shape."""
        wide = image.astype(np.int64)
        self._count += wide.size
        self._sum += int(wide.sum())
        self._squares += int((wide * wide).sum())

    def whitening(self) -> tuple[float, float]:
        """Mean and standard deviation (over N), in levels.

        Raises:
            MetricError: There are no images, or all levels are equal.
        """
        if not self._count:
            raise MetricError("there are no images to take a spectrum of")
        spread = self._count * self._squares - self._sum**2
        if not spread:
            raise MetricError(
                "all levels of all real images are equal, so there is nothing to whiten by; check the images"
            )
        return self._sum / self._count, math.sqrt(spread) / self._count


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Power along a line through the spectrum.

    Attributes:
        frequency: Cycles per pixel, ``(n,)``, from 0 up.
        power: Mean power, ``(n,)``; 1 is that of independent levels of the real set's variance.
        standard_error: Of ``power`` over images, ``(n,)``.
    """

    frequency: FloatArray
    power: FloatArray
    standard_error: FloatArray

    @property
    def decibels(self) -> FloatArray:
        """``power`` in dB."""
        return decibels(self.power)

    @property
    def decibels_error(self) -> FloatArray:
        """Standard error of `decibels`, by the delta method: 10 / ln 10 times the relative error of power."""
        return 10 / math.log(10) * self.standard_error / np.maximum(self.power, _floor(self.power))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Spectrum:
    """The average power spectrum of a set of images.

    Attributes:
        num: Images.
        side: Their side, in pixels.
        power: Mean power, ``(m, m)``, m the padded side; frequency 0 is at ``(m // 2, m // 2)``, rows are
            vertical frequencies.
        curves: By name: ``0``, horizontal frequencies; ``45``, those that grow as much to the right as down,
            by the length of the frequency; ``radial``, the mean over rings one padded frequency wide.
    """

    num: int
    side: int
    power: FloatArray
    curves: Mapping[str, Curve]


class SpectrumSum:
    """Sums the spectra of images one by one; batches and processes leave no trace in the result.

    Images are added in double precision one at a time, so the way they came in batches cannot matter at all,
    and their order matters by rounding alone.
    """

    def __init__(
        self, side: int, mean: float, std: float, *, beta: float = BETA, interpolation: int = INTERPOLATION
    ) -> None:
        """Nothing is summed yet.

        Args:
            side: Pixels of a side, 4 or more; any whole number.
            mean: What is subtracted from every level.
            std: What the rest is divided by.
            beta: Of the Kaiser window; 0 is none.
            interpolation: Padded side over side: a finer grid of frequencies, not a finer resolution.

        Raises:
            UsageError: A number cannot be.
        """
        if side < SMALLEST:
            raise UsageError(
                f"images of {side} pixels a side have no spectrum to speak of; give {SMALLEST} or more"
            )
        if isinstance(interpolation, bool) or not isinstance(interpolation, int) or interpolation < 1:
            raise UsageError(f"the interpolation is {interpolation!r}; give a whole number from 1, such as 4")
        if side * interpolation > LARGEST_PADDED:
            raise UsageError(
                f"{side} pixels padded to {interpolation} times as many are {side * interpolation:,} a side; "
                f"lower the interpolation, so that there are {LARGEST_PADDED:,} at most"
            )
        if not (math.isfinite(beta) and beta >= 0):
            raise UsageError(f"the window's beta is {beta!r}; give a finite number from 0, such as 8")
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise UsageError(f"whitening by mean {mean!r} and std {std!r} cannot be; std must be above 0")
        self.side, self.padded = side, side * interpolation
        self._mean, self._std = mean, std
        line = np.kaiser(side, beta)
        window = np.outer(line, line)
        self._window = window / math.sqrt(float((window**2).sum()))
        # Of a real image P(-k) = P(k): half of the columns are enough.
        half = self.padded // 2 + 1
        self._total = np.zeros((self.padded, half))
        self._num = 0
        self._diagonal = np.arange(half)
        self._inside, self._rings, self._weights = _rings(self.padded)
        self._ring_sizes = np.bincount(self._rings, self._weights)
        sizes = dict.fromkeys(SLICES, half)
        self._means = {name: np.zeros(size) for name, size in sizes.items()}
        self._scatters = {name: np.zeros(size) for name, size in sizes.items()}

    def add(self, image: npt.NDArray[np.uint8], name: str = "an image") -> None:
        """Adds one image, uint8 ``(c, side, side)``.

        Args:
            image: The image.
            name: How messages call it.

        Raises:
            MetricError: It has another size.
        """
        if image.ndim != 3 or image.shape[1:] != (self.side, self.side):
            raise MetricError(
                f"{name} is {' x '.join(map(str, image.shape[1:]))} pixels and others are {self.side} x "
                f"{self.side}: an average spectrum needs square images of one size; resize or crop them alike"
            )
        white = (image.astype(np.float64) - self._mean) / self._std * self._window
        waves = np.fft.rfft2(white, s=(self.padded, self.padded))
        power = (waves.real**2 + waves.imag**2).mean(axis=0)
        self._total += power
        self._num += 1
        for key, values in self._along(power).items():
            delta = values - self._means[key]
            self._means[key] += delta / self._num
            self._scatters[key] += delta * (values - self._means[key])

    def finish(self) -> Spectrum:
        """The average.

        Raises:
            MetricError: There are fewer than 2 images, or nothing but the mean in all of them.
        """
        if self._num < 2:
            raise MetricError(f"{self._num} images have no spread; give at least 2")
        half = self._total / self._num
        if not half.any():
            raise MetricError(
                "every level of every image is the mean of the real ones, so the spectrum is zero; "
                "check the images"
            )
        curves = {}
        for name, mean in self._means.items():
            error = np.sqrt(self._scatters[name] / (self._num - 1) / self._num)
            stretch = math.sqrt(2) if name == "45" else 1.0
            curves[name] = Curve(
                frequency=np.arange(len(mean)) * stretch / self.padded, power=mean, standard_error=error
            )
        return Spectrum(num=self._num, side=self.side, power=_whole(half), curves=curves)

    def _along(self, half: FloatArray) -> dict[str, FloatArray]:
        rings = np.bincount(self._rings, half[self._inside] * self._weights) / self._ring_sizes
        return {"0": half[0], "45": half[self._diagonal, self._diagonal], "radial": rings}


def decibels(power: FloatArray) -> FloatArray:
    """10 log10 of power; what lies more than 300 dB below the largest is rounding, and is put there."""
    return 10 * np.log10(np.maximum(power, _floor(power)))


def _floor(power: FloatArray) -> float:
    return float(power.max()) * _ROUNDING or np.finfo(np.float64).tiny


def _rings(
    padded: int,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64], FloatArray]:
    # Which places of the half plane lie in rings that close, the ring of each, and for how many places of the
    # whole plane it stands: the first column mirrors into itself, and so does the last of an even side.
    rows = np.fft.fftfreq(padded, 1 / padded)[:, None]
    columns = np.arange(padded // 2 + 1)
    rings = np.rint(np.hypot(rows, columns)).astype(np.int64)
    inside = rings <= padded // 2
    alone = (columns == 0) | (2 * columns == padded)
    weights = np.broadcast_to(np.where(alone, 1.0, 2.0), rings.shape)
    return inside, rings[inside], weights[inside]


def _whole(half: FloatArray) -> FloatArray:
    padded = len(half)
    columns = np.arange(padded)
    rows = columns[:, None]
    mirrored = columns > padded // 2
    full = half[np.where(mirrored, -rows % padded, rows), np.where(mirrored, padded - columns, columns)]
    return np.fft.fftshift(full)
