"""How StyleGAN3 is trained: StyleGAN2's phases behind a blur that fades, without noise and mixed styles.

Paper: Karras et al. 2021 (arXiv:2106.12423), the appendix on implementation details. Official:
NVlabs/stylegan3@c233a91, training/loss.py. Deviations: those of `reference_models.stylegan2.trainer`.
"""

from __future__ import annotations

import torch

from reference_models.layers.mapping import StyleGenerator
from reference_models.stylegan2.trainer import Latents, PhasedTask
from reference_models.stylegan3 import objective
from reference_models.stylegan3.generator import Generator
from reference_models.stylegan3.recipe import Recipe


class StyleGAN3Task(PhasedTask):
    """StyleGAN3's images in StyleGAN2's phases, before StyleGAN2's discriminator."""

    model = "stylegan3"
    G_class = Generator
    recipe: Recipe

    def blur_sigma(self, images: int) -> float:
        """Sigma of the blur of what D sees, after so many images."""
        recipe = self.recipe
        return objective.blur_sigma(images, sigma0=recipe.blur_init_sigma, fade_kimg=recipe.fade_kimg)

    def generate(
        self,
        generator: StyleGenerator,
        drawn: Latents,
        rng: torch.Generator,
        update_emas: bool,
    ) -> objective.Fake:
        """Images of G as training sees them; there is no noise, and styles are never mixed."""
        del rng
        return objective.generate(generator, drawn.z, drawn.c, update_emas=update_emas)


TASK = StyleGAN3Task
