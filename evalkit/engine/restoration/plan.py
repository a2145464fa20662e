"""What an evaluation of restorations will cost, without making any: what is to do, and what is on file."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.engine.restoration.request import (
    RestorationArguments,
    RestorationRequest,
    at_temperature,
    baselines_of,
    prepare,
)
from evalkit.engine.restoration.run import load_judges, needs_restorations, open_probes
from evalkit.engine.restoration.samples import ModelRestorations, restorations_of
from evalkit.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from evalkit.engine.restoration.run import Judges


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RestorationCost:
    """One step: restorations that a model makes, or their comparison with the originals.

    Attributes:
        of: Name of the restorations.
        step: What is done.
        num: How often.
        num_stored: How many of these are on file.
        seconds: Estimated time, from one restoration of a small image; None of comparisons.
    """

    of: str
    step: str
    num: int
    num_stored: int
    seconds: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RestorationPlan:
    """What will be measured, and what it takes.

    Attributes:
        data: Name of the originals, with the scale.
        num_images: Originals.
        samples_per_image: Restorations of each.
        protocols: What will be measured.
        steps: What has to be done for it.
        inapplicable: Names of protocols that do not apply, with the reason.
        problems: What is missing, such as weights.
        notes: How the images were read and paired.
    """

    data: str
    num_images: int
    samples_per_image: int
    protocols: tuple[str, ...]
    steps: tuple[RestorationCost, ...]
    inapplicable: dict[str, str]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    def rows(self) -> list[dict[str, str]]:
        """The steps for print."""
        return [
            {
                "restorations": step.of,
                "step": step.step,
                "to do": f"{step.num - step.num_stored:,}",
                "on file": f"{step.num_stored:,}",
                "time": "" if step.seconds is None else f"{step.seconds:.0f} s",
            }
            for step in self.steps
        ]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What will be measured, and what stands in the way."""
        each = "1 restoration" if self.samples_per_image == 1 else f"{self.samples_per_image} restorations"
        return (
            f"will measure {', '.join(self.protocols) or 'nothing'}: {self.data}, {self.num_images:,} "
            f"images, {each} of each",
            *(f"not applicable: {name}: {why}" for name, why in self.inapplicable.items()),
            *self.problems,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return dataclasses.asdict(self)


def plan_restoration(
    *,
    baselines: bool = True,
    temperatures: Sequence[float] = (),
    **arguments: Unpack[RestorationArguments],
) -> RestorationPlan:
    """What `evaluate_restoration`, or a sweep over ``temperatures``, would do; nothing is filed.

    Args:
        baselines: Whether the baselines are part of it.
        temperatures: The points of a sweep; none of a single evaluation.
        **arguments: As `evaluate_restoration`.

    Raises:
        EvalkitError: The request cannot be run; weights that lack are among the problems instead.
    """
    request = prepare(**arguments)
    if temperatures and request.model is None:
        raise UsageError("a sweep over temperatures asks a model for restorations; name it with --sr-model")
    judges, failures = load_judges(request)
    steps: list[RestorationCost] = []
    for asked in _all(request, baselines, temperatures, arguments.get("name")):
        steps += _costs(asked, judges)
    return RestorationPlan(
        data=request.data_name,
        num_images=len(request.pairs),
        samples_per_image=request.num_samples,
        protocols=tuple(spec.name for spec in request.measured),
        steps=tuple(steps),
        inapplicable=dict(request.inapplicable),
        problems=tuple(dict.fromkeys(map(str, failures))),
        notes=request.pairs.notes,
    )


def _all(
    request: RestorationRequest, baselines: bool, temperatures: Sequence[float], name: str | None
) -> Iterator[RestorationRequest]:
    if temperatures:
        label = name or str(request.model.name)
        yield from (at_temperature(request, each, label) for each in temperatures)
        return
    yield request
    if baselines:
        yield from baselines_of(request)


def _costs(request: RestorationRequest, judges: Judges) -> Iterator[RestorationCost]:
    restorations = restorations_of(request)
    if isinstance(restorations, ModelRestorations) and needs_restorations(request):
        missing = restorations.missing()
        to_do = sum(len(samples) for _, samples in missing)
        num = len(request.pairs) * restorations.distinct
        yield RestorationCost(
            of=request.name, step="restore", num=num, num_stored=num - to_do,
            seconds=_seconds(request, restorations, missing) if to_do else 0.0,
        )  # fmt: skip
    for ready in open_probes(request, restorations, judges):
        tables = list(ready.tables.values())
        left = {shard for table in tables for shard in table.missing()}
        rows = ready.probe.num_rows
        lacking = min(rows, sum(len(tables[0].shard_range(shard)) for shard in left))
        yield RestorationCost(
            of=request.name, step=ready.probe.name, num=rows, num_stored=rows - lacking, seconds=None
        )


def _seconds(
    request: RestorationRequest, restorations: ModelRestorations, missing: Sequence[tuple[int, list[int]]]
) -> float:
    # One restoration of a small image, by the pixels of all that are to be made.
    sizes = {image: request.pairs.lr(image).size for image, _ in missing}
    smallest = min(sizes, key=sizes.__getitem__)
    restorations.ask(smallest, [0])  # the first time is slower than all others
    started = time.perf_counter()
    restorations.ask(smallest, [0])
    each = (time.perf_counter() - started) / sizes[smallest]
    return float(each * np.sum([sizes[image] * len(samples) for image, samples in missing]))
