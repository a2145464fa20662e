"""Average power spectra of real and generated images, side by side: what a generator lacks or adds.

What is computed is in `evalkit.metrics.distribution.spectrum`. Images are taken at their own size, since
every resize has a spectrum of its own, and both sets are whitened by the mean and spread of the real one.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.engine.charts import BLUE, RED, dress, new_figure, save_png
from evalkit.engine.inputs import Images, open_inputs
from evalkit.engine.progress import Reporter, Silent
from evalkit.errors import MetricError, UsageError
from evalkit.files import write_text
from evalkit.metrics.distribution.spectrum import (
    INTERPOLATION,
    SLICES,
    Curve,
    FloatArray,
    Levels,
    Spectrum,
    SpectrumSum,
    decibels,
)
from evalkit.sources.base import ImageSource
from evalkit.uncertainty.estimate import Z95

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = (
    "slice", "frequency", "real_db", "real_standard_error_db", "generated_db",
    "generated_standard_error_db", "gap_db", "gap_standard_error_db",
)  # fmt: skip
_TITLES = {"0": "0°, horizontal", "45": "45°, diagonal", "radial": "mean over all directions"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Spectra:
    """Spectra of two sets of images, whitened alike.

    Attributes:
        data: Name of the real images.
        samples: Name of the generated ones.
        mean: Mean level of the real images, 0 to 255.
        std: Standard deviation of their levels.
        real: Spectrum of the real images.
        generated: Spectrum of the generated ones.
    """

    data: str
    samples: str
    mean: float
    std: float
    real: Spectrum
    generated: Spectrum

    def gap(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Generated minus real along a slice, in dB, and its standard error (the sets are independent)."""
        real, generated = self.real.curves[name], self.generated.curves[name]
        error = np.hypot(real.decibels_error, generated.decibels_error)
        return generated.decibels - real.decibels, error

    def rows(self) -> list[dict[str, Any]]:
        """One a slice and frequency (cycles a pixel), with the columns of the CSV."""
        found = []
        for name in SLICES:
            real, generated = self.real.curves[name], self.generated.curves[name]
            columns = (
                real.frequency, real.decibels, real.decibels_error, generated.decibels,
                generated.decibels_error, *self.gap(name),
            )  # fmt: skip
            for values in zip(*(column.tolist() for column in columns), strict=True):
                found.append(dict(zip(_COLUMNS, (name, *values), strict=True)))
        return found

    def table(self) -> list[dict[str, str]]:
        """A line a slice: how far apart the curves are, and where the most, for print."""
        found = []
        for name in SLICES:
            gap, error = self.gap(name)
            most = int(np.abs(gap).argmax())
            found.append(
                {
                    "slice": _TITLES[name],
                    "mean |gap|": f"{np.abs(gap).mean():.2f} dB",
                    "largest gap": f"{gap[most]:+.2f} ± {error[most]:.2f} dB",
                    "at cycles a pixel": f"{self.real.curves[name].frequency[most]:.3f}",
                }
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "data": self.data, "samples": self.samples, "side": self.real.side,
            "num_real": self.real.num, "num": self.generated.num, "mean": self.mean, "std": self.std,
            "rows": self.rows(),
        }  # fmt: skip


