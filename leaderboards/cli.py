"""The verb ``table``. pandas is imported when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from evalkit.errors import UsageError


class Scope(str, Enum):
    """Which published likelihoods stand in tables."""

    beside = "beside"
    none = "none"
    all = "all"


def register(app: typer.Typer) -> None:
    """Adds ``table`` to ``app``."""
    app.command("table")(table)


def table(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS", help="Results folders, or single records.")
    ],
    form: Annotated[
        Optional[str],  # noqa: UP045 - typer on Python 3.10 reads this spelling
        typer.Option("--format", help="md, csv, latex, html or json; by the ending of --output, else md."),
    ] = None,
    data: Annotated[Optional[str], typer.Option(help="Show this data set alone.")] = None,  # noqa: UP045
    metrics: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Show these columns, with commas: names of values or of protocols."),
    ] = None,
    sort: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Rank by this column; the first Fréchet distance if none is named."),
    ] = None,
    published: Annotated[
        Scope,
        typer.Option(help="Published likelihoods: beside measured ones of the same images, none, or all."),
    ] = Scope.beside,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Write the table here and not to standard output."),
    ] = None,
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Draw it too, with error bars: a .png, .svg or .pdf."),
    ] = None,
    sql: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="URL", help="File the records in this database too: sqlite:///results.db …"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
) -> None:
    """Show filed records as leaderboards, one for every data set."""
    from evalkit.files import write_text
    from leaderboards.build import leaderboard_tables
    from leaderboards.tables import format_of, render

    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} contradict each other; give one of them")
    chosen = "json" if as_json else form
    if chosen is None:
        chosen = "md" if output is None else format_of(output)
    wanted = None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]
    if wanted == []:
        raise UsageError("--metrics names no column; leave it out to see all")
    boards = leaderboard_tables(results, data=data, metrics=wanted, sort=sort, published=published.value)
    text = render(boards, chosen)
    if sql is not None:
        from leaderboards.sql import file_records

        filed = file_records(results, sql)
        print(
            f"filed {filed.num_new} new of {filed.num_records} records in {filed.database}", file=sys.stderr
        )
    if plot is not None:
        from leaderboards.plots import plot as draw

        draw(boards, plot)
        print(f"drawn in {plot}", file=sys.stderr)
    if output is None:
        sys.stdout.write(text)
    else:
        write_text(output, text)
        print(f"written to {output}", file=sys.stderr)
