"""The verbs that tell: ``list``, ``show``, ``weights``, ``doctor``."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated

import typer

from evalkit.cli.options import CacheDir, Json, WeightsDir


class Kind(str, Enum):
    """What `list` can list."""

    protocols = "protocols"
    models = "models"
    sources = "sources"
    extractors = "extractors"
    weights = "weights"


def register(app: typer.Typer) -> None:
    """Adds the verbs to ``app``."""
    app.command("list")(list_)
    app.command()(show)
    weights = typer.Typer(no_args_is_help=True, help="Network weights: fetch, verify, locate.")
    weights.command("fetch")(weights_fetch)
    weights.command("verify")(weights_verify)
    weights.command("path")(weights_path)
    app.add_typer(weights, name="weights")
    app.command()(doctor)


def list_(
    context: typer.Context,
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    as_json: Json = False,
) -> None:
    """List protocols, models, sources, extractors or weights."""
    from evalkit.engine import listing, report

    rows = listing.rows(kind.value, context.obj)
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        report.print_rows(rows, to_stdout=True)


def show(name: Annotated[str, typer.Argument(help="Name of a protocol.")], as_json: Json = False) -> None:
    """Print every field of a protocol, its source, and the files it needs."""
    from evalkit.engine import listing, report

    fields = listing.describe(name)
    if as_json:
        print(json.dumps(fields, indent=1, ensure_ascii=False))
    else:
        report.print_fields(fields)


def weights_fetch(
    names: Annotated[list[str], typer.Argument(help="Names from `evalkit list weights`.")],
    weights_dir: WeightsDir = None,
) -> None:
    """Download weights, going on where an interrupted download stopped, and check them."""
    from evalkit.engine.progress import reporter
    from evalkit.features import weights

    out = reporter()
    for name in names:
        with out.track(name, "bytes") as progress:
            path = weights.fetch(weights.entry(name), weights.weights_dir(weights_dir), progress=progress)
        print(path)


def weights_verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names; all that are there if none is given.")
    ] = None,
    weights_dir: WeightsDir = None,
) -> None:
    """Check weight files against their checksums."""
    from evalkit.engine import listing, report

    rows = listing.weights_rows(weights_dir, names or [])
    report.print_rows(rows, to_stdout=True)
    wanted = [row for row in rows if names or row["state"] != "missing"]
    if any(row["state"] != "ok" for row in wanted):
        raise typer.Exit(2)


def weights_path(
    name: Annotated[str | None, typer.Argument(help="A name; the folder itself if none is given.")] = None,
    weights_dir: WeightsDir = None,
) -> None:
    """Print where weights are kept."""
    from evalkit.features import weights

    folder = weights.weights_dir(weights_dir)
    print(folder if name is None else weights.locate(name, folder, {}))


def doctor(weights_dir: WeightsDir = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Tell what is installed, which weights verify, which device is used, and which protocols can run now."""
    from evalkit.engine import report
    from evalkit.engine.doctor import doctor as examine

    findings = examine(weights_dir=weights_dir, cache_dir=cache_dir)
    if as_json:
        print(json.dumps(findings, indent=1))
    else:
        report.print_doctor(findings)
