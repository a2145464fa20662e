"""The verb that looks at frequencies: ``spectrum``."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.options import (
    BatchSize,
    DataLimit,
    Device,
    DeviceOption,
    Download,
    Json,
    LabelsOption,
    Limit,
    ModelOption,
    Num,
    NumClasses,
    Range,
    RangeName,
    Root,
    SamplesOption,
    SkipBroken,
    SubsetSeed,
    TruncationCutoff,
    TruncationPsi,
    ZDim,
)
from evalkit.files import check_writable


def register(app: typer.Typer) -> None:
    """Adds the verb to ``app``."""
    app.command()(spectrum)


def spectrum(
    context: typer.Context,
    data: Annotated[str, typer.Option(help="Real images, square and of one size.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of spectrum.png and spectrum.csv.")],
    samples: SamplesOption = None,
    model: ModelOption = None,
    num: Num = None,
    interpolation: Annotated[
        int, typer.Option(help="Images are padded to so many times their side: a finer grid of frequencies.")
    ] = 4,
    truncation: TruncationPsi = 1.0,
    truncation_cutoff: TruncationCutoff = None,
    labels: LabelsOption = None,
    z_dim: ZDim = None,
    value_range: Range = RangeName.signed,
    num_classes: NumClasses = 0,
    limit: Limit = None,
    data_limit: DataLimit = None,
    subset_seed: SubsetSeed = None,
    seed: Annotated[int, typer.Option(help="First seed of a model or callable.")] = 0,
    skip_broken: SkipBroken = False,
    root: Root = None,
    download: Download = False,
    device: DeviceOption = Device.auto,
    batch_size: BatchSize = 64,
    as_json: Json = False,
) -> None:
    """Draw the average power spectra of real and generated images, with error bands."""
    from evalkit.engine import report
    from evalkit.engine.progress import reporter
    from evalkit.engine.spectrum import spectra, write_spectra

    check_writable(output, "preparing to write into")
    # Models and callables are other people's code and may print; standard output is for results.
    with contextlib.redirect_stdout(sys.stderr):
        found = spectra(
            data=data, samples=samples, model=model, num=num, interpolation=interpolation,
            truncation_psi=truncation, truncation_cutoff=truncation_cutoff, labels=labels, z_dim=z_dim,
            value_range=value_range.value, num_classes=num_classes, limit=limit, data_limit=data_limit,
            subset_seed=subset_seed, seed=seed, skip_broken=skip_broken, root=root, download=download,
            device=device.value, batch_size=batch_size, reference_models=context.obj, reporter=reporter(),
        )  # fmt: skip
    written = write_spectra(found, output)
    if as_json:
        print(json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
    else:
        report.print_rows(found.table())
    for path in written:
        print(f"written to {path}", file=sys.stderr)
