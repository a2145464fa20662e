"""What people see: plans and results on standard error, lists and findings on standard output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.engine.cost import Costs
from evalkit.records.schema import Record
from evalkit.uncertainty.format import MISSING, number, with_error

if TYPE_CHECKING:
    from evalkit.engine.repeats import Spread

NOT_APPLICABLE = "n/a"
_PIPED_WIDTH = 160


def _console(to_stdout: bool = False) -> Any:  # noqa: ANN401 - rich is imported when something is printed
    from rich.console import Console

    console = Console(stderr=not to_stdout, highlight=False, soft_wrap=not to_stdout)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED_WIDTH  # a log has no edge to break lines at, and rich would assume 80
    return console


def print_records(records: Sequence[Record], output: Path) -> None:
    """Values with error bars and bias estimates, and how they were made."""
    from rich.table import Table
    from rich.text import Text

    data = f"against {records[0].data.name}" if records[0].data else "by itself"
    table = Table(title=Text(f"{records[0].samples.name} {data}"))
    biased = any(record.bias is not None for record in records)
    headings = [
        "metric",
        "value",
        "± s.e.",
        "95 % interval",
        *(["bias"] if biased else []),
        "samples",
        "real",
    ]
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "metric" else "right", overflow="fold")
    for record in records:
        spread, paired = record.standard_error, record.per_image is not None
        interval = MISSING
        if record.ci95 is not None:
            low, high = (number(end, spread, paired=paired) for end in record.ci95)
            interval = f"[{low}, {high}]"
        real = record.data.num if record.data is not None else None
        bias = [MISSING if record.bias is None else number(record.bias, spread)] if biased else []
        table.add_row(
            f"{record.metric} {'↑' if record.higher_is_better else '↓'}",
            NOT_APPLICABLE if record.value is None else number(record.value, spread, paired=paired),
            MISSING if spread is None else f"{spread:.2g}",
            interval,
            *bias,
            MISSING if record.value is None else f"{record.samples.num:,}",
            MISSING if real is None else f"{real:,}",
        )
    console = _console()
    console.print(table)
    said: dict[str, list[str]] = {}
    for record in records:
        for text in (record.reason, record.ci_method, *record.notes):
            if text:
                said.setdefault(text, []).append(record.metric)
    for text, metrics in said.items():
        console.print(f"  {', '.join(metrics)}: {text}", markup=False)
    console.print(f"filed in {output}", markup=False)


def print_beside(groups: Sequence[Sequence[Record]]) -> None:
    """The same metrics of several things that were held against the same images, a column each."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="beside the baselines")
    table.add_column("metric", overflow="fold")
    for records in groups:
        table.add_column(Text(records[0].samples.name), justify="right", overflow="fold")
    columns = [{record.metric: record for record in records} for records in groups]
    for name, first in {record.metric: record for records in groups for record in records}.items():
        cells = [
            with_error(column[name].value, column[name].standard_error, paired=True)
            if name in column and column[name].value is not None
            else NOT_APPLICABLE
            for column in columns
        ]
        table.add_row(f"{name} {'↑' if first.higher_is_better else '↓'}", *cells)
    _console().print(table)


def print_spreads(found: Sequence[Spread]) -> None:
    """Mean and spread of every metric over repeats, beside the error that single runs claim."""
    from rich.table import Table

    table = Table(title=f"over {len(found[0].values)} repeats" if found else "no repeats")
    for heading in ("metric", "mean", "spread (s.d.)", "± s.e. of a run", "values"):
        table.add_column(heading, overflow="fold")
    for each in found:
        spread = each.standard_deviation
        table.add_row(
            each.metric,
            number(each.mean, spread),
            MISSING if spread is None else f"{spread:.2g}",
            MISSING if each.standard_error is None else f"{each.standard_error:.2g}",
            ", ".join(number(value, spread) for value in each.values),
        )
    _console().print(table)