def spectra(
    *,
    data: Images,
    interpolation: int = INTERPOLATION,
    batch_size: int = 64,
    reporter: Reporter | None = None,
    **inputs: Any,  # noqa: ANN401 - those of open_inputs
) -> Spectra:
    """Average power spectra of ``data`` and of samples, or of what a model makes.

    Args:
        data: Real images, square and of one size; they are read twice.
        interpolation: Padded side over side.
        batch_size: Images read at a time; it cannot change a number.
        reporter: Where progress goes.
        **inputs: What is judged: ``samples`` or ``model``, and the other arguments of
            `evalkit.engine.inputs.open_inputs`.

    Raises:
        UsageError: Real images are no images, or a number cannot be.
        MetricError: Sizes differ, an image is not square, there are fewer than 2 images, or they are blank.
        EvalkitError: Something cannot be opened.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be 1 or more")
    opened = open_inputs(data=data, **inputs)
    if not isinstance(opened.data, ImageSource):
        given = "no --data was given" if opened.data is None else f"{opened.data.spec} holds statistics"
        raise UsageError(f"a spectrum is held against real images, and {given}; name the images with --data")
    for which, source in (("real", opened.data), ("generated", opened.samples)):
        _check_form(which, source)
    said = reporter or Silent()
    levels = Levels()
    with said.track(f"levels of {opened.data.spec}") as progress:
        for indices, images in opened.data.batches(batch_size):
            for image in images:
                levels.add(image)
            progress(indices.stop, len(opened.data))
    mean, std = levels.whitening()
    side = opened.data.load([0])[0].shape[1]
    real, generated = (
        _spectrum(source, SpectrumSum(side, mean, std, interpolation=interpolation), batch_size, said)
        for source in (opened.data, opened.samples)
    )
    return Spectra(
        data=opened.data.spec, samples=opened.samples.spec, mean=mean, std=std, real=real, generated=generated
    )


def _check_form(which: str, source: ImageSource) -> None:
    # The first image tells of a set that can have no spectrum at all; later ones are held against its size.
    if len(source) < 2:
        raise MetricError(
            f"{source.spec} gives {len(source)} {which} images, which have no spread; give at least 2 "
            f"{which} images"
        )
    height, width = source.load([0])[0].shape[1:]
    if height != width:
        raise MetricError(
            f"{source.item_name(0)} of the {which} images is {height} x {width} pixels, and images must be "
            "square: an average spectrum needs square images of one size; resize or crop them alike"
        )


def _spectrum(source: ImageSource, total: SpectrumSum, batch_size: int, reporter: Reporter) -> Spectrum:
    with reporter.track(f"spectrum of {source.spec}") as progress:
        for indices, images in source.batches(batch_size):
            for index, image in zip(indices, images, strict=True):
                total.add(image, source.item_name(index))
            progress(indices.stop, len(source))
    return total.finish()


def write_spectra(result: Spectra, folder: Path | str) -> list[Path]:
    """Writes ``spectrum.csv`` and ``spectrum.png``, each whole or not at all; returns where.

    Raises:
        StoreError: The folder cannot be written.
    """
    folder = Path(folder)
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.rows())
    write_text(folder / "spectrum.csv", text.getvalue())
    _draw(result, folder / "spectrum.png")
    return [folder / "spectrum.csv", folder / "spectrum.png"]


def _draw(result: Spectra, path: Path) -> None:
    figure = new_figure(12, 7.4)
    figure.suptitle(f"{result.samples} against {result.data}".replace("$", r"\$"), fontsize=11)
    panels = figure.subplots(2, 3)
    maps = [decibels(each.power) for each in (result.real, result.generated)]
    low, high = min(each.min() for each in maps), max(each.max() for each in maps)
    names = (f"real, {result.real.num:,} images", f"generated, {result.generated.num:,} images")
    for axes, values, name in zip(panels[0], maps, names, strict=False):
        _heat(axes, values, f"{name} (dB)", low, high, "viridis")
    gap = maps[1] - maps[0]
    most = max(float(np.abs(gap).max()), 1e-9)
    _heat(panels[0, 2], gap, "generated minus real (dB)", -most, most, "RdBu_r")
    for axes, name in zip(panels[1], SLICES, strict=True):
        for label, spectrum, colour in (("real", result.real, BLUE), ("generated", result.generated, RED)):
            _curve(axes, spectrum.curves[name], label, colour)
        dress(axes, _TITLES[name], "cycles a pixel", "dB")
        axes.legend(fontsize=8)
    save_png(figure, path)


def _heat(axes: Axes, values: FloatArray, title: str, low: float, high: float, colours: str) -> None:
    # Frequencies are the middles of the cells; 0 is cell m // 2 of m.
    cells = len(values)
    first, last = (-(cells // 2) - 0.5) / cells, (cells - cells // 2 - 0.5) / cells
    image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, extent=(first, last, last, first))
    assert axes.figure is not None
    axes.figure.colorbar(image, ax=axes, shrink=0.85)
    dress(axes, title, "horizontal cycles a pixel", "vertical")
    axes.grid(visible=False)


def _curve(axes: Axes, curve: Curve, label: str, colour: str) -> None:
    spread = Z95 * curve.decibels_error
    axes.plot(curve.frequency, curve.decibels, color=colour, linewidth=1.2, label=label)
    axes.fill_between(
        curve.frequency, curve.decibels - spread, curve.decibels + spread, color=colour, alpha=0.25,
        linewidth=0,
    )  # fmt: skip
