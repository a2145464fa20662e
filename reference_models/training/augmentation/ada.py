"""The controller of adaptive augmentation: how strongly images are augmented, from the discriminator's signs.

Paper: Karras et al. 2020 (arXiv:2006.06676), section 3.1, the heuristic r_t = E[sign(D(x))] on training
images. Official: NVlabs/stylegan3@c233a91, training/training_loop.py. Differs: nothing. The strength is held
in float32, as it is there, so that the same signs give the same strength to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from evalkit.errors import UsageError
from reference_models.layers.checks import check_positive, check_whole
from reference_models.training.task import Group

_WHAT = "adaptive augmentation"


class AdaController:
    """Moves the strength by a fixed step toward the target, every few iterations.

    Attributes:
        p: The strength: 0 augments nothing; there is no upper limit.
    """

    def __init__(
        self, *, p: float = 0.0, target: float = 0.6, interval: int = 4, kimg: float = 500.0
    ) -> None:
        """Starts at a strength.

        Args:
            p: The strength.
            target: Mean sign of the logits of real images that it is steered to.
            interval: Iterations between two adjustments.
            kimg: Thousands of images in which it can go from 0 to 1.

        Raises:
            UsageError: A number is out of its range.
        """
        check_whole(_WHAT, "interval", interval, 1)
        check_positive(_WHAT, "kimg", kimg)
        if not 0 <= p < float("inf"):
            raise UsageError(f"{_WHAT}: p is {p}; give 0 or more")
        if not -1 <= target <= 1:
            raise UsageError(f"{_WHAT}: target is {target}; give a mean sign from -1 to 1")
        self.p = float(np.float32(p))
        self._target, self._interval, self._kimg = target, interval, kimg
        self._seen: Tensor | None = None  # sum of signs and their number, of this process and iteration
        self._totals = torch.zeros(2, dtype=torch.float64)  # the same over all processes and iterations
        self._iterations = 0

    @torch.no_grad()
    def observe(self, real_logits: Tensor) -> None:
        """Takes in the logits of real images, of any shape, from any pass of this iteration."""
        signs = real_logits.detach().sign()
        found = torch.stack([signs.sum(dtype=torch.float64), torch.ones_like(signs).sum(dtype=torch.float64)])
        self._seen = found if self._seen is None else self._seen + found

    def adjust(self, batch: int, group: Group) -> None:
        """Ends an iteration; every ``interval`` of them the strength moves.

        Args:
            batch: Images of an iteration, over all processes.
            group: The processes; all call this together.
        """
        # Gathered in every iteration: between two of them all processes hold the same state.
        if self._seen is not None:
            mean = group.mean(self._seen)
            self._totals, self._seen = self._totals.to(mean.device) + mean, None
        self._iterations += 1
        if self._iterations < self._interval:
            return
        total, count = self._totals.tolist()
        self._totals, self._iterations = torch.zeros(2, dtype=torch.float64), 0
        if count > 0:
            towards = float(np.sign(total / count - self._target))
            step = np.float32(towards * (batch * self._interval) / (self._kimg * 1000))
            self.p = float(max(np.float32(self.p) + step, np.float32(0)))

    def numbers(self) -> Mapping[str, float]:
        """Its state between two iterations, the same on all processes."""
        total, count = self._totals.tolist()
        return {"p": self.p, "signs": total, "logits": count, "iterations": float(self._iterations)}

    def restore_numbers(self, numbers: Mapping[str, float]) -> None:
        """Takes back what `numbers` returned."""
        self.p, self._seen = numbers["p"], None
        self._totals = torch.tensor([numbers["signs"], numbers["logits"]], dtype=torch.float64)
        self._iterations = int(numbers["iterations"])
