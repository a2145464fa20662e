"""What ``run`` and ``sweep`` do where restorations are held against originals (``--sr``, ``--sr-model``)."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from evalkit.errors import UsageError

PANEL = "Super-resolution and other restoration (instead of --samples or --model, and --data)"
MOST_PICTURES = 6

SrModel = Annotated[
    Optional[str],  # noqa: UP045 - typer on Python 3.10 reads this spelling
    typer.Option(
        "--sr-model",
        help="What restores: a checkpoint, file.py:factory, a program (.pt2, .onnx …), bicubic …; then "
        "--samples is how many of each image, and --range is unit if not given.",
        rich_help_panel=PANEL,
    ),
]
Sr = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--sr", help="Restorations, found by their original's name.", rich_help_panel=PANEL),
]
Hr = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--hr", help="The originals.", rich_help_panel=PANEL),
]
Lr = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--lr",
        help="Low-resolution images (babyx4.png of baby.png); made by MATLAB's imresize if not given.",
        rich_help_panel=PANEL,
    ),
]
Scale = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--scale", help="How many times as large the originals are.", rich_help_panel=PANEL),
]
Temperature = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--temperature", help="Of the model's samples; its usual one if not given.",
                 rich_help_panel=PANEL),
]  # fmt: skip
Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines/--no-baselines",
        help="Measure nearest, bicubic and Lanczos enlargement beside it.",
        rich_help_panel=PANEL,
    ),
]
Pictures = Annotated[
    int,
    typer.Option(
        "--pictures", min=0, max=MOST_PICTURES, help="Images drawn side by side into a PNG.",
        rich_help_panel=PANEL,
    ),
]  # fmt: skip

# By the names of parameters. Options of restoration alone, options it has a use for, and what some others
# would be here.
_OWN = frozenset({"sr_model", "sr", "hr", "lr", "scale", "baselines", "pictures"})
_SHARED = frozenset(
    {
        "samples", "temperature", "metrics", "output", "name", "data_name", "value_range", "data_limit",
        "seed", "skip_broken", "root", "download", "device", "weights_dir", "weights", "cache_dir", "dry_run",
        "as_json",
    }
)  # fmt: skip
_INSTEAD = {
    "data": "give the originals with --hr",
    "model": "name what restores with --sr-model",
    "limit": "limit the originals with --data-limit",
    "num": "say how many restorations of each image with --samples",
    "repeats": "ask for several restorations of each image with --samples",
    "sampling": "give the temperature with --temperature",
    "truncation": "give the temperature with --temperature",
}


def asked_for(context: typer.Context) -> bool:
    """Whether an option that only restoration has was typed; all options are then looked at.

    Raises:
        UsageError: An option was typed that has no place beside them.
    """
    typed = {
        str(parameter.name): parameter.opts[0]
        for parameter in context.command.params
        if _source(context, str(parameter.name)) == "COMMANDLINE"
    }
    own = [name for name in typed if name in _OWN]
    if not own:
        return False
    for name, option in typed.items():
        if name not in _OWN | _SHARED:
            advice = _INSTEAD.get(name, "leave it out")
            raise UsageError(f"{option} does not go with {typed[own[0]]}, which is of restorations: {advice}")
    return True


def refuse_temperature(given: float | None) -> None:
    """Refuses a temperature where no restorations are asked for.

    Raises:
        UsageError: One was given.
    """
    if given is not None:
        raise UsageError(
            f"--temperature {given} is of a model that restores (--sr-model); of one that generates, give "
            f"--sampling temperature={given}"
        )


def _source(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name)
    return "" if source is None else source.name


def arguments(
    context: typer.Context,
    shared: Mapping[str, Any],
    *,
    sr_model: str | None,
    sr: str | None,
    hr: str | None,
    lr: str | None,
    scale: int | None,
    samples: str | None,
    value_range: str,
) -> dict[str, Any]:
    """The arguments of the engine.

    Raises:
        UsageError: Something lacks, or a word is no number.
    """
    if sr is None and sr_model is None and samples is not None and not _is_count(samples):
        raise UsageError(f"--samples {samples}: restorations of originals are given with --sr")
    if hr is None:
        raise UsageError("--hr is missing; give the originals: a folder, archive, data set name …")
    if scale is None:
        raise UsageError("--scale is missing; say how many times as large the originals are: --scale 4")
    if samples is not None and not _is_count(samples):
        raise UsageError(
            f"--samples {samples}: beside --sr and --sr-model it is how many restorations of each image; "
            "write a whole number, such as --samples 10"
        )
    typed = _source(context, "value_range") == "COMMANDLINE"
    if typed and sr is not None:
        raise UsageError("--range belongs to a model, and --sr are images that are there; leave it out")
    return {
        **shared, "sr_model": sr_model, "sr": sr, "hr": hr, "lr": lr, "scale": scale,
        "samples": None if samples is None else int(samples),
        # What restores speaks of [0, 1], unlike what generates.
        "value_range": value_range if typed else "unit",
    }  # fmt: skip


def _is_count(word: str) -> bool:
    digits = word.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(word) < 19


def run(
    asked: Mapping[str, Any], output: Path, *, baselines: bool, pictures: int, dry_run: bool, as_json: bool
) -> None:
    """Measures restorations, files and prints the records, and draws some images side by side."""
    from evalkit.engine import report
    from evalkit.engine.restoration.pictures import draw_side_by_side
    from evalkit.engine.restoration.request import prepare
    from evalkit.engine.restoration.run import needs_restorations, run_restoration
    from evalkit.records.store import slug

    if dry_run:
        _plan(asked, as_json, baselines=baselines)
        return
    # Models are other people's code and may print; standard output is for results.
    with contextlib.redirect_stdout(sys.stderr):
        found = run_restoration(prepare(**asked), output, baselines=baselines)
    every = [records for records in (found.records, *found.baselines) if records]
    if as_json:
        found.check(output)
        print(json.dumps([r.to_dict() for records in every for r in records], indent=1, ensure_ascii=False))
    elif every:
        report.print_records(every[0], output)
        if len(every) > 1:
            report.print_beside(every)
    found.check(output)
    if pictures and found.records and needs_restorations(found.request):  # no records in a helper process
        path = output / "pictures" / f"{slug(found.request.name)}-{slug(found.request.data_name)}.png"
        draw_side_by_side(found.request.pairs, found.restorations, path, images=pictures)
        print(f"drawn in {path}", file=sys.stderr)


def sweep(
    asked: Mapping[str, Any], temperature: str | None, output: Path, *, dry_run: bool, as_json: bool
) -> None:
    """Measures a model's restorations at several temperatures, and draws the curves."""
    from evalkit.engine import report
    from evalkit.engine.restoration import sweep as engine

    if asked["metrics"] is None:
        asked = {**asked, "metrics": engine.USUAL_METRICS}
    if temperature is None:
        raise UsageError("--temperature is missing; say what to sweep over: --temperature 0:1:6")
    temperatures = engine.parse_temperatures(temperature)
    if dry_run:
        _plan(asked, as_json, temperatures=temperatures)
        return
    with contextlib.redirect_stdout(sys.stderr):
        found = engine.sweep_temperature(temperatures, output=output / "records", **asked)
    if not any(found.records):  # a helper process under torchrun
        return
    written = engine.write_temperature_sweep(found, output)
    report.print_sweep(found.to_dict(), found.table(), written, as_json)


def _plan(asked: Mapping[str, Any], as_json: bool, **options: Any) -> None:  # noqa: ANN401
    from evalkit.engine import report
    from evalkit.engine.restoration.plan import plan_restoration

    with contextlib.redirect_stdout(sys.stderr):
        costs = plan_restoration(**options, **asked)
    if as_json:
        print(json.dumps(costs.to_dict(), indent=1, ensure_ascii=False))
        return
    report.print_rows(costs.rows())
    print("\n".join(costs.sentences), file=sys.stderr)