def print_plan(costs: Costs, repeats: int = 1) -> None:
    """Measurements and passes, with cost; ``repeats`` is how often all of it is to be done."""
    from rich.table import Table

    console = _console()
    wanted = Table(title="will measure")
    for heading in ("protocol", "samples", "real images"):
        wanted.add_column(heading)
    for item in costs.measurements:
        wanted.add_row(
            item.spec.id, f"{item.num_fake:,}", MISSING if item.num_real is None else f"{item.num_real:,}"
        )
    console.print(wanted)
    passes = Table(title="will compute")
    for heading in ("images", "network", "layers", "to do", "on file", "GMAC", "MB on disk", "time"):
        passes.add_column(heading)
    for cost in costs.steps:
        step = cost.step
        passes.add_row(
            step.role, f"{step.extractor} ({step.resize}, {step.precision})", ", ".join(step.layers),
            f"{step.num_images - cost.num_stored:,}", f"{cost.num_stored:,}", f"{cost.gmac:,.1f}",
            f"{cost.megabytes:,.1f}", _time(cost.seconds),
        )  # fmt: skip
    if costs.steps:
        console.print(passes)
    if costs.model_steps:
        draws = Table(title="will ask the model")
        for heading in ("for", "rows", "on file", "images through it", "MB on disk", "time"):
            draws.add_column(heading)
        for asked in costs.model_steps:
            draws.add_row(
                asked.name, f"{asked.num_rows:,}", f"{asked.num_stored:,}", f"{asked.images:,}",
                f"{asked.megabytes:,.1f}", _time(asked.seconds),
            )  # fmt: skip
        console.print(draws)
    for problem in [each.problem for each in costs.steps] + [each.problem for each in costs.model_steps]:
        if problem:
            console.print(problem, markup=False)
    if repeats > 1:
        console.print(f"that is one of {repeats} repeats; each makes samples of its own")
    for _, why in costs.inapplicable:
        console.print(f"not applicable: {why}", markup=False)


def _time(seconds: float | None) -> str:
    return "weights missing" if seconds is None else f"{seconds:.0f} s"


def print_sweep(
    told: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], written: Sequence[Path], as_json: bool
) -> None:
    """A sweep: all of it as JSON on standard output, or its table; and its files."""
    if as_json:
        print(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        print_rows(rows)
    for path in written:
        print(f"written to {path}", file=sys.stderr)


def print_rows(rows: Sequence[Mapping[str, Any]], to_stdout: bool = False) -> None:
    """Rows of equal keys as a table."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    table = Table()
    for heading in rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_plain(value)) for value in row.values()))
    _console(to_stdout).print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    console = _console(to_stdout=True)
    width = max(map(len, fields))
    for name, value in fields.items():
        console.print(f"{name:<{width}}  {_plain(value)}", markup=False, soft_wrap=True)


def print_doctor(findings: Mapping[str, Any]) -> None:
    """What `doctor` found."""
    console = _console(to_stdout=True)
    packages = ", ".join(f"{name} {version}" for name, version in findings["packages"].items())
    extras = ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in findings["extras"].items())
    console.print(f"python {findings['python']}: {packages}", markup=False, soft_wrap=True)
    console.print(f"extras: {extras}", markup=False)
    console.print(f"device: {findings['device']}, {findings['cores']} cores", markup=False)
    console.print(f"cache: {findings['cache']}", markup=False, soft_wrap=True)
    print_rows(findings["weights"], to_stdout=True)
    ready = [name for name, state in findings["protocols"].items() if state == "ready"]
    console.print(f"can run now: {', '.join(ready) or 'nothing'}", markup=False, soft_wrap=True)
    waiting: dict[str, list[str]] = {}
    for name, state in findings["protocols"].items():
        if state != "ready":
            waiting.setdefault(state, []).append(name)
    for state, names in waiting.items():
        console.print(f"cannot run: {', '.join(names)}: {state}", markup=False, soft_wrap=True)


def _plain(value: object) -> str:
    return "" if value is None else str(value)
