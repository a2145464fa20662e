"""From what a user asks to what the loop takes: the data, and a task built for them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from evalkit.errors import UsageError, lookup
from evalkit.sources.resolve import resolve
from reference_models.catalog import MODELS, part, presets
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
    recipes = part(run.model, "recipe")
    recipe = lookup_preset(run.model, run.preset, recipes.RECIPES)
    side = run.resolution
    if side is None and run.fit in ("resize", "crop", "pad"):
        side = presets(run.model)[run.preset].generator.img_resolution
    overrides = dict(run.overrides)
    if run.mirror and any(field.name == "mirror" for field in dataclasses.fields(recipe)):
        overrides["mirror"] = True
    if run.evals and run.eval_data is not None:
        resolve(run.eval_data)  # refused now, and not after hours of training
    data = open_data(run.data, fit=run.fit, resolution=side, labels=run.cond)
    try:
        task: Task = recipes.make_task(
            run.preset,
            img_resolution=data.resolution,
            c_dim=data.num_classes,
            kimg=run.kimg,
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
    return Prepared(task, data)
