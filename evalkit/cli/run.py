"""The verbs that measure: ``run`` and ``ref build``."""

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
    Limit,
    ModelOption,
    Neighbours,
    Num,
    NumClasses,
    PrecisionName,
    Range,
    RangeName,
    Root,
    SamplesOption,
    SamplingOption,
    SkipBroken,
    SubsetSeed,
    TruncationCutoff,
    TruncationPsi,
    WeightsDir,
    WeightsFiles,
    ZDim,
    parse_sampling,
    parse_weights,
)


def register(app: typer.Typer) -> None:
    """Adds the verbs to ``app``."""
    app.command()(run)
    references = typer.Typer(no_args_is_help=True, help="Reference statistics of real images.")
    references.command("build")(ref_build)
    app.add_typer(references, name="ref")


def run(
    context: typer.Context,
    metrics: Annotated[str, typer.Option(help="Protocols or groups, with commas: fid,kid,is,prdc or mini.")],
    samples: SamplesOption = None,
    model: ModelOption = None,
    data: Annotated[str | None, typer.Option(help="Real images, or a reference statistics file.")] = None,
    sr_model: restoration.SrModel = None,
    sr: restoration.Sr = None,
    hr: restoration.Hr = None,
    lr: restoration.Lr = None,
    scale: restoration.Scale = None,
    temperature: restoration.Temperature = None,
    baselines: restoration.Baselines = True,
    pictures: restoration.Pictures = 4,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Results folder; records are added to it.")
    ] = Path("results"),
    name: Annotated[str | None, typer.Option(help="Name of the samples in tables.")] = None,
    data_name: DataName = None,
    layer: Annotated[
        str | None, typer.Option(help="Another layer of the protocols' network, such as 192.")
    ] = None,
    precision: Annotated[
        PrecisionName, typer.Option(help="bfloat16 is faster and another protocol.")
    ] = PrecisionName.float32,
    k: Neighbours = None,
    num: Num = None,
    truncation: TruncationPsi = 1.0,
    truncation_cutoff: TruncationCutoff = None,
    labels: LabelsOption = None,
    z_dim: ZDim = None,
    value_range: Range = RangeName.signed,
    num_classes: NumClasses = 0,
    sampling: SamplingOption = None,
    attributes: AttributesOption = None,
    limit: Limit = None,
    data_limit: DataLimit = None,
    subset_seed: SubsetSeed = None,
    seed: Annotated[
        int, typer.Option(help="First seed of a model or callable, and seed of the bootstrap.")
    ] = 0,
    repeats: Annotated[
        int,
        typer.Option(min=1, help="Measure a model so often, with other seeds, and say how much it moved."),
    ] = 1,
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
    """Measure samples, and file one record a result."""
    from evalkit.engine import report
    from evalkit.engine.progress import reporter
    from evalkit.engine.repeats import repeat, spreads
    from evalkit.engine.run import plan

    shared: dict[str, Any] = {
        "metrics": metrics, "name": name, "data_name": data_name, "data_limit": data_limit, "seed": seed,
        "skip_broken": skip_broken, "reference_models": context.obj, "root": root, "download": download,
        "device": device.value, "weights_dir": weights_dir, "weights": parse_weights(weights or []),
        "cache_dir": cache_dir, "reporter": reporter(),
    }  # fmt: skip
    if restoration.asked_for(context):
        asked = restoration.arguments(
            context, {**shared, "temperature": temperature}, sr_model=sr_model, sr=sr, hr=hr, lr=lr,
            scale=scale, samples=samples, value_range=value_range.value,
        )  # fmt: skip
        restoration.run(
            asked, output, baselines=baselines, pictures=pictures, dry_run=dry_run, as_json=as_json
        )
        return
    restoration.refuse_temperature(temperature)
    arguments = {
        **shared, "samples": samples, "model": model, "data": data, "layer": layer,
        "precision": precision.value, "k": k, "num": num, "limit": limit, "subset_seed": subset_seed,
        "truncation_psi": truncation, "truncation_cutoff": truncation_cutoff, "labels": labels,
        "z_dim": z_dim, "value_range": value_range.value, "num_classes": num_classes,
        "sampling": parse_sampling(sampling or []), "attributes": attributes, "batch_size": batch_size,
    }  # fmt: skip
    # Models and callables are other people's code and may print; standard output is for results.
    with contextlib.redirect_stdout(sys.stderr):
        costs = plan(**arguments) if dry_run else None
        runs = [] if dry_run else repeat(repeats, output=output, **arguments)
    if costs is not None:
        if as_json:
            print(json.dumps(costs.to_dict(), indent=1))
        else:
            report.print_plan(costs, repeats)
        return
    records = [record for records in runs for record in records]
    if as_json:
        print(json.dumps([record.to_dict() for record in records], indent=1, ensure_ascii=False))
        return
    for each in runs:
        if each:
            report.print_records(each, output)
    if repeats > 1 and records:
        report.print_spreads(spreads(runs))


def ref_build(
    data: Annotated[str, typer.Argument(help="Real images: a folder, archive, npz, data set name …")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The npz to write.")],
    protocol: Annotated[str, typer.Option(help="Protocol the statistics are for.")] = "fid",
    layer: Annotated[str | None, typer.Option(help="Another layer of the protocol's network.")] = None,
    precision: Annotated[
        PrecisionName, typer.Option(help="Type of weights and activations.")
    ] = PrecisionName.float32,
    limit: Annotated[int | None, typer.Option(help="Use so many of the images.")] = None,
    subset_seed: Annotated[
        int | None, typer.Option(help="Draw the limited ones at random by this seed.")
    ] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave unreadable images out.")] = False,
    root: Annotated[Path | None, typer.Option(help="Folder of torchvision data sets.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow a data set to be downloaded.")] = False,
    device: DeviceOption = Device.auto,
    batch_size: BatchSize = 64,
    weights_dir: WeightsDir = None,
    weights: WeightsFiles = None,
    cache_dir: CacheDir = None,
) -> None:
    """Write the mean and covariance of real images' features, for use as --data."""
    from evalkit.engine.progress import reporter
    from evalkit.engine.reference import build_reference

    header = build_reference(
        data, output, protocol=protocol, layer=layer, precision=precision.value, limit=limit,
        subset_seed=subset_seed, skip_broken=skip_broken, root=root, download=download, device=device.value,
        batch_size=batch_size, weights_dir=weights_dir, weights=parse_weights(weights or []),
        cache_dir=cache_dir, reporter=reporter(),
    )  # fmt: skip
    print(f"{output}: {header['num']:,} images, protocol {header['protocol']}", file=sys.stderr)
