"""What a training would cost, from a few steps of it: memory, seconds a thousand images, time in all.

Steps are measured at five places spread over the length of training, since growing networks are fast in the
beginning and slow in the end. Nothing is written.
"""

from __future__ import annotations

import json
import time
from typing import NamedTuple

import torch

from reference_models.training import machine
from reference_models.training.config import RunConfig
from reference_models.training.data import DataFeed, TrainingData
from reference_models.training.distributed import ProcessGroup, connect
from reference_models.training.loop import iteration_seed
from reference_models.training.precision import PrecisionPolicy
from reference_models.training.start import check_data
from reference_models.training.task import Iteration, Task

STEPS = 20
_PLACES = 5
_PATIENCE = 60  # seconds; beyond them one step a place has to do


class Estimate(NamedTuple):
    """What a training would cost.

    Attributes:
        parameters: Of each network.
        weights_bytes: Of all networks.
        optimiser_bytes: Of all optimisers.
        peak_bytes: Most that was held while steps were measured: on a GPU by tensors, else by the process.
        s_per_kimg: At places spread over training, the first to the last.
        kimg: Its length.
    """

    parameters: dict[str, int]
    weights_bytes: int
    optimiser_bytes: int
    peak_bytes: int
    s_per_kimg: tuple[float, ...]
    kimg: float

    @property
    def seconds(self) -> float:
        """Expected time of all of it, without evaluations."""
        return self.kimg * sum(self.s_per_kimg) / len(self.s_per_kimg)


def estimate(task: Task, data: TrainingData, run: RunConfig) -> Estimate:
    """Measures `STEPS` steps of a task, of slow ones fewer, which is of no use for training afterwards.

    Raises:
        UsageError: The data are none that the task can learn.
        TrainingError: Memory does not suffice; the message says which batch would fit.
    """
    check_data(task, data, run)
    device = machine.pick_device(run.device)
    with connect(device) as group, machine.numerics(device, deterministic=run.deterministic):
        task.set_precision(PrecisionPolicy(run.precision))
        task.to(device)
        weights = sum(
            value.numel() * value.element_size()
            for net in task.networks.values()
            for value in net.state_dict().values()
        )
        if run.compile:
            task.compile()
        rates = _rates(task, data, run, group, device)
        optimisers = sum(
            value.numel() * value.element_size()
            for optimiser in task.optimisers.values()
            for entry in optimiser.state.values()
            for value in entry.values()
            if isinstance(value, torch.Tensor)
        )
        held = machine.memory(device)
        peak = held.get("memory/gpu_peak_mib", held["memory/rss_mib"])
    parameters = {name: sum(p.numel() for p in net.parameters()) for name, net in task.networks.items()}
    return Estimate(parameters, weights, optimisers, round(peak * 2**20), tuple(rates), run.kimg)


def _rates(
    task: Task, data: TrainingData, run: RunConfig, group: ProcessGroup, device: torch.device
) -> list[float]:
    feed = DataFeed(
        data, seed=run.seed, mirror_doubles=run.mirror and task.mirror_doubles, group=group, device=device,
        channels=task.img_channels,
    )  # fmt: skip
    batch, config, index, rates = max(task.batch // group.size, 1), task.config(), 0, []
    machine.reset_peak(device)
    begun = time.perf_counter()
    for place in range(_PLACES):
        seen, at = 0, int(run.total_images * (place + 0.5) / _PLACES)
        for step in range(1 + STEPS // _PLACES):
            if step == 1:  # the first step at a place is slower: shapes are new
                _wait(device)
                seen, started = 0, time.perf_counter()
            rng = torch.Generator(device)
            rng.manual_seed(iteration_seed(run.seed, index, group.rank))
            with machine.explain_memory(device, config, batch, 0):
                report = task.iterate(Iteration(index=index, images=at, feed=feed, rng=rng, group=group))
            seen, index = seen + report.images, index + 1
            if step and time.perf_counter() - begun > _PATIENCE * (place + 1) / _PLACES:
                break
        _wait(device)
        rates.append((time.perf_counter() - started) / seen * 1000)
    return rates


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe(found: Estimate, task: Task, data: TrainingData, run: RunConfig) -> str:
    """The estimate as lines for a person, with all settings."""
    settings = {"run": run.as_json(), **task.config()}
    rate = sum(found.s_per_kimg) / len(found.s_per_kimg)
    ends = f" ({found.s_per_kimg[0]:.3g} at the start, {found.s_per_kimg[-1]:.3g} at the end)"
    counts = ", ".join(f"{name} {count:,}" for name, count in found.parameters.items())
    classes = f", {data.num_classes} classes" if data.num_classes else ""
    return "\n".join(
        [
            json.dumps(settings, indent=1, sort_keys=True),
            f"data        {data.num:,} images of {data.resolution}x{data.resolution}{classes}",
            f"parameters  {counts}",
            f"memory      {_size(found.weights_bytes)} of weights, {_size(found.optimiser_bytes)} of "
            f"optimisers, {_size(found.peak_bytes)} at the peak",
            f"speed       {rate:.3g} s/kimg{ends}",
            f"time        {_clock(found.seconds)} for {run.kimg:g} kimg, without evaluations",
        ]
    )


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count / 2**10:.1f} KiB"


def _clock(seconds: float) -> str:
    minutes = seconds / 60
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    if minutes < 120:
        return f"{minutes:.1f} minutes"
    return f"{minutes / 60:.1f} hours" if minutes < 48 * 60 else f"{minutes / 60 / 24:.1f} days"
