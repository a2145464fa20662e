"""What a plan will cost: images still to compute, arithmetic, disk, and time by a measured forward pass."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from evalkit.engine.plan import Measurement, Plan, Step
from evalkit.errors import WeightsError
from evalkit.features.base import Extractor
from evalkit.features.catalog import EXTRACTORS
from evalkit.features.store import FeatureTable

Open = Callable[[Step], tuple[Extractor, dict[str, FeatureTable]]]


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
class Costs:
    """A plan with its cost."""

    measurements: tuple[Measurement, ...]
    steps: tuple[StepCost, ...]

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
        }


def estimate_costs(plan: Plan, open_step: Open) -> Costs:
    """Costs of every step of ``plan``; a network without weights is reported, not refused."""
    return Costs(measurements=plan.measurements, steps=tuple(_cost(step, open_step) for step in plan.steps))


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
