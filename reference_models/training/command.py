"""The verb ``train``. Nothing heavy is imported before it runs."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer


class Fit(str, Enum):
    """How images are brought to the side of the networks."""

    exact = "exact"
    resize = "resize"
    crop = "crop"
    pad = "pad"
    patches = "patches"
    native = "native"


class Precision(str, Enum):
    """Type of first-order passes."""

    float32 = "float32"
    bf16 = "bf16"
    fp16 = "fp16"


def train(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A model of `evalkit list models`: stylegan2, vdvae, srflow …")
    ],
    data: Annotated[str, typer.Option(help="Images to learn: a folder, archive, npz, bundled:digits …")],
    kimg: Annotated[float, typer.Option(help="How long, in thousands of images.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    preset: Annotated[str, typer.Option(help="Networks and recipe: tiny, cifar10, ffhq256 …")] = "tiny",
    resume: Annotated[
        Optional[str],  # noqa: UP045 - typer on Python 3.10 reads this spelling
        typer.Option(help="auto: go on where the folder's run stopped, if there is one; or a checkpoint."),
    ] = None,
    evals: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--eval", help="PROTOCOL@PERIODkimg, or PROTOCOL at snapshots; the first chooses the best."
        ),
    ] = None,
    eval_data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Images to compare with; the data of training if not given."),
    ] = None,
    eval_num: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Samples of an evaluation; the protocol's number if not given."),
    ] = None,
    changes: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set", help="NAME=VALUE of the recipe, generator.NAME, discriminator.NAME or network.NAME."
        ),
    ] = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Use mirrored images as well.")] = False,
    cond: Annotated[bool, typer.Option("--cond", help="Learn the classes of the data.")] = False,
    fit: Annotated[
        Fit,
        typer.Option(
            help="Images that are no square power of two: resize, crop or pad them, or cut patches; native "
            "undoes enlarging."
        ),
    ] = Fit.exact,
    resolution: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Side that images are fitted to; the preset's if not given."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, data order and everything random.")] = 0,
    snapshot: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Thousands of images between two checkpoints; a tenth of --kimg, at most 200."),
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="Checkpoints that stay, beside the best.")] = 3,
    grid: Annotated[int, typer.Option(min=1, help="Samples in a picture.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Type of passes without gradient penalties.")
    ] = Precision.float32,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile with torch.compile.")] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits in every run on the same GPU; slower.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard's files (extra tensorboard).")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print settings, memory and expected time after 20 steps, of slow ones fewer."
        ),
    ] = False,
) -> None:
    """Train a reference model: stop it at any time, and go on with --resume auto.

    Under torchrun its processes share the work.
    """
    from reference_models.training.config import EvalSpec, RunConfig, parse_overrides
    from reference_models.training.distributed import world
    from reference_models.training.start import prepare

    run = RunConfig(
        model=model, preset=preset, data=data, output=str(output), kimg=kimg, seed=seed, fit=fit.value,
        resolution=resolution, mirror=mirror, cond=cond, overrides=parse_overrides(changes or []),
        snapshot_kimg=snapshot, keep=keep, evals=tuple(EvalSpec.parse(each) for each in evals or []),
        eval_data=eval_data, eval_num=eval_num, grid=grid, device=device, precision=precision.value,
        compile=compiled, deterministic=deterministic, tensorboard=tensorboard,
    )  # fmt: skip
    is_main = world()[0] == 0
    if not dry_run and resume is None and is_main:
        from reference_models.training.folder import RunFolder

        RunFolder(output).check_fresh()  # before data are read
    task, images = prepare(run)
    make = getattr(context.obj, "evaluator", None) if run.evals else None
    evaluator = None if make is None else make()
    if dry_run:
        if evaluator is not None:
            evaluator.check([each.metric for each in run.evals])
        from reference_models.training.estimate import describe, estimate

        found = estimate(task, images, run)
        if is_main:
            print(describe(found, task, images, run))
        return
    from reference_models.training.logs import Screen
    from reference_models.training.loop import train as train_task

    result = train_task(task, images, run, resume=resume, evaluator=evaluator, screen=Screen())
    if result.stopped == "SIGINT":
        raise typer.Exit(130)
    if result.stopped is None and is_main:
        best = result.best
        said = "" if best is None else f"; best {best['metric']} {best['value']:.4g} at {best['kimg']:g} kimg"
        print(f"trained for {result.images / 1000:g} kimg: {result.network}{said}", file=sys.stderr)
