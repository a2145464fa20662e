"""What the loop asks of a model's training, and what it gives to it.

A `Task` owns networks, averages, optimisers and schedules, and does one iteration at a time. The loop owns
data, randomness, processes, checkpoints and logs. Nothing random outlives an iteration: `Iteration.rng` is
seeded
anew from (seed, iteration, rank), so that a resumed run draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from reference_models.training.precision import PrecisionPolicy


class Reals(NamedTuple):
    """Images of the data.

    Attributes:
        images: uint8 ``(n, c, r, r)`` on the device of training.
        labels: One-hot float ``(n, c_dim)``, or None for a model without classes.
    """

    images: Tensor
    labels: Tensor | None


class Feed(Protocol):
    """Where an iteration gets images and labels; this process's share of them."""

    def reals(self, count: int, *, level: int = 0) -> Reals:
        """The next ``count`` images of the data over all processes, of which this one gets its part.

        Args:
            count: Over all processes; a multiple of their number.
            level: Halvings of the resolution, as `data.pyramid` makes them; 0 is full.
        """
        ...

    def labels(self, count: int, rng: torch.Generator) -> Tensor | None:
        """``count`` one-hot labels of this process, drawn from the data; None for a model without classes."""
        ...


class Group(Protocol):
    """The processes that train together."""

    rank: int
    size: int

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces every gradient by its mean over the processes."""
        ...

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the processes; the tensor itself where there is one process."""
        ...

    def average_buffers(self, module: nn.Module, names: Sequence[str]) -> None:
        """Replaces running means, given by the last parts of their names, by their mean over processes."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Iteration:
    """One iteration, as the loop asks for it.

    Attributes:
        index: Iterations before it.
        images: Images of the data that training has seen before it, over all processes.
        feed: Images and labels.
        rng: Source of everything random, on the device of training.
        group: The processes.
    """

    index: int
    images: int
    feed: Feed
    rng: torch.Generator
    group: Group


class Report(NamedTuple):
    """What an iteration did.

    Attributes:
        images: Images of the data it used, over all processes.
        values: Scalars for the log (``loss/G``, ``loss/D``, ``scores/real``, ``ada/p`` ...), as detached
            tensors or floats; the loop averages them between two lines of the log.
    """

    images: int
    values: Mapping[str, Tensor | float]


class Task(Protocol):
    """The training of one model.

    Attributes:
        model: Its name in the catalogue.
        networks: By name, in the order of the checkpoint; ``G_ema`` is the one to sample from: an
            average, or the trained network itself.
        optimisers: By name.
        img_resolution: Side of the images it trains on.
        img_channels: 3, or 1 for grey.
        c_dim: Classes of its labels, 0 without.
        mirror_doubles: Whether mirrored images enter as images of their own (StyleGAN2 and later), or the
            task itself mirrors at random.
        batch: Images of an iteration over all processes where that is fixed; the largest one where a schedule
            says.
    """

    model: str
    networks: Mapping[str, nn.Module]
    optimisers: Mapping[str, torch.optim.Optimizer]
    img_resolution: int
    img_channels: int
    c_dim: int
    mirror_doubles: bool
    batch: int

    def config(self) -> Mapping[str, Any]:
        """All that decides what it computes, as JSON has it: configs of networks and the recipe."""
        ...

    def to(self, device: torch.device) -> None:
        """Moves networks and state, before the first iteration and before anything is restored."""
        ...

    def iterate(self, iteration: Iteration) -> Report:
        """Trains for one iteration."""
        ...

    def numbers(self) -> Mapping[str, float]:
        """State that no network or optimiser holds: ADA's p, the running path length, a schedule's level."""
        ...

    def restore_numbers(self, numbers: Mapping[str, float]) -> None:
        """Takes back what `numbers` returned; networks and optimisers were restored before."""
        ...

    def set_precision(self, policy: PrecisionPolicy) -> None:
        """Sets the type of first-order passes, before the first iteration."""
        ...

    def compile(self) -> None:
        """Compiles the passes of first order with ``torch.compile``."""
        ...


class Score(NamedTuple):
    """One number that an evaluation gave.

    Attributes:
        metric: Its name.
        value: The number.
        interval: 95 % interval, where there is one.
        higher_is_better: Direction.
    """

    metric: str
    value: float
    interval: tuple[float, float] | None
    higher_is_better: bool


class Evaluator(Protocol):
    """Measures a generator while it trains; handed in, since models know no metric."""

    def check(self, metrics: Sequence[str]) -> None:
        """Refuses protocols that cannot be run, before training starts.

        Raises:
            EvalkitError: A name is unknown, or weights are missing.
        """
        ...

    def measure(
        self,
        model: Any,  # noqa: ANN401 - an ``evaluate.Model``
        *,
        metrics: Sequence[str],
        data: Any,  # noqa: ANN401 - what `evalkit.sources.resolve` takes
        num: int | None,
        name: str,
        kimg: float,
        checkpoint_sha256: str,
        output: Path,
    ) -> list[Score]:
        """Measures and files records, which carry ``kimg`` and the digest of the generator's weights.

        Called on every process; the scores come back on each.
        """
        ...
