"""The verb that looks at a model: ``sample``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.options import (
    Device,
    DeviceOption,
    LabelsOption,
    NumClasses,
    Range,
    RangeName,
    SamplingOption,
    TruncationCutoff,
    TruncationPsi,
    ZDim,
    parse_sampling,
    parse_seeds,
)


def register(app: typer.Typer) -> None:
    """Adds the verb to ``app``."""
    app.command()(sample)


def sample(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="NAME:PRESET-random, a checkpoint, package.module:factory …")],
    num: Annotated[
        int | None,
        typer.Option("-n", "--num", help="How many images; as many as there are seeds if not given."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0-63 or 1,5,9.")] = "0-",
    grid: Annotated[Path | None, typer.Option(help="Draw them into one PNG.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder for PNGs, or a file ending in .npz.")
    ] = None,
    truncation: TruncationPsi = 1.0,
    truncation_cutoff: TruncationCutoff = None,
    labels: LabelsOption = None,
    z_dim: ZDim = None,
    value_range: Range = RangeName.signed,
    num_classes: NumClasses = 0,
    settings: SamplingOption = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Sample a model: a grid to look at, or images to keep."""
    from evalkit.engine import sampling
    from evalkit.engine.progress import reporter

    chosen = parse_seeds(seeds, num)
    sampling.check_targets(grid, output)
    made = sampling.sample(
        model, chosen, labels=labels, truncation_psi=truncation, truncation_cutoff=truncation_cutoff,
        z_dim=z_dim, value_range=value_range.value, num_classes=num_classes,
        settings=parse_sampling(settings or []), device=device.value,
        reference_models=context.obj, reporter=reporter(),
    )  # fmt: skip
    for path in sampling.write(made, chosen, grid=grid, output=output):
        print(f"written to {path}", file=sys.stderr)
