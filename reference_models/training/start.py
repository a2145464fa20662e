"""From what a user asks to what the loop takes: the data, and a task built for them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from evalkit.errors import UsageError, lookup
from evalkit.sources.resolve import resolve
from reference_models.catalog import MODELS, make_task, part, presets
from reference_models.presets import lookup_preset
from reference_models.training.config import RunConfig
from reference_models.training.data import TrainingData, open_data
from reference_models.training.distributed import world
from reference_models.training.task import Task


class Prepared(NamedTuple):
    """What `loop.train` takes.

    Attributes:
        task: With random weights, on the CPU.
        data: Images of its side.
    """

    task: Task
    data: TrainingData


def prepare(run: RunConfig) -> Prepared:
    """Opens the data of a run, and builds its task for them.

    Raises:
        UsageError: A name or a value is none that can be; the nearest names are offered.
        SourceError: The data, or those of evaluations, cannot be read, or do not fit.
    """
    lookup(run.model, MODELS, "model")
    recipe = lookup_preset(run.model, run.preset, part(run.model, "recipe").RECIPES)
    side = run.resolution
    if side is None and run.fit in ("resize", "crop", "pad", "patches"):
        side = presets(run.model)[run.preset].sampled.img_resolution
    overrides = dict(run.overrides)
    if run.mirror and any(field.name == "mirror" for field in dataclasses.fields(recipe)):
        overrides["mirror"] = True
    if run.evals and run.eval_data is not None:
        resolve(run.eval_data)  # refused now, and not after hours of training
    data = open_data(run.data, fit=run.fit, resolution=side, labels=run.cond)
    try:
        task = make_task(
            run.model,
            run.preset,
            img_resolution=data.resolution,
            c_dim=data.num_classes,
            seed=run.seed,
            num_gpus=world()[1],
            overrides=overrides,
        )
    except (TypeError, ValueError, AttributeError) as error:
        given = " ".join(f"--set {name}={value}" for name, value in overrides.items())
        raise UsageError(
            f"{run.model}, {run.preset}, cannot be built with {given or 'these settings'}: {error}; give "
            "values of the types that `evalkit train … --dry-run` prints"
        ) from error
    check_evals(task, run)
    return Prepared(task, data)


def check_evals(task: Task, run: RunConfig) -> None:
    """Refuses evaluations of images that nobody can draw from seeds.

    Raises:
        UsageError: The model restores images that it is given, and draws none by itself.
    """
    if not run.evals:
        return
    model = part(task.model, "evaluate").Model(task.networks["G_ema"], name=task.model)
    if not hasattr(model, "sample"):
        raise UsageError(
            f"--eval {run.evals[0]} measures images that a model draws from seeds, and {task.model} restores "
            "images that it is given; train without --eval, and measure the network afterwards with `evalkit "
            "run --sr-model`"
        )


def check_data(task: Task, data: TrainingData, run: RunConfig) -> None:
    """Refuses data that a task cannot learn.

    Raises:
        UsageError: They have another side, or are fewer than a batch.
    """
    if data.resolution != task.img_resolution:
        raise UsageError(
            f"{run.data} has images of {data.resolution}x{data.resolution}, and {task.model} was built for "
            f"{task.img_resolution}x{task.img_resolution}; build it for the side of the data"
        )
    num = data.num * (2 if run.mirror and task.mirror_doubles else 1)
    if num < task.batch:
        raise UsageError(
            f"{run.data} has {num} images{' with mirrored ones' if num != data.num else ''}, fewer than a "
            f"batch of {task.batch}; give more images, or a smaller batch (--set batch={num} or "
            "schedule.minibatch_base)"
        )
