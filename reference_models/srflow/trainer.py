"""How SRFlow is trained: the likelihood of large images given small ones, by Adam.

Paper: Lugmayr et al. 2020 (arXiv:2006.14200), sections 3.4 and 4.4. Official: andreas128/SRFlow@5a007ad,
code/models/SRFlow_model.py and code/data/LRHR_PKL_dataset.py. Small images are made of the uint8 crops by
MATLAB's bicubic, as its data preparation does. Without a condition the images alone are learned, as Glow does
(Kingma & Dhariwal 2018, arXiv:1807.03039). Differs: the program leaves out a step in which the framework
raises an error, where here training stops at numbers that are not finite, as every training does; where
several processes train, all begin with what the first found of its images for `ActNorm`, where the program
has one process.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from evalkit.errors import UsageError
from evalkit.imaging.resize_matlab import downscale
from reference_models.layers.draws import BatchDraws
from reference_models.layers.flow import ActNorm
from reference_models.srflow import objective
from reference_models.srflow.model import Network
from reference_models.srflow.recipe import Recipe
from reference_models.training.likelihood import LikelihoodTask
from reference_models.training.precision import PrecisionPolicy
from reference_models.training.task import Group, Iteration, Report

# What uniform noise of one level's width makes of levels, (v + u) / 256, has 2^8 levels a unit.
_LEVELS = 256


class Step(NamedTuple):
    """What a step found.

    Attributes:
        loss: What was minimised.
        nll: Mean negative log likelihood in bits a pixel; None where it has no weight.
        l1: Mean absolute error of the sample at temperature 0; None where it has no weight.
    """

    loss: Tensor
    nll: Tensor | None
    l1: Tensor | None


class SRFlowTask(LikelihoodTask):
    """The network and Adam.

    Attributes:
        optimisers: ``G``, with the flow's parameters before the encoder's.
    """

    model = "srflow"
    averaged = False
    recipe: Recipe

    def __init__(self, network: Network, recipe: Recipe) -> None:
        """Takes a network of random weights; its encoder begins with ``encoder_start``, if that is a file.

        Raises:
            UsageError: The recipe asks for what a network without an encoder cannot do.
            CheckpointError: The file of the encoder's weights cannot be read, or does not fit.
        """
        super().__init__(network, recipe)
        self._encoder = network.RRDB if network.config.conditional else None
        if self._encoder is None and (recipe.encoder_start or recipe.encoder == "lazy"):
            raise UsageError(
                "a network without a small image has no encoder; leave encoder and encoder_start out"
            )
        if self._encoder is not None and recipe.encoder_start:
            from reference_models.srflow.convert import read_encoder

            self._encoder.load_state_dict(read_encoder(Path(recipe.encoder_start), network.config))
        of_encoder = [] if self._encoder is None else list(self._encoder.parameters())
        known = {id(parameter) for parameter in of_encoder}
        of_flow = [each for each in network.parameters() if id(each) not in known]
        self._opt = torch.optim.Adam(
            [{"params": part} for part in (of_flow, of_encoder) if part],
            lr=recipe.lr_G,
            betas=recipe.betas,
            foreach=True,  # of some thousand small tensors
        )
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {"G": self._opt}
        self._log_prob = network.log_prob
        self._joined = False

    def set_precision(self, policy: PrecisionPolicy) -> None:
        """Takes float32 alone.

        Raises:
            UsageError: A half type, in which a flow is not the inverse of itself.
        """
        if policy.name != "float32":
            raise UsageError(
                f"{self.model} cannot be trained in {policy.name}: a flow that is rounded so cannot be "
                "undone, and its log-determinants have no digits left; leave --precision out"
            )
        super().set_precision(policy)

    def compile(self) -> None:
        """Compiles the pass from images to latents."""
        self._log_prob = torch.compile(self.network.log_prob)

    def iterate(self, iteration: Iteration) -> Report:
        """One step on one batch."""
        images, config = iteration.feed.reals(self.batch).images, self.network.config
        if self.recipe.mirror:
            coin = torch.rand(len(images), 1, 1, 1, generator=iteration.rng, device=images.device)
            images = torch.where(coin < 0.5, images.flip(3), images)
        lr = None
        if config.conditional:
            small = torch.from_numpy(downscale(images.cpu().numpy(), config.scale))
            lr = small.to(images.device).float() / 255
        hr = images.float() / 255
        if self.recipe.noise:
            noise = BatchDraws(len(images), iteration.rng).uniform(images.shape[1:])
            hr = (images + noise) / _LEVELS
        step = self.step(hr, lr, iteration)
        values: dict[str, Tensor | float] = {"loss/total": step.loss, "lr": self._opt.param_groups[0]["lr"]}
        if step.nll is not None:
            values["loss/nll"] = step.nll
        if step.nll is not None and self.recipe.noise:
            values["loss/bpd"] = objective.bits_per_dim(step.nll, config.img_channels, _LEVELS)
        if step.l1 is not None:
            values["loss/l1"] = step.l1
        return Report(self.batch, values)

    def step(self, hr: Tensor, lr: Tensor | None, iteration: Iteration) -> Step:
        """The step of an iteration.

        Args:
            hr: Large images of this process, ``(n, c, H, W)`` in [0, 1].
            lr: Small ones, ``(n, c, H / scale, W / scale)`` in [0, 1]; None where the network has none.
            iteration: Its place in the training, and the processes.
        """
        recipe, network, group = self.recipe, self.network, iteration.group
        # Evaluations in between turn both off.
        network.train().requires_grad_(True)
        if self._encoder is not None:
            self._encoder.requires_grad_(recipe.trains_encoder_at(iteration.index))
        self._join(hr, lr, group)
        for part in self._opt.param_groups:
            part["lr"] = recipe.lr_at(iteration.index)
        self._opt.zero_grad(set_to_none=True)
        loss, nll, l1 = hr.new_zeros(()), None, None
        if recipe.nll_weight:
            pixels = hr.shape[2] * hr.shape[3]
            nll = objective.bits_per_pixel(self._log_prob(hr, lr), pixels).mean()
            loss = loss + recipe.nll_weight * nll
        if recipe.l1_weight:
            # At temperature 0 nothing of the draws is left.
            mean = network.sample(BatchDraws(len(hr), iteration.rng), lr, 0.0)
            l1 = (mean - hr).abs().mean()
            loss = loss + recipe.l1_weight * l1
        loss.backward()  # type: ignore[no-untyped-call]
        # A frozen encoder has no gradient, and none of zeros either: Adam leaves it alone.
        group.average_gradients([each for each in network.parameters() if each.requires_grad])
        self._opt.step()
        return Step(loss.detach(), *(None if each is None else each.detach() for each in (nll, l1)))

    def _join(self, hr: Tensor, lr: Tensor | None, group: Group) -> None:
        # The first batch initialises ActNorm, unless weights were read that had theirs: whoever resumes, has.
        if self._joined:
            return
        self._joined = True
        waiting = [
            each for each in self.network.modules() if isinstance(each, ActNorm) and not bool(each.bias.any())
        ]
        if not waiting:
            return
        with torch.no_grad():
            self.network.log_prob(hr, lr)
            for norm in waiting:
                for parameter in (norm.bias, norm.logs):
                    # What the first process found: the mean of it and of zeros, times their number.
                    alone = parameter if group.rank == 0 else torch.zeros_like(parameter)
                    parameter.copy_(group.mean(alone) * group.size)


TASK = SRFlowTask
