"""How StyleGAN is trained: ProGAN's growing loop with mixed styles, and a logistic loss with R1 or WGAN-GP.

Paper: Karras et al. 2019 (arXiv:1812.04948), section 3.1 and appendix C. Official: NVlabs/stylegan@1e0d5c7,
training/training_loop.py. The average of w moves in the passes of both steps, as there. Deviation: that of
several processes is their mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reference_models.progan.trainer import GrowingTask, Losses
from reference_models.stylegan import objective
from reference_models.stylegan.discriminator import Discriminator
from reference_models.stylegan.generator import Generator
from reference_models.stylegan.recipe import Recipe


class StyleGANTask(GrowingTask):
    """StyleGAN's images and losses in the growing loop."""

    model = "stylegan"
    G_class, D_class = Generator, Discriminator
    recipe: Recipe

    def fakes(self, z: Tensor, c: Tensor | None, rng: torch.Generator, lod: float) -> Tensor:
        """Images with fresh noise, of one or two latents each."""
        probability = self.recipe.style_mixing_prob
        if probability == 0:
            made: Tensor = self.G.training_images(z, c, rng=rng, lod=lod)
            return made
        second = torch.randn(z.shape, generator=rng, device=rng.device)
        cutoff = objective.draw_mixing_cutoff(self.G.num_ws, lod, rng, probability=probability)
        made = self.G.training_images(z, c, z_mix=second, cutoff=cutoff, rng=rng, lod=lod)
        return made

    def loss_of_G(self, fakes: Tensor, c: Tensor | None, lod: float) -> Losses:
        """The logistic or the Wasserstein loss."""
        loss = objective.generator_logistic if self.recipe.loss == "logistic" else objective.generator_wgan
        found = loss(self.D, fakes, c, lod=lod)
        return Losses(found.mean(), {"loss/G": found})

    def loss_of_D(
        self, reals: Tensor, fakes: Tensor, c: Tensor | None, rng: torch.Generator, lod: float
    ) -> Losses:
        """The logistic loss with R1 and R2, or the Wasserstein loss with a gradient penalty."""
        recipe = self.recipe
        if recipe.loss == "logistic":
            found = objective.discriminator_logistic(
                self.D, reals, fakes, c, r1_gamma=recipe.r1_gamma, r2_gamma=recipe.r2_gamma, lod=lod
            )
        else:
            mixing = torch.rand(len(reals), generator=rng, device=rng.device)
            found = objective.discriminator_wgan_gp(
                self.D, reals, fakes, mixing, c,
                wgan_lambda=recipe.wgan_lambda, wgan_target=recipe.wgan_target,
                wgan_epsilon=recipe.wgan_epsilon, lod=lod,
            )  # fmt: skip
        return Losses(
            found.total.mean(),
            {
                "loss/D": found.scores,
                "loss/penalties": found.penalties,
                "scores/real": found.real_scores,
                "scores/fake": found.fake_scores,
            },
        )


TASK = StyleGANTask
