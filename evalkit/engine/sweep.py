"""Metrics of one model against its truncation psi: the trade of diversity for fidelity, as a curve.

At every psi the same seeds are drawn, so points of a curve differ in psi alone and are paired. Each point is
an ordinary evaluation (`evalkit.engine.run.evaluate`): its records are filed under a name that carries psi,
and its features are stored, so that a sweep that is run again, or was stopped, computes what is missing
alone. Nothing is claimed of the curves' shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evalkit.adapters.capabilities import need
from evalkit.adapters.resolve import open_model
from evalkit.adapters.samples import sample
from evalkit.engine.cost import Costs
from evalkit.engine.curves import check_points, how_measured, parse_points, write_numbers
from evalkit.engine.device import pick_device
from evalkit.engine.distributed import world
from evalkit.engine.progress import Silent
from evalkit.engine.request import Arguments
from evalkit.engine.run import evaluate, plan
from evalkit.errors import EvalkitError, UsageError
from evalkit.protocols import catalog
from evalkit.records.schema import Record
from evalkit.uncertainty.format import with_error

if TYPE_CHECKING:
    from typing_extensions import Unpack

FORMAT = "evalkit-sweep-1"
USUAL_METRICS = "fd_mini,prdc_mini"
_WHAT, _RANGE, _LIST = "truncation psi", "0.3:1.0:8", "0.3,0.5,0.7"
_COLUMNS = (
    "psi", "metric", "value", "standard_error", "low", "high", "bias", "num", "num_real", "record_id",
)  # fmt: skip


class Pass(NamedTuple):
    """One pass of a sweep: whose images, through what, how many to do and on file, how long, what lacks."""

    images: str
    network: str
    to_do: int
    stored: int
    seconds: float | None
    problem: str | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SweepCosts:
    """What a sweep will cost.

    Attributes:
        psis: Its points.
        costs: Those of the evaluation at each; what a point needs of the real images, all later ones share.
    """

    psis: tuple[float, ...]
    costs: tuple[Costs, ...]

    @property
    def passes(self) -> list[Pass]:
        """Every pass of images through a network and every draw of the model; the real images once."""
        found = []
        for psi, costs in zip(self.psis, self.costs, strict=True):
            for cost in costs.steps:
                if cost.step.role == "samples" or costs is self.costs[0]:
                    images = f"samples at psi {psi!r}" if cost.step.role == "samples" else cost.step.role
                    to_do = cost.step.num_images - cost.num_stored
                    network = cost.step.extractor
                    found.append(Pass(images, network, to_do, cost.num_stored, cost.seconds, cost.problem))
            for asked in costs.model_steps:
                images, to_do = f"draws at psi {psi!r}", asked.num_rows - asked.num_stored
                found.append(Pass(images, asked.name, to_do, asked.num_stored, asked.seconds, asked.problem))
        return found

    def rows(self) -> list[dict[str, str]]:
        """A line a pass, for print."""
        return [
            {
                "images": each.images,
                "network": each.network,
                "to do": f"{each.to_do:,}",
                "on file": f"{each.stored:,}",
                "time": "weights missing" if each.seconds is None else f"{each.seconds:.0f} s",
            }
            for each in self.passes
        ]

    @property
    def problems(self) -> tuple[str, ...]:
        """Why networks could not be loaded, each once."""
        return tuple(dict.fromkeys(each.problem for each in self.passes if each.problem))

    @property
    def sentence(self) -> str:
        """The whole, in words."""
        passes = self.passes
        known = [each.seconds for each in passes if each.seconds is not None]
        took = "an unknown time" if len(known) < len(passes) else f"about {sum(known):,.0f} s"
        return (
            f"a sweep over {len(self.psis)} psi: {sum(each.to_do for each in passes):,} images or draws to "
            f"pass through networks, {sum(each.stored for each in passes):,} on file, {took}; making the "
            "images comes on top"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "truncation_psi": list(self.psis),
            "points": [costs.to_dict() for costs in self.costs],
        }


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """Results of a sweep.

    Attributes:
        model: The model's name, with the truncation cutoff where one was given.
        data: Name of the real images; empty where no metric needs any.
        seed: First seed, the same at every psi.
        psis: The points, ascending.
        records: Those of each point, in the order of the metrics.
    """

    model: str
    data: str
    seed: int
    psis: tuple[float, ...]
    records: tuple[tuple[Record, ...], ...]

    def curves(self) -> dict[str, list[tuple[float, Record]]]:
        """The points of each metric that have a value, by the metric's name."""
        found: dict[str, list[tuple[float, Record]]] = {}
        for psi, records in zip(self.psis, self.records, strict=True):
            for record in records:
                if record.value is not None:
                    found.setdefault(record.metric, []).append((psi, record))
        return found

    def rows(self) -> list[dict[str, Any]]:
        """One a point and metric, with the columns of the CSV; None where there is no number."""
        found = []
        for psi, records in zip(self.psis, self.records, strict=True):
            for record in records:
                low, high = (None, None) if record.ci95 is None else record.ci95
                real = None if record.data is None else record.data.num
                values = (
                    psi, record.metric, record.value, record.standard_error, low, high, record.bias,
                    record.samples.num, real, record.record_id,
                )  # fmt: skip
                found.append(dict(zip(_COLUMNS, values, strict=True)))
        return found

    def table(self) -> list[dict[str, str]]:
        """A line a psi and a column a metric, value and standard error, for print."""
        return [
            {"psi": repr(psi)}
            | {record.metric: with_error(record.value, record.standard_error) for record in records}
            for psi, records in zip(self.psis, self.records, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """As `write_sweep` files it: the rows, and once for each metric how its numbers were made."""
        metrics = {
            record.metric: {**how_measured(record), "reason": record.reason}
            for records in reversed(self.records)
            for record in records
        }
        return {
            "format": FORMAT, "parameter": "truncation_psi", "model": self.model, "data": self.data,
            "seed": self.seed, "metrics": metrics, "points": self.rows(),
        }  # fmt: skip


def parse_psis(words: str) -> tuple[float, ...]:
    """Reads ``0.3:1.0:8`` (start, stop and count, both ends included) or ``0.3,0.5,0.7``; ascending.

    Raises:
        UsageError: The words are neither, or what they name cannot be swept over (`check_psis`).
    """
    return parse_points(words, option="--truncation", what=_WHAT, example=_RANGE, listed=_LIST)


def check_psis(psis: Sequence[float]) -> tuple[float, ...]:
    """The points of a sweep, ascending.

    Args:
        psis: Truncation psi of each: finite, 0 or more, no two equal, 2 to 100 of them.

    Raises:
        UsageError: They are not.
    """
    return check_points(psis, _WHAT, f"write start:stop:count, such as {_RANGE}, or a list, such as {_LIST}")


def plan_sweep(psis: Sequence[float], **arguments: Unpack[Arguments]) -> SweepCosts:
    """What `sweep` would do with the same arguments, and what it would cost. Nothing is computed or filed.

    Raises:
        EvalkitError: The request cannot be run; the message says why.
    """
    chosen, prepared, _ = _prepared(psis, arguments)
    return _costs(chosen, prepared)


def sweep(
    psis: Sequence[float], *, output: Path | str | None = Path("results"), **arguments: Unpack[Arguments]
) -> Sweep:
    """Measures a model at every psi, with the same seeds.

    Args:
        psis: Truncation psi of each point; see `check_psis`.
        output: Folder of the records, as in `evalkit.engine.run.evaluate`; None files none.
        **arguments: Those of `evalkit.engine.request.prepare`: ``model`` and ``metrics`` are required,
            ``truncation_psi`` and ``samples`` have no place. ``name`` is that of the model; records are filed
            under it with the psi and the cutoff added. The cost goes to ``reporter`` before the work.

    Returns:
        The results by psi. Under ``torchrun`` they have no records but on process 0.

    Raises:
        UsageError: The psi cannot be, there is no model, or it cannot be truncated.
        EvalkitError: Something else the user can mend. Whatever was finished before is kept and filed.
    """
    chosen, prepared, name = _prepared(psis, arguments)
    reporter = prepared.get("reporter") or Silent()
    costs = _costs(chosen, prepared)
    reporter.say(costs.sentence)
    found = []
    for psi in chosen:
        reporter.say(f"psi {psi!r}")
        try:
            found.append(tuple(evaluate(output=output, **_at(psi, name, prepared))))
        except EvalkitError as error:
            one = "; psi 0 makes the same image of every seed: start the sweep above it" if psi == 0 else ""
            raise type(error)(f"psi {psi!r}: {error}{one}") from error
    named = [record.data.name for records in found for record in records if record.data is not None]
    return Sweep(
        model=name + _cut(prepared), data=named[0] if named else "", seed=prepared.get("seed", 0),
        psis=chosen, records=tuple(found),
    )  # fmt: skip


def write_sweep(result: Sweep, folder: Path | str) -> list[Path]:
    """Writes ``sweep.csv``, ``sweep.json`` and ``sweep.png``, each whole or not at all; returns where.

    Raises:
        StoreError: The folder cannot be written.
        MetricError: No metric has a value to draw.
    """
    from evalkit.engine.sweep_plot import plot_sweep

    folder = Path(folder)
    paths = [*write_numbers(folder, _COLUMNS, result.rows(), result.to_dict()), folder / "sweep.png"]
    plot_sweep(result, paths[-1])
    return paths


def _prepared(psis: Sequence[float], given: Arguments) -> tuple[tuple[float, ...], Arguments, str]:
    # The points, the arguments with the model opened once for all of them, and its name.
    chosen = check_psis(psis)
    if given.get("samples") is not None:
        raise UsageError(
            "a sweep truncates a model, and --samples are images that are there already; name the model with "
            "--model"
        )
    if given.get("model") is None:
        raise UsageError("a sweep truncates a model; name one with --model")
    if given.get("truncation_psi", 1.0) != 1:
        raise UsageError("a sweep sets truncation psi itself; leave truncation_psi out")
    metrics = given.get("metrics", "")
    catalog.select(metrics.split(",") if isinstance(metrics, str) else list(metrics))
    opened = open_model(
        given["model"], given.get("reference_models"), z_dim=given.get("z_dim"),
        value_range=given.get("value_range", "signed"), num_classes=given.get("num_classes", 0),
        device=pick_device(given.get("device", "auto"), world()),
    )  # fmt: skip
    _check_truncates(opened, next(psi for psi in chosen if psi != 1), given.get("truncation_cutoff"))
    prepared = given.copy()
    prepared["model"] = opened
    return chosen, prepared, given.get("name") or opened.name


def _check_truncates(model: Any, psi: float, cutoff: int | None) -> None:  # noqa: ANN401
    # Whether w can be pulled is known to the model alone, so one image is asked for before any work.
    classes = 0 if model.num_classes else None
    try:
        need(model, "HasLatents", "truncation")
        sample(model, np.zeros(1, np.int64), labels=classes, truncation_psi=psi, truncation_cutoff=cutoff)
    except UsageError as error:
        raise UsageError(f"a sweep needs a model that can be truncated: {error}") from error


def _at(psi: float, name: str, prepared: Arguments) -> Arguments:
    arguments = prepared.copy()
    arguments["truncation_psi"] = psi
    if psi == 1:
        arguments["truncation_cutoff"] = None  # it would be refused: without truncation it changes nothing
    arguments["name"] = f"{name} psi={psi!r}{_cut(arguments)}"
    return arguments


def _cut(arguments: Arguments) -> str:
    # Sweeps of one model with other cutoffs are other curves, and their names tell them apart.
    cutoff = arguments.get("truncation_cutoff")
    return "" if cutoff is None else f" cutoff={cutoff}"


def _costs(psis: tuple[float, ...], prepared: Arguments) -> SweepCosts:
    return SweepCosts(psis=psis, costs=tuple(plan(**_at(psi, "", prepared)) for psi in psis))
