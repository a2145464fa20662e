"""How StyleGAN is trained, as numbers: one recipe a preset.

Paper: Karras et al. 2019 (arXiv:1812.04948), appendix C. Official: NVlabs/stylegan@1e0d5c7, train.py.
Deviation: ``tiny`` is this project's own, for two cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reference_models.layers.checks import check_choice, check_positive, check_range
from reference_models.progan.recipe import GrowingRecipe
from reference_models.training.schedules import STYLEGAN_TICK_KIMG, GrowingSchedule

LOSSES = ("logistic", "wgan-gp")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe(GrowingRecipe):
    """StyleGAN's.

    Attributes:
        loss: ``logistic`` (non-saturating, with R1 and R2) or ``wgan-gp``.
        r1_gamma: Weight of R1, at every step.
        r2_gamma: Weight of R2, at every step.
        wgan_lambda: Weight of the gradient penalty.
        wgan_target: Norm of the gradient that costs nothing.
        wgan_epsilon: Weight of the drift term.
        style_mixing_prob: How often two latents share an image.
    """

    loss: str = "logistic"
    r1_gamma: float = 10.0
    r2_gamma: float = 0.0
    wgan_lambda: float = 10.0
    wgan_target: float = 1.0
    wgan_epsilon: float = 0.001
    style_mixing_prob: float = 0.9

    def __post_init__(self) -> None:
        super(Recipe, self).__post_init__()
        check_choice("the recipe", "loss", self.loss, LOSSES)
        check_positive("the recipe", "wgan_target", self.wgan_target)
        for name in ("r1_gamma", "r2_gamma", "wgan_lambda", "wgan_epsilon"):
            check_range("the recipe", name, getattr(self, name), None)
        check_range("the recipe", "style_mixing_prob", self.style_mixing_prob, 1)


_MINIBATCHES = {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8}
_LRATES = {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}
_CAPPED = {128: 0.0015, 256: 0.002, 512: 0.002, 1024: 0.002}


def _published(lrates: Mapping[int, float]) -> GrowingSchedule:
    return GrowingSchedule(
        lod_initial_resolution=8,
        minibatch_base=4,
        minibatch_dict=_MINIBATCHES,
        G_lrate_dict=lrates,
        D_lrate_dict=lrates,
        tick_kimg_dict=STYLEGAN_TICK_KIMG,
    )


RECIPES: Mapping[str, Recipe] = {
    "ffhq1024": Recipe(schedule=_published(_LRATES), mirror=True),
    "celebahq1024": Recipe(schedule=_published(_CAPPED), mirror=True, loss="wgan-gp"),
    "bedrooms256": Recipe(schedule=_published(_LRATES)),
    "tiny": Recipe(
        schedule=GrowingSchedule(
            lod_training_kimg=10.0,
            lod_transition_kimg=10.0,
            minibatch_base=16,
            G_lrate_base=0.004,
            D_lrate_base=0.004,
        ),
        ema_kimg=10.0,
        minibatch_repeats=1,
        r1_gamma=5.0,
        style_mixing_prob=0.0,
    ),
}
