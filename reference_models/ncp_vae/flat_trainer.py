"""How the flat VAE is trained: its bound, by Adam.

Paper: Kingma & Welling 2014 (arXiv:1312.6114). It is the first stage of `reference_models.ncp_vae.trainer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from reference_models.layers.draws import BatchDraws
from reference_models.ncp_vae import objective
from reference_models.ncp_vae.flat_vae import FlatVae
from reference_models.ncp_vae.recipe import FlatRecipe
from reference_models.nvae.model import Inference
from reference_models.nvae.objective import inputs
from reference_models.training.likelihood import LikelihoodTask
from reference_models.training.task import Iteration, Report


class FlatTask(LikelihoodTask):
    """The VAE and Adam.

    Attributes:
        optimisers: ``G``.
    """

    model = "ncp_vae"
    averaged = False
    recipe: FlatRecipe

    def __init__(self, network: FlatVae, recipe: FlatRecipe, kimg: float) -> None:
        """Takes a VAE of random weights, and the thousands of images over which the rate falls."""
        super().__init__(network, recipe)
        self._images = 1000 * kimg
        self._opt = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {"G": self._opt}

    def iterate(self, iteration: Iteration) -> Report:
        """One step on one batch."""
        network, recipe = self.network, self.recipe
        network.train().requires_grad_(True)  # evaluations in between turn both off
        rate = recipe.learning_rate * (1 + math.cos(math.pi * iteration.images / self._images)) / 2
        self._opt.param_groups[0]["lr"] = rate
        images = objective.mirrored(iteration.feed.reals(self.batch).images, iteration.rng, recipe.mirror)
        draws = BatchDraws(len(images), iteration.rng)
        x = inputs(images, network.config.pixels, draws)
        self._opt.zero_grad(set_to_none=True)
        with self.precision.first_order(x.device):
            found: Inference = self._compiled(x, [draws.normal(shape) for shape in network.latent_shapes])
        recon, kl = -found.log_likelihood.mean(), found.kl.sum(1).mean()
        self.scaler.scale(recon + recipe.kl_weight * kl).backward()  # type: ignore[no-untyped-call]
        parameters = list(network.parameters())
        iteration.group.average_gradients(parameters)
        if self.scaler.unscale(parameters):
            self._opt.step()
        recon, kl = recon.detach(), kl.detach()
        values: dict[str, Tensor | float] = {
            "loss/elbo": recon + kl,
            "loss/recon": recon,
            "loss/kl": kl,
            "lr": rate,
        }
        return Report(self.batch, values)
