"""What a plan will cost: images still to compute, arithmetic, disk, and time by a measured forward pass."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from evalkit.engine.model_steps import OpenStep, seconds_per_row
from evalkit.engine.plan import Measurement, ModelStep, Plan, Step
from evalkit.errors import WeightsError
from evalkit.features.base import Extractor
from evalkit.features.catalog import EXTRACTORS
from evalkit.features.store import FeatureTable

Open = Callable[[Step], tuple[Extractor, dict[str, FeatureTable]]]
OpenModel = Callable[[ModelStep], OpenStep]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StepCost:
    """The cost of one pass of images through a network.

    Attributes:
        step: The pass.
        num_stored: Images whose features are on file.
        gmac: Multiply-accumulates still to do, in units of 1e9.
        megabytes: Size of the features on disk when all are there.
        seconds: Estimated time, from one measured batch; None where the network could not be loaded.
        problem: Why the network could not be loaded.
    """

    step: Step
    num_stored: int
    gmac: float
    megabytes: float
    seconds: float | None
    problem: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelStepCost:
    """The cost of one step of draws of a model.

    Attributes:
        name: What it serves.
        num_rows: Draws.
        num_stored: Draws whose rows are on file.
        images: Images the model has still to make, or to judge.
        megabytes: Size of the rows on disk when all are there.
        seconds: Estimated time, from one measured group of draws; None where something could not be loaded.
        problem: Why it could not be loaded.
    """

    name: str
    num_rows: int
    num_stored: int
    images: int
    megabytes: float
    seconds: float | None
    problem: str | None = None

    @property
    def sentence(self) -> str:
        """What it costs, in words."""
        took = "" if self.seconds is None else f", about {_duration(self.seconds)}"
        return (
            f"{self.name}: {self.num_rows - self.num_stored:,} rows to compute, {self.images:,} images "
            f"through the model{took}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """A plan with its cost.

    Attributes:
        measurements: What will be measured.
        steps: Passes of images through networks.
        model_steps: Draws of the model.
        inapplicable: Names of protocols that do not apply to the model, with the reason.
    """

    measurements: tuple[Measurement, ...]
    steps: tuple[StepCost, ...]
    model_steps: tuple[ModelStepCost, ...] = ()
    inapplicable: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "measurements": [
                {
                    "protocol": m.spec.id,
                    "values": list(m.spec.values),
                    "num_fake": m.num_fake,
                    "num_real": m.num_real,
                }
                for m in self.measurements
            ],
            "steps": [dataclasses.asdict(cost) for cost in self.steps],
            "model_steps": [dataclasses.asdict(cost) for cost in self.model_steps],
            "inapplicable": [{"protocol": name, "reason": why} for name, why in self.inapplicable],
        }


def estimate_costs(plan: Plan, open_step: Open, open_model_step: OpenModel) -> Costs:
    """Costs of every step of ``plan``; a network without weights is reported, not refused."""
    return Costs(
        measurements=plan.measurements,
        steps=tuple(_cost(step, open_step) for step in plan.steps),
        model_steps=tuple(_model_cost(step, open_model_step) for step in plan.model_steps),
        inapplicable=tuple((spec.name, why) for spec, why in plan.inapplicable),
    )


def model_step_cost(ready: OpenStep) -> ModelStepCost:
    """The cost of a step that is open: what is on file costs nothing, and one group is timed."""
    table = next(iter(ready.tables.values()))
    missing = {shard for each in ready.tables.values() for shard in each.missing()}
    to_do = min(ready.step.num_rows, sum(len(table.shard_range(shard)) for shard in missing))
    return ModelStepCost(
        name=_names(ready.step),
        num_rows=ready.step.num_rows,
        num_stored=ready.step.num_rows - to_do,
        images=to_do * ready.probe.passes,
        megabytes=ready.step.num_rows * 4e-6 * sum(ready.probe.layers.values()),
        seconds=to_do * seconds_per_row(ready) if to_do else 0.0,
    )


def _model_cost(step: ModelStep, open_model_step: OpenModel) -> ModelStepCost:
    try:
        ready = open_model_step(step)
    except WeightsError as error:
        return ModelStepCost(
            name=_names(step), num_rows=step.num_rows, num_stored=0, images=0, megabytes=0.0, seconds=None,
            problem=str(error),
        )  # fmt: skip
    return model_step_cost(ready)


def _names(step: ModelStep) -> str:
    return ", ".join(spec.name for spec in step.specs)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _cost(step: Step, open_step: Open) -> StepCost:
    info = EXTRACTORS[step.extractor]
    megabytes = step.num_images * 4e-6 * sum(info.layers[layer] for layer in step.layers)
    try:
        extractor, tables = open_step(step)
    except WeightsError as error:
        gmac = info.gmac * step.num_images
        return StepCost(
            step=step, num_stored=0, gmac=gmac, megabytes=megabytes, seconds=None, problem=str(error)
        )
    table = next(iter(tables.values()))
    missing = {shard for each in tables.values() for shard in each.missing()}
    to_do = min(step.num_images, sum(len(table.shard_range(shard)) for shard in missing))
    seconds = to_do * _seconds_per_image(extractor) if to_do else 0.0
    return StepCost(
        step=step,
        num_stored=step.num_images - to_do,
        gmac=info.gmac * to_do,
        megabytes=megabytes,
        seconds=seconds,
    )


def _seconds_per_image(extractor: Extractor) -> float:
    side = extractor.info.input_size
    image = np.random.default_rng(0).integers(0, 256, (3, side, side), dtype=np.uint8)
    batch = [image] * extractor.micro_batch
    extractor(batch)
    started = time.perf_counter()
    extractor(batch)
    return (time.perf_counter() - started) / len(batch)
