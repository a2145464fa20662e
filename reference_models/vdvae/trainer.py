"""How VDVAE is trained: its bound by AdamW, with clipped gradients, steps left out, and an averaged network.

Paper: Child 2021 (arXiv:2011.10650), section 4 (gradient skipping). Official: openai/vdvae@ea35b49, train.py
and train_helpers.py. Differs: a loss scale that overflows (``fp16``, which the program does not have) leaves
a step out as well; after `PATIENCE` steps left out in a row, numbers that are not finite reach the log, at
which training stops, where the program would go on for ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from reference_models.layers.draws import BatchDraws
from reference_models.training import ema
from reference_models.training.likelihood import LikelihoodTask
from reference_models.training.optimisers import clip_gradients
from reference_models.training.task import Iteration, Report
from reference_models.vdvae import objective
from reference_models.vdvae.model import Network
from reference_models.vdvae.recipe import Recipe

# Steps left out in a row that count as accidents.
PATIENCE = 100


class VDVAETask(LikelihoodTask):
    """The network, its average, and AdamW.

    Attributes:
        optimisers: ``G``.
        skipped: Steps that were left out so far.
        skipped_in_a_row: The last of them, since a step was made.
    """

    model = "vdvae"
    averaged = True
    recipe: Recipe

    def __init__(self, network: Network, recipe: Recipe) -> None:
        """Takes a network of random weights."""
        super().__init__(network, recipe)
        self._opt = torch.optim.AdamW(
            network.parameters(),
            lr=recipe.lr,
            betas=(recipe.adam_beta1, recipe.adam_beta2),
            eps=1e-8,
            weight_decay=recipe.wd,
            fused=True,
        )
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {"G": self._opt}
        self.skipped, self.skipped_in_a_row = 0, 0

    def numbers(self) -> Mapping[str, float]:
        """How many steps were left out, and the loss scale."""
        return {
            "skipped": float(self.skipped),
            "skipped_in_a_row": float(self.skipped_in_a_row),
            **super().numbers(),
        }

    def restore_numbers(self, numbers: Mapping[str, float]) -> None:
        """Takes back what `numbers` returned."""
        super().restore_numbers(numbers)
        self.skipped, self.skipped_in_a_row = int(numbers["skipped"]), int(numbers["skipped_in_a_row"])

    def iterate(self, iteration: Iteration) -> Report:
        """One step on one batch, or none where its gradient is too long."""
        images = iteration.feed.reals(self.batch).images
        eps = self.network.draw(BatchDraws(len(images), iteration.rng))
        config = self.network.config
        step = self.step(objective.inputs(images, config), objective.targets(images, config), eps, iteration)
        values: dict[str, Tensor | float] = {
            "loss/elbo": step.distortion + step.rate,
            "loss/distortion": step.distortion,
            "loss/rate": step.rate,
            "grad/norm": step.grad_norm,
        }
        if step.skipped and self.skipped_in_a_row <= PATIENCE:
            values = {name: value for name, value in values.items() if math.isfinite(value)}
        values |= {"grad/skipped": float(step.skipped), "lr": self._opt.param_groups[0]["lr"]}
        return Report(self.batch, values)

    def step(self, x: Tensor, target: Tensor, eps: list[Tensor], iteration: Iteration) -> Step:
        """The step of an iteration.

        Args:
            x: Images of this process as the encoder sees them, `objective.inputs`.
            target: As the likelihood sees them, `objective.targets`.
            eps: Of `Network.draw`.
            iteration: Its place in the training, and the processes.
        """
        config, group = self.network.config, iteration.group
        parameters = list(self.network.parameters())
        self._opt.param_groups[0]["lr"] = self.recipe.lr_at(iteration.index)
        self._opt.zero_grad(set_to_none=True)
        with self.precision.first_order(x.device):
            output = self._compiled(x, eps)
        found = objective.terms(output, target, config)
        distortion, rate = found.distortion.mean(), found.rate.mean()
        self.scaler.scale(distortion + rate).backward()  # type: ignore[no-untyped-call]
        group.average_gradients(parameters)
        # NaN of one process makes the mean NaN in all of them, so that all decide alike.
        parts = group.mean(torch.stack([distortion, rate]).detach())
        sound = self.scaler.unscale(parameters) and not bool(parts.isnan().any())
        norm = clip_gradients(parameters, self.recipe.grad_clip)
        limit = self.recipe.skip_threshold
        sound = sound and (limit == -1 or bool(norm < limit))
        if sound:
            self._opt.step()
            ema.update(self.G_ema, self.network, self.recipe.ema_rate)
            self.skipped_in_a_row = 0
        else:
            self.skipped, self.skipped_in_a_row = self.skipped + 1, self.skipped_in_a_row + 1
        return Step(parts[0], parts[1], norm, not sound)


class Step(NamedTuple):
    """What a step found.

    Attributes:
        distortion: Mean over the batch, in nats a dimension.
        rate: Likewise.
        grad_norm: Norm of the gradient before it was shortened.
        skipped: Whether nothing was changed.
    """

    distortion: Tensor
    rate: Tensor
    grad_norm: Tensor
    skipped: bool


TASK = VDVAETask
