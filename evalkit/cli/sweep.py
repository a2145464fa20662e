"""The verb that follows a model along its truncation or temperature: ``sweep``."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from evalkit.cli import restoration
from evalkit.cli.options import (
    AttributesOption,
    BatchSize,
    CacheDir,
    DataLimit,
    DataName,
    Device,
    DeviceOption,
    Download,
    DryRun,
    Json,
    LabelsOption,
    ModelOption,
    Neighbours,
    Num,
    NumClasses,
    Range,
    RangeName,
    Root,
    SkipBroken,
    SubsetSeed,
    TruncationCutoff,
    WeightsDir,
    WeightsFiles,
    ZDim,
    parse_weights,
)
from evalkit.errors import UsageError


def register(app: typer.Typer) -> None:
    """Adds the verb to ``app``."""
    app.command()(sweep)


def sweep(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of sweep.csv, .json, .png; records/ lies in it.")
    ],
    truncation: Annotated[
        str | None,
        typer.Option(help="Truncation psi: start:stop:count, such as 0.3:1.0:8, or a list, such as 0.3,0.7."),
    ] = None,
    model: ModelOption = None,
    data: Annotated[str | None, typer.Option(help="Real images, or a reference statistics file.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Protocols or groups, with commas; the usual ones need no download.")
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(
            help="With --sr-model: how many restorations of each image.", rich_help_panel=restoration.PANEL
        ),
    ] = None,
    sr_model: restoration.SrModel = None,
    hr: restoration.Hr = None,
    lr: restoration.Lr = None,
    scale: restoration.Scale = None,
    temperature: Annotated[
        str | None,
        typer.Option(
            help="With --sr-model, instead of --truncation: 0:1:6, or a list, such as 0,0.5,0.9.",
            rich_help_panel=restoration.PANEL,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model in tables.")] = None,
    data_name: DataName = None,
    k: Neighbours = None,
    num: Num = None,
    truncation_cutoff: TruncationCutoff = None,
    labels: LabelsOption = None,
    z_dim: ZDim = None,
    value_range: Range = RangeName.signed,
    num_classes: NumClasses = 0,
    attributes: AttributesOption = None,
    data_limit: DataLimit = None,
    subset_seed: SubsetSeed = None,
    seed: Annotated[
        int, typer.Option(help="First seed of the model at every psi, and seed of the bootstrap.")
    ] = 0,
    skip_broken: SkipBroken = False,
    root: Root = None,
    download: Download = False,
    device: DeviceOption = Device.auto,
    batch_size: BatchSize = 64,
    weights_dir: WeightsDir = None,
    weights: WeightsFiles = None,
    cache_dir: CacheDir = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Measure a model at several truncation psi or temperatures, with the same seeds, and draw curves."""
    from evalkit.engine import report
    from evalkit.engine import sweep as engine
    from evalkit.engine.progress import reporter

    shared: dict[str, Any] = {
        "metrics": metrics, "name": name, "data_name": data_name, "data_limit": data_limit, "seed": seed,
        "skip_broken": skip_broken, "reference_models": context.obj, "root": root, "download": download,
        "device": device.value, "weights_dir": weights_dir, "weights": parse_weights(weights or []),
        "cache_dir": cache_dir, "reporter": reporter(),
    }  # fmt: skip
    if restoration.asked_for(context):
        asked = restoration.arguments(
            context, shared, sr_model=sr_model, sr=None, hr=hr, lr=lr, scale=scale, samples=samples,
            value_range=value_range.value,
        )  # fmt: skip
        restoration.sweep(asked, temperature, output, dry_run=dry_run, as_json=as_json)
        return
    if temperature is not None:
        raise UsageError("--temperature is swept over for a model that restores; name it with --sr-model")
    if truncation is None:
        raise UsageError(
            "nothing to sweep over: give --truncation 0.3:1.0:8, or --sr-model and --temperature 0:1:6"
        )
    psis = engine.parse_psis(truncation)
    arguments = {
        **shared, "metrics": engine.USUAL_METRICS if metrics is None else metrics, "samples": samples,
        "model": model, "data": data, "k": k, "num": num, "truncation_cutoff": truncation_cutoff,
        "labels": labels, "z_dim": z_dim, "value_range": value_range.value, "num_classes": num_classes,
        "attributes": attributes, "subset_seed": subset_seed, "batch_size": batch_size,
    }  # fmt: skip
    # Models are other people's code and may print; standard output is for results.
    with contextlib.redirect_stdout(sys.stderr):
        costs = engine.plan_sweep(psis, **arguments) if dry_run else None
        found = None if dry_run else engine.sweep(psis, output=output / "records", **arguments)
    if costs is not None:
        if as_json:
            print(json.dumps(costs.to_dict(), indent=1))
        else:
            report.print_rows(costs.rows())
            print("\n".join((costs.sentence, *costs.problems)), file=sys.stderr)
    if found is None or not any(found.records):  # planned only, or a helper process under torchrun
        return
    written = engine.write_sweep(found, output)
    report.print_sweep(found.to_dict(), found.table(), written, as_json)
