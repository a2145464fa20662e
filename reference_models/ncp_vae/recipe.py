"""How a VAE with a noise contrastive prior is trained, as numbers: one recipe a preset.

Paper: Aneja et al. 2021 (arXiv:2010.02917), section 5. There is no official code. The VAE is trained as its
own recipe says; the numbers of the second stage are this project's choice in every preset, since the paper's
are not known here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from reference_models.layers.checks import (
    check_betas,
    check_flags,
    check_positive,
    check_range,
    check_shared_batch,
    check_whole,
)
from reference_models.nvae import recipe as nvae

_WHAT = "the recipe"


@dataclass(frozen=True, kw_only=True, slots=True)
class FlatRecipe:
    """The numbers of a flat VAE's training; the rate falls to 0 by a cosine over the first stage.

    Attributes:
        batch: Images of an iteration, over all processes.
        learning_rate: Of Adam, at the start.
        kl_weight: Weight of the KL; 1 is the bound.
        mirror: Whether images are mirrored at random.
    """

    batch: int = 128
    learning_rate: float = 1e-3
    kl_weight: float = 1.0
    mirror: bool = False

    def __post_init__(self) -> None:
        check_whole(_WHAT, "vae.batch", self.batch, 1)
        check_positive(_WHAT, "vae.learning_rate", self.learning_rate)
        check_positive(_WHAT, "vae.kl_weight", self.kl_weight)
        check_flags(_WHAT, mirror=self.mirror)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The numbers of a training in two stages.

    Attributes:
        vae_kimg: Thousands of images of the first stage, which trains the VAE; 0 leaves the VAE as it is
            given. What is trained beyond it trains the classifiers.
        vae: Of the first stage, by the recipe of the VAE; its ``mirror`` is the one below, whatever it says.
        batch: Images of an iteration of the second stage, over all processes.
        learning_rate: Of Adam, of the classifiers.
        betas: Of Adam.
        weight_decay: Decoupled decay of the classifiers' weights.
        mirror: Whether images are mirrored at random, in both stages.
    """

    vae_kimg: float
    vae: FlatRecipe | nvae.Recipe = field(default_factory=FlatRecipe)
    batch: int = 128
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    mirror: bool = False

    def __post_init__(self) -> None:
        check_range(_WHAT, "vae_kimg", self.vae_kimg)
        check_whole(_WHAT, "batch", self.batch, 1)
        check_positive(_WHAT, "learning_rate", self.learning_rate)
        check_betas(_WHAT, self.betas)
        check_range(_WHAT, "weight_decay", self.weight_decay)
        check_flags(_WHAT, mirror=self.mirror)
        if self.vae.mirror != self.mirror:
            object.__setattr__(self, "vae", dataclasses.replace(self.vae, mirror=self.mirror))

    def check_shares(self, num_gpus: int, img_resolution: int) -> None:
        """Refuses batches that processes cannot share evenly.

        Args:
            num_gpus: Processes.
            img_resolution: Side of the images, on which nothing here depends.

        Raises:
            UsageError: One cannot be divided.
        """
        del img_resolution
        check_shared_batch(self.batch, num_gpus)
        check_shared_batch(self.vae.batch, num_gpus, "vae.batch")


def _on_nvae(preset: str) -> Recipe:
    vae = nvae.RECIPES[preset]
    images = vae.steps * vae.batch
    return Recipe(vae_kimg=images / 1000, vae=vae, batch=vae.batch, mirror=vae.mirror)


RECIPES: Mapping[str, Recipe] = {
    "mnist": _on_nvae("mnist"),
    "cifar10": _on_nvae("cifar10"),
    "celeba_64": _on_nvae("celeba_64"),
    "tiny": Recipe(vae_kimg=200, vae=FlatRecipe(learning_rate=2e-3)),
}
