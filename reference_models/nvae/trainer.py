"""How NVAE is trained: its bound with a balanced KL, and norms of its layers, by Adamax.

Paper: Vahdat & Kautz 2020 (arXiv:2007.03898), section 3 and appendix A. Official: NVlabs/NVAE@9fc1a28,
train.py and thirdparty/adamax.py, whose steps are those of torch's Adamax at the same epsilon. No average is
kept. Differs: where cells initialise themselves by the first batch (``res_elu``), processes take the mean of
what each found; the type of passes is asked for (``--precision fp16`` is the program's), and not a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from reference_models.layers.draws import BatchDraws
from reference_models.nvae import objective
from reference_models.nvae.model import Inference, Network
from reference_models.nvae.operations import BatchNorm, NormedConv
from reference_models.nvae.recipe import Recipe
from reference_models.nvae.schedules import balance
from reference_models.training.likelihood import LikelihoodTask
from reference_models.training.task import Group, Iteration, Report

_BETAS, _EPS = (0.9, 0.999), 1e-3


class Step(NamedTuple):
    """What a step found.

    Attributes:
        loss: What was minimised.
        recon: Mean of ``- ln p(x | z)``, in nats an image.
        kl: Mean KL of every group, without weights, in nats an image.
        spectral: Sum of spectral norms.
        batch_norms: Sum of the largest scales of batch norms.
        beta: Weight of the KL.
    """

    loss: Tensor
    recon: Tensor
    kl: Tensor
    spectral: Tensor
    batch_norms: Tensor
    beta: float


class NVAETask(LikelihoodTask):
    """The network and Adamax.

    Attributes:
        spectral: Power iterations, whose vectors are part of the state.
        optimisers: ``G``.
    """

    model = "nvae"
    averaged = False
    recipe: Recipe

    def __init__(self, network: Network, recipe: Recipe) -> None:
        """Takes a network of random weights."""
        super().__init__(network, recipe)
        self.spectral = objective.SpectralNorms(network)
        self.networks = {**self.networks, "spectral": self.spectral}
        self._opt = torch.optim.Adamax(
            network.parameters(),
            lr=recipe.learning_rate,
            betas=_BETAS,
            eps=_EPS,
            weight_decay=recipe.weight_decay,
            foreach=True,  # of some hundred small tensors
        )
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {"G": self._opt}
        self._alpha = balance(network.config.groups_per_scale)

    def iterate(self, iteration: Iteration) -> Report:
        """One step on one batch."""
        images, config = iteration.feed.reals(self.batch).images, self.network.config
        if self.recipe.mirror:
            coin = torch.rand(len(images), 1, 1, 1, generator=iteration.rng, device=images.device)
            images = torch.where(coin < 0.5, images.flip(3), images)
        draws = BatchDraws(len(images), iteration.rng)
        x = objective.inputs(images, config, draws)
        step = self.step(x, [draws.normal(shape) for shape in self.network.latent_shapes], iteration)
        values: dict[str, Tensor | float] = {
            "loss/total": step.loss,
            "loss/elbo": step.recon + step.kl.sum(),
            "loss/recon": step.recon,
            "loss/kl": step.kl.sum(),
            "loss/spectral": step.spectral,
            "loss/batch_norms": step.batch_norms,
            "kl/beta": step.beta,
            "lr": self._opt.param_groups[0]["lr"],
        }
        return Report(self.batch, values)

    def step(self, x: Tensor, eps: list[Tensor], iteration: Iteration) -> Step:
        """The step of an iteration.

        Args:
            x: Images of this process as the network takes them, `objective.inputs`.
            eps: Normal numbers of every group, from the top down.
            iteration: Its place in the training, and the processes.
        """
        recipe, group = self.recipe, iteration.group
        # Evaluations in between turn both off.
        self.network.train().requires_grad_(True)
        self._join(x, eps, group)
        beta = recipe.beta_at(iteration.index)
        self._opt.param_groups[0]["lr"] = recipe.lr_at(iteration.index)
        self._opt.zero_grad(set_to_none=True)
        with self.precision.first_order(x.device):
            found: Inference = self._compiled(x, eps)
        balanced = objective.balanced_kl(found.kl, beta, x.new_tensor(self._alpha))
        spectral, norms = self.spectral(), objective.batch_norm_penalty(self.network)
        loss = (balanced.kl - found.log_likelihood).mean() + recipe.norm_weight_at(beta) * (spectral + norms)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        parameters = list(self.network.parameters())
        group.average_gradients(parameters)
        if self.scaler.unscale(parameters):
            self._opt.step()
        return Step(
            loss.detach(),
            -found.log_likelihood.detach().mean(),
            found.kl.detach().mean(0),
            spectral.detach(),
            norms.detach(),
            beta,
        )

    def _join(self, x: Tensor, eps: list[Tensor], group: Group) -> None:
        # Makes processes one: statistics of all in batch norms, and one first pass of cells that need it.
        waiting = [each for each in self.network.modules() if isinstance(each, NormedConv) and each.by_data]
        for module in self.network.modules():
            if isinstance(module, BatchNorm):
                module.synchronised = group.size > 1
        if not waiting:
            return
        with torch.no_grad():
            self.network(x, eps)
            for conv in waiting:
                assert conv.bias is not None
                for parameter in (conv.bias, conv.log_weight_norm):
                    parameter.copy_(group.mean(parameter))


TASK = NVAETask
