"""The verb that shows equivariance: ``pictures``."""

from __future__ import annotations

import contextlib
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
    TruncationCutoff,
    TruncationPsi,
    ZDim,
)


def register(app: typer.Typer) -> None:
    """Adds the verb to ``app``."""
    app.command()(pictures)


def pictures(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(help="A model with latents: NAME:PRESET-random, a checkpoint, package.module:factory …"),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the PNGs.")],
    num: Annotated[int, typer.Option(help="Images with error maps.")] = 4,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    truncation: TruncationPsi = 1.0,
    truncation_cutoff: TruncationCutoff = None,
    labels: LabelsOption = None,
    z_dim: ZDim = None,
    value_range: Range = RangeName.signed,
    num_classes: NumClasses = 0,
    device: DeviceOption = Device.auto,
) -> None:
    """Draw where moved inputs and moved images differ, and whether texture sticks to pixels."""
    from evalkit.engine import equivariance_pictures as engine
    from evalkit.engine.progress import reporter

    # Models are other people's code and may print; standard output is for results.
    with contextlib.redirect_stdout(sys.stderr):
        found = engine.pictures(
            model, output, num=num, seed=seed, labels=labels, truncation_psi=truncation,
            truncation_cutoff=truncation_cutoff, z_dim=z_dim, value_range=value_range.value,
            num_classes=num_classes, device=device.value, reference_models=context.obj, reporter=reporter(),
        )  # fmt: skip
    for sentence in found.sentences:
        print(sentence, file=sys.stderr)
    for path in found.paths:
        print(f"written to {path}", file=sys.stderr)
