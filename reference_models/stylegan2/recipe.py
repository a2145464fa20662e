"""How StyleGAN2 is trained, as numbers: one recipe a preset, by the official option names.

Papers: Karras et al. 2020a (arXiv:1912.04958), appendix B; Karras et al. 2020b (arXiv:2006.06676), appendix C
and Table 6 (cifar10, paper256, paper512, paper1024). Official: NVlabs/stylegan2-ada-pytorch@d72cc7d and
NVlabs/stylegan3@c233a91, train.py. Deviation: ``tiny`` is this project's own, for two cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evalkit.errors import UsageError
from reference_models.layers.checks import (
    check_betas,
    check_choice,
    check_positive,
    check_range,
    check_shared_batch,
    check_whole,
)
from reference_models.training.augmentation.config import SETS

AUGMENTATIONS = ("none", *SETS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The numbers of a training in phases.

    Attributes:
        batch: Images of an iteration, over all processes.
        batch_gpu: Images of a process that go through the networks at once; None is all of its share.
        G_lrate: Learning rate of G, before the correction for lazy regularisation.
        D_lrate: Learning rate of D, likewise.
        betas: Of Adam.
        r1_gamma: Weight of R1.
        G_reg_interval: Iterations between two regularisations of G; None corrects nothing and regularises at
            every iteration.
        D_reg_interval: Iterations between two of D.
        style_mixing_prob: How often two latents share an image.
        pl_weight: Weight of the path length penalty; 0 leaves it out.
        ema_kimg: Half-life of the average of G, in thousands of images; None is ``batch * 10 / 32``.
        ema_rampup: Share of the images seen that the half-life does not exceed; None is no ramp-up.
        augment: Set of augmentations, or ``none``.
        augment_p: Their strength at the start.
        ada_target: Mean sign of D's verdict on real images that the strength is steered to; None keeps the
            strength as it is.
        ada_kimg: Thousands of images in which the strength can go from 0 to 1.
        ada_interval: Iterations between two adjustments.
        max_grad_norm: Gradients are shortened to this norm; None leaves their length alone.
    """

    batch: int = 32
    batch_gpu: int | None = None
    G_lrate: float = 0.002
    D_lrate: float = 0.002
    betas: tuple[float, float] = (0.0, 0.99)
    r1_gamma: float = 10.0
    G_reg_interval: int | None = 4
    D_reg_interval: int | None = 16
    style_mixing_prob: float = 0.9
    pl_weight: float = 2.0
    ema_kimg: float | None = None
    ema_rampup: float | None = 0.05
    augment: str = "bgc"
    augment_p: float = 0.0
    ada_target: float | None = 0.6
    ada_kimg: float = 500.0
    ada_interval: int = 4
    max_grad_norm: float | None = None

    def __post_init__(self) -> None:
        what = "the recipe"
        check_whole(what, "batch", self.batch, 1)
        check_choice(what, "augment", self.augment, AUGMENTATIONS)
        for name in ("batch_gpu", "G_reg_interval", "D_reg_interval"):
            if (count := getattr(self, name)) is not None:
                check_whole(what, name, count, 1)
        check_whole(what, "ada_interval", self.ada_interval, 1)
        for name in ("G_lrate", "D_lrate", "ada_kimg"):
            check_positive(what, name, getattr(self, name))
        for name in ("ema_kimg", "ema_rampup", "max_grad_norm"):
            if (value := getattr(self, name)) is not None:
                check_positive(what, name, value)
        for name, high in (
            ("r1_gamma", None),
            ("pl_weight", None),
            ("style_mixing_prob", 1),
            ("augment_p", 1),
        ):
            check_range(what, name, getattr(self, name), high)
        if self.ada_target is not None and not -1 <= self.ada_target <= 1:
            raise UsageError(f"{what}: ada_target is {self.ada_target!r}; give a mean sign from -1 to 1")
        check_betas(what, self.betas)

    def check_shares(self, num_gpus: int, img_resolution: int) -> None:
        """Refuses a batch that processes cannot share evenly.

        Args:
            num_gpus: Processes.
            img_resolution: Side of the images, on which nothing here depends.

        Raises:
            UsageError: It cannot be divided.
        """
        del img_resolution
        check_shared_batch(self.batch, num_gpus)

    @property
    def ema_half_life(self) -> float:
        """Half-life of the average of G, in thousands of images."""
        return self.batch * 10 / 32 if self.ema_kimg is None else self.ema_kimg


RECIPES: Mapping[str, Recipe] = {
    "ffhq1024": Recipe(batch=32, r1_gamma=10.0, ada_kimg=500.0),
    "ffhq512": Recipe(batch=64, G_lrate=0.0025, D_lrate=0.0025, r1_gamma=0.5, ema_kimg=20.0, ema_rampup=None),
    "ffhq256": Recipe(batch=64, G_lrate=0.0025, D_lrate=0.0025, r1_gamma=1.0, ema_kimg=20.0, ema_rampup=None),
    "cifar10": Recipe(
        batch=64,
        G_lrate=0.0025,
        D_lrate=0.0025,
        r1_gamma=0.01,
        style_mixing_prob=0.0,
        pl_weight=0.0,
        ema_kimg=500.0,
    ),
    # Minutes on two cores are a few thousand steps: rates are high, batches small.
    "tiny": Recipe(
        batch=16,
        G_lrate=0.006,
        D_lrate=0.006,
        r1_gamma=3.0,
        style_mixing_prob=0.0,
        pl_weight=0.0,
        ema_kimg=10.0,
    ),
}
