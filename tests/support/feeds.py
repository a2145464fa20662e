"""Images for tasks that a test trains: random ones, always the same."""

from __future__ import annotations

import numpy as np
import torch
from groups import Alone
from torch import Tensor

from reference_models.training.schedules import pyramid
from reference_models.training.task import Iteration, Reals, Report, Task


class RandomImages:
    """A feed of random images, of which one can ask any part; position counts what was served."""

    def __init__(self, resolution: int, c_dim: int = 0, num: int = 64) -> None:
        rng = np.random.default_rng(0)
        images = torch.from_numpy(rng.integers(0, 256, (num, 3, resolution, resolution)).astype(np.uint8))
        self.levels, self.c_dim, self.position = pyramid(images), c_dim, 0
        self.classes = torch.from_numpy(rng.integers(0, max(c_dim, 1), num))

    def _one_hot(self, classes: Tensor) -> Tensor | None:
        return torch.nn.functional.one_hot(classes, self.c_dim).float() if self.c_dim else None

    def reals(self, count: int, *, level: int = 0) -> Reals:
        at = (self.position + torch.arange(count)) % len(self.classes)
        self.position += count
        return Reals(self.levels[level][at], self._one_hot(self.classes[at]))

    def labels(self, count: int, rng: torch.Generator) -> Tensor | None:
        return self._one_hot(self.classes[torch.randint(len(self.classes), (count,), generator=rng)])


def train(task: Task, feed: RandomImages, iterations: range, images: int = 0) -> list[Report]:
    """Iterations as the loop runs them: randomness anew in each."""
    reports = []
    for index in iterations:
        rng = torch.Generator().manual_seed(1000 + index)
        found = task.iterate(Iteration(index=index, images=images, feed=feed, rng=rng, group=Alone()))
        images += found.images
        reports.append(found)
    return reports
