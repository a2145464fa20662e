"""How ProGAN and StyleGAN are trained: networks that grow with the images, D and G in turn, an averaged G.

Paper: Karras et al. 2018 (arXiv:1710.10196), section 2 and appendix A. Official:
tkarras/progressive_growing_of_gans@2504c3f, train.py; NVlabs/stylegan@1e0d5c7, training/training_loop.py. One
iteration looks up the schedule once and then does ``minibatch_repeats`` rounds: a step of D on fresh images,
the average of G (before G moves), a step of G. Deviation: gradient penalties always run in float32.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evalkit.errors import UsageError
from reference_models.progan import objective
from reference_models.progan.discriminator import Discriminator
from reference_models.progan.generator import Generator
from reference_models.progan.recipe import GrowingRecipe, Recipe
from reference_models.training import ema
from reference_models.training.adversarial import AdversarialTask
from reference_models.training.optimisers import TFAdam
from reference_models.training.schedules import Stage, process_reals, resets
from reference_models.training.task import Iteration, Report

# Running means that every process keeps for itself within an iteration.
_RUNNING = ("dlatent_avg",)


class Losses(NamedTuple):
    """Means over a batch.

    Attributes:
        total: What is minimised.
        values: Parts of it and scores, for the log.
    """

    total: Tensor
    values: Mapping[str, Tensor]


class GrowingTask(AdversarialTask, ABC):
    """A growing generator and its discriminator.

    Attributes:
        optimisers: ``G`` and ``D``.
    """

    mirror_doubles = False
    recipe: GrowingRecipe

    def __init__(self, generator: Any, discriminator: Any, recipe: GrowingRecipe) -> None:  # noqa: ANN401
        """Takes networks of random weights."""
        super().__init__(generator, discriminator, recipe)
        self._log2 = self.img_resolution.bit_length() - 1
        self.batch = recipe.schedule.largest_minibatch
        self._opt = {
            name: TFAdam(
                self.networks[name].parameters(),
                lr=recipe.schedule.G_lrate_base,
                betas=recipe.betas,
                eps=recipe.adam_epsilon,
            )
            for name in ("G", "D")
        }
        self.optimisers: Mapping[str, torch.optim.Optimizer] = dict(self._opt)
        self._lod: float | None = None

    # ------------------------------------------------------------------------------- what models differ in

    @abstractmethod
    def fakes(self, z: Tensor, c: Tensor | None, rng: torch.Generator, lod: float) -> Tensor:
        """Images of G as training sees them."""

    @abstractmethod
    def loss_of_G(self, fakes: Tensor, c: Tensor | None, lod: float) -> Losses:
        """What G minimises."""

    @abstractmethod
    def loss_of_D(
        self, reals: Tensor, fakes: Tensor, c: Tensor | None, rng: torch.Generator, lod: float
    ) -> Losses:
        """What D minimises; ``c`` are the labels of both."""

    # --------------------------------------------------------------------------------------------- state

    def numbers(self) -> Mapping[str, float]:
        """The level of detail of the last iteration (-1 before the first), and the loss scale."""
        return {"lod": -1.0 if self._lod is None else self._lod, **super().numbers()}

    def restore_numbers(self, numbers: Mapping[str, float]) -> None:
        """Takes back what `numbers` returned."""
        super().restore_numbers(numbers)
        self._lod = None if numbers["lod"] < 0 else numbers["lod"]

    def compile(self) -> None:
        """Refuses.

        Raises:
            UsageError: Always: a growing network changes its graph with the level of detail, and D's passes
                are of second order.
        """
        raise UsageError(
            f"--compile: {self.model} grows while it trains and penalises gradients at every step, which no "
            "graph compiled once can hold; leave --compile out"
        )

    # ------------------------------------------------------------------------------------- one iteration

    def iterate(self, iteration: Iteration) -> Report:
        """Rounds of D, average and G, all at one stage of the schedule."""
        recipe, group = self.recipe, iteration.group
        stage = recipe.schedule.at(iteration.images, resolution_log2=self._log2, num_gpus=group.size)
        if resets(self._lod, stage.lod):
            for optimiser in self._opt.values():
                optimiser.reset()
        self._lod = stage.lod
        for name, lrate in (("G", stage.G_lrate), ("D", stage.D_lrate)):
            self._opt[name].param_groups[0]["lr"] = lrate
        self.G.set_lod(stage.lod)
        self.D.set_lod(stage.lod)
        log: dict[str, list[Tensor]] = {}
        for _ in range(recipe.minibatch_repeats):
            for _ in range(recipe.D_repeats):
                self._step_D(iteration, stage, log)
                ema.update(self.G_ema, self.G, recipe.ema_beta_of(stage.minibatch))
            self._step_G(iteration, stage, log)
        for network in (self.G, self.G_ema):
            group.average_buffers(network, _RUNNING)
        values: dict[str, Tensor | float] = {name: torch.stack(each).mean() for name, each in log.items()}
        values |= {"schedule/lod": stage.lod, "schedule/minibatch": float(stage.minibatch)}
        return Report(recipe.minibatch_repeats * recipe.D_repeats * stage.minibatch, values)

    def _step_D(self, iteration: Iteration, stage: Stage, log: dict[str, list[Tensor]]) -> None:
        rng, num = iteration.rng, stage.minibatch // iteration.group.size
        found = iteration.feed.reals(stage.minibatch, level=math.floor(stage.lod))
        mirror = torch.rand(num, generator=rng, device=rng.device) if self.recipe.mirror else None
        reals = process_reals(found.images, stage.lod, mirror)
        z = torch.randn(num, self.G.z_dim, generator=rng, device=rng.device)
        with torch.no_grad(), self.precision.first_order(z.device):
            fakes = self.fakes(z, found.labels, rng, stage.lod)
        self.D.requires_grad_(True)
        self._update("D", self.loss_of_D(reals, fakes.float(), found.labels, rng, stage.lod), iteration, log)
        self.D.requires_grad_(False)

    def _step_G(self, iteration: Iteration, stage: Stage, log: dict[str, list[Tensor]]) -> None:
        rng, num = iteration.rng, stage.minibatch // iteration.group.size
        z = torch.randn(num, self.G.z_dim, generator=rng, device=rng.device)
        labels = iteration.feed.labels(num, rng)
        self.G.requires_grad_(True)
        with self.precision.first_order(z.device):
            losses = self.loss_of_G(self.fakes(z, labels, rng, stage.lod), labels, stage.lod)
        self._update("G", losses, iteration, log)
        self.G.requires_grad_(False)

    def _update(self, name: str, losses: Losses, iteration: Iteration, log: dict[str, list[Tensor]]) -> None:
        optimiser, parameters = self._opt[name], list(self.networks[name].parameters())
        optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(losses.total).backward()  # type: ignore[no-untyped-call]
        iteration.group.average_gradients(parameters)
        if self.scaler.unscale(parameters):
            optimiser.step()
        for key, value in losses.values.items():
            log.setdefault(key, []).append(value.detach().float().mean())


class ProGANTask(GrowingTask):
    """ProGAN's losses in the growing loop."""

    model = "progan"
    G_class, D_class = Generator, Discriminator
    recipe: Recipe

    def fakes(self, z: Tensor, c: Tensor | None, rng: torch.Generator, lod: float) -> Tensor:
        """Images of latents."""
        del rng
        made: Tensor = self.G(z, c, lod=lod)
        return made

    def loss_of_G(self, fakes: Tensor, c: Tensor | None, lod: float) -> Losses:
        """The Wasserstein loss, and the classifier's."""
        found = objective.generator_loss(self.D, fakes, c, cond_weight=self.recipe.cond_weight, lod=lod)
        return Losses(found.total.mean(), {"loss/G": found.total})

    def loss_of_D(
        self, reals: Tensor, fakes: Tensor, c: Tensor | None, rng: torch.Generator, lod: float
    ) -> Losses:
        """The Wasserstein loss, gradient penalty, drift, and the classifier's losses."""
        recipe = self.recipe
        mixing = torch.rand(len(reals), generator=rng, device=rng.device)
        found = objective.discriminator_loss(
            self.D, reals, fakes, mixing, c,
            wgan_lambda=recipe.wgan_lambda, wgan_target=recipe.wgan_target,
            wgan_epsilon=recipe.wgan_epsilon, cond_weight=recipe.cond_weight, lod=lod,
        )  # fmt: skip
        return Losses(
            found.total.mean(),
            {
                "loss/D": found.total,
                "loss/gradient_penalty": found.gradient.penalty,
                "scores/real": found.real_scores,
                "scores/fake": found.fake_scores,
            },
        )


TASK = ProGANTask
