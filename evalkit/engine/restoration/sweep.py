"""Restorations of one model against its temperature: fidelity, perception and diversity, as curves.

Every temperature has the same seeds, so that the samples of a curve differ in it alone. Each point is an
ordinary evaluation, whose records are filed under a name that carries the temperature, and whose samples are
kept, so that a sweep that was stopped goes on. A temperature at which the model gives values that are not
finite has no numbers, and a reason. Nothing is claimed of the curves' shape.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.engine.charts import GREY, new_figure, save_png
from evalkit.engine.curves import (
    Points,
    check_points,
    directed,
    draw_curve,
    draw_trade,
    how_measured,
    parse_points,
    write_numbers,
)
from evalkit.engine.restoration.request import RestorationArguments, at_temperature, prepare
from evalkit.engine.restoration.run import load_judges, run_restoration
from evalkit.errors import MetricError, UsageError
from evalkit.records.schema import Record
from evalkit.uncertainty.format import with_error

if TYPE_CHECKING:
    from typing_extensions import Unpack

FORMAT = "evalkit-temperature-sweep-1"
USUAL_METRICS = "psnr_rgb,ssim_rgb,lpips_mini,lr_psnr,sr_diversity_mini,sr_pixel_std"
_ACROSS = 3
_RANGE, _LIST = "0:1:6", "0,0.5,0.9"
_COLUMNS = ("temperature", "metric", "value", "standard_error", "low", "high", "num", "record_id", "reason")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TemperatureSweep:
    """Results of a sweep.

    Attributes:
        model: The model's name.
        data: Name of the originals, with the scale.
        seed: Of all draws, the same at every temperature.
        num_samples: Restorations of each image.
        metrics: Asked for, in order.
        temperatures: The points, ascending.
        records: Those of each point; none where it failed.
        failures: Why a point lacks numbers, by temperature.
    """

    model: str
    data: str
    seed: int
    num_samples: int
    metrics: tuple[str, ...]
    temperatures: tuple[float, ...]
    records: tuple[tuple[Record, ...], ...]
    failures: dict[float, str]

    def curves(self) -> dict[str, list[tuple[float, Record]]]:
        """The points of each metric that have a value, by the metric's name."""
        found: dict[str, list[tuple[float, Record]]] = {}
        for temperature, records in zip(self.temperatures, self.records, strict=True):
            for record in records:
                if record.value is not None:
                    found.setdefault(record.metric, []).append((temperature, record))
        return found

    def rows(self) -> list[dict[str, Any]]:
        """One a point and metric, with the columns of the CSV; None where there is no number."""
        found = []
        for temperature, records in zip(self.temperatures, self.records, strict=True):
            by_name = {record.metric: record for record in records}
            for metric in self.metrics:
                record = by_name.get(metric)
                if record is None:
                    values: tuple[Any, ...] = (None,) * 6 + (self.failures.get(temperature),)
                else:
                    low, high = (None, None) if record.ci95 is None else record.ci95
                    values = (
                        record.value, record.standard_error, low, high, record.samples.num,
                        record.record_id, record.reason,
                    )  # fmt: skip
                found.append(dict(zip(_COLUMNS, (temperature, metric, *values), strict=True)))
        return found

    def table(self) -> list[dict[str, str]]:
        """A line a temperature and a column a metric, value and standard error, for print."""
        found = []
        for temperature, records in zip(self.temperatures, self.records, strict=True):
            shown = {r.metric: with_error(r.value, r.standard_error, paired=True) for r in records}
            found.append(
                {"temperature": f"{temperature:g}"} | {name: shown.get(name, "—") for name in self.metrics}
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """As `write_temperature_sweep` files it: the rows, and once for each metric how they were made."""
        metrics = {
            record.metric: how_measured(record) for records in reversed(self.records) for record in records
        }
        return {
            "format": FORMAT, "parameter": "temperature", "model": self.model, "data": self.data,
            "seed": self.seed, "samples_per_image": self.num_samples, "metrics": metrics,
            "points": self.rows(),
        }  # fmt: skip


def sweep_temperature(
    temperatures: Sequence[float],
    *,
    output: Path | str | None = Path("results"),
    **arguments: Unpack[RestorationArguments],
) -> TemperatureSweep:
    """Measures a model's restorations at every temperature, with the same seeds.

    Args:
        temperatures: Finite, from 0 on, no two equal, 2 to 100 of them.
        output: Folder of the records; None files none.
        **arguments: Those of `evalkit.engine.restoration.request.prepare`: ``hr``, ``scale``, ``metrics`` and
            ``sr_model`` are required; ``temperature`` and ``sr`` have no place.

    Returns:
        The results by temperature. Under ``torchrun`` they have no records but on process 0.

    Raises:
        UsageError: The temperatures cannot be, there is no model, or it has no temperature.
        EvalkitError: Something else the user can mend. Whatever was finished before is kept and filed.
    """
    how = f"write start:stop:count, such as {_RANGE}, or a list, such as {_LIST}"
    temperatures = check_points(temperatures, "temperature", how)
    if arguments.get("sr") is not None or arguments.get("sr_model") is None:
        raise UsageError("a sweep over temperatures asks a model for restorations; name it with --sr-model")
    if arguments.get("temperature") is not None:
        raise UsageError("a sweep sets the temperature itself; leave the single temperature out")
    first = prepare(**arguments)
    if first.temperature is None:
        raise UsageError(f"{first.model.name} has no temperature to sweep over")
    judges, lacking = load_judges(first)
    if lacking:
        raise lacking[0]
    name = arguments.get("name") or str(first.model.name)
    found: list[tuple[Record, ...]] = []
    failures: dict[float, str] = {}
    for temperature in temperatures:
        first.reporter.say(f"temperature {temperature:g}")
        request = at_temperature(first, temperature, name)
        point = run_restoration(request, output, baselines=False, judges=judges)
        for failure in point.failures:
            if not isinstance(failure, MetricError):  # it would fail at every temperature
                point.check(output)
            first.reporter.say(str(failure))
        if point.failures:
            failures[temperature] = "; ".join(dict.fromkeys(str(failure) for failure in point.failures))
        found.append(tuple(point.records))
    if failures and first.world.is_main and not any(found):
        raise MetricError(next(iter(failures.values())))
    return TemperatureSweep(
        model=name, data=first.data_name, seed=first.seed, num_samples=first.num_samples,
        metrics=tuple(spec.name for spec in first.protocols), temperatures=temperatures,
        records=tuple(found), failures=failures,
    )  # fmt: skip


def parse_temperatures(words: str) -> tuple[float, ...]:
    """Reads ``0:1:6`` (start, stop and count, both ends included) or ``0,0.5,0.9``; ascending.

    Raises:
        UsageError: The words are neither, or name no temperatures.
    """
    return parse_points(words, option="--temperature", what="temperature", example=_RANGE, listed=_LIST)


def write_temperature_sweep(result: TemperatureSweep, folder: Path | str) -> list[Path]:
    """Writes ``sweep.csv``, ``sweep.json`` and ``sweep.png``, each whole or not at all; returns where.

    Raises:
        StoreError: The folder cannot be written.
        MetricError: No metric has a value to draw.
    """
    folder = Path(folder)
    paths = [*write_numbers(folder, _COLUMNS, result.rows(), result.to_dict()), folder / "sweep.png"]
    _plot(result, paths[-1])
    return paths


def _plot(result: TemperatureSweep, path: Path) -> None:
    curves = result.curves()
    if not curves:
        raise MetricError("the sweep has no value to draw: no metric applies, or none is finite")
    trades = _trades(curves)
    count = len(curves) + len(trades)
    across = min(count, _ACROSS)
    down = math.ceil(count / across)
    figure = new_figure(4.0 * across, 3.0 * down + 0.4)
    each = "1 sample" if result.num_samples == 1 else f"{result.num_samples} samples"
    title = f"{result.model} on {result.data}, {each} of each image"
    figure.suptitle(title.replace("$", r"\$"), fontsize=11)
    panels = figure.subplots(down, across, squeeze=False).flatten()
    for axes, (metric, points) in zip(panels, curves.items(), strict=False):
        draw_curve(axes, metric, points, "temperature")
        for lost in result.failures:
            axes.axvline(lost, color=GREY, linestyle=":", linewidth=1)
    for axes, (title, fidelity, other) in zip(panels[len(curves) :], trades, strict=False):
        x, y = (directed(name, curves[name]) for name in (other, fidelity))
        draw_trade(axes, f"{title}, by temperature", curves[other], curves[fidelity], x, y)
    for axes in panels[count:]:
        axes.set_axis_off()
    save_png(figure, path)


def _trades(curves: Mapping[str, Points]) -> list[tuple[str, str, str]]:
    # What is paid in fidelity for perception, and for diversity: in words, and the metrics of both.
    fidelity = _first(curves, "psnr", "ssim")
    others = {
        "fidelity and perception": _first(curves, "lpips", "dists"),
        "fidelity and diversity": _first(curves, "sr_diversity", "sr_pixel_std"),
    }
    return [(words, fidelity, other) for words, other in others.items() if fidelity and other]


def _first(curves: Mapping[str, Points], *kinds: str) -> str | None:
    return next((name for kind in kinds for name in curves if name.startswith(kind)), None)
