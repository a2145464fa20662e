"""How ProGAN is trained, as numbers: one recipe a preset.

Paper: Karras et al. 2018 (arXiv:1710.10196), section 2 and appendix A. Official:
tkarras/progressive_growing_of_gans@2504c3f, config.py and train.py. Deviation: ``tiny`` is this project's
own, for two cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reference_models.layers.checks import (
    check_betas,
    check_flags,
    check_positive,
    check_range,
    check_whole,
)
from reference_models.training.schedules import GrowingSchedule


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowingRecipe:
    """The numbers of a training that grows.

    Attributes:
        schedule: Level of detail, minibatch and learning rates by images seen; its ticks are those of the
            official programs, where the loop here has periods of its own.
        minibatch_repeats: Rounds of D and G between two looks at the schedule.
        D_repeats: Steps of D in a round.
        betas: Of Adam.
        adam_epsilon: Of Adam, in TensorFlow's form.
        ema_beta: What the average of G keeps at a step of D; None takes ``ema_kimg``.
        ema_kimg: Half-life of the average, in thousands of images.
        mirror: Whether images are mirrored at random.
    """

    schedule: GrowingSchedule = field(default_factory=GrowingSchedule)
    minibatch_repeats: int = 4
    D_repeats: int = 1
    betas: tuple[float, float] = (0.0, 0.99)
    adam_epsilon: float = 1e-8
    ema_beta: float | None = None
    ema_kimg: float = 10.0
    mirror: bool = False

    def __post_init__(self) -> None:
        what = "the recipe"
        check_whole(what, "minibatch_repeats", self.minibatch_repeats, 1)
        check_whole(what, "D_repeats", self.D_repeats, 1)
        check_positive(what, "adam_epsilon", self.adam_epsilon)
        check_positive(what, "ema_kimg", self.ema_kimg)
        check_flags(what, mirror=self.mirror)
        if self.ema_beta is not None:
            check_range(what, "ema_beta", self.ema_beta, 1)
        check_betas(what, self.betas)

    def check_shares(self, num_gpus: int, img_resolution: int) -> None:
        """Refuses minibatches that are smaller than the number of processes, at any stage of the training.

        Args:
            num_gpus: Processes.
            img_resolution: Side of the images, up to which the networks grow.

        Raises:
            UsageError: One is.
        """
        self.schedule.check_shares(num_gpus, img_resolution)

    def ema_beta_of(self, minibatch: int) -> float:
        """What the average of G keeps at a step of D on so many images."""
        return 0.5 ** (minibatch / (self.ema_kimg * 1000)) if self.ema_beta is None else self.ema_beta


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe(GrowingRecipe):
    """ProGAN's: a Wasserstein loss with a gradient penalty, and a classifier where there are labels.

    Attributes:
        wgan_lambda: Weight of the gradient penalty.
        wgan_target: Norm of the gradient that costs nothing.
        wgan_epsilon: Weight of the drift term.
        cond_weight: Weight of the classifier.
    """

    ema_beta: float | None = 0.999
    wgan_lambda: float = 10.0
    wgan_target: float = 1.0
    wgan_epsilon: float = 0.001
    cond_weight: float = 1.0

    def __post_init__(self) -> None:
        super(Recipe, self).__post_init__()
        check_positive("the recipe", "wgan_target", self.wgan_target)
        for name in ("wgan_lambda", "wgan_epsilon", "cond_weight"):
            check_range("the recipe", name, getattr(self, name), None)


RECIPES: Mapping[str, Recipe] = {
    "celebahq1024": Recipe(
        schedule=GrowingSchedule(
            minibatch_base=4,
            minibatch_dict={4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
            G_lrate_dict={1024: 0.0015},
            D_lrate_dict={1024: 0.0015},
            max_minibatch_per_gpu={256: 16, 512: 8, 1024: 4},
        )
    ),
    "lsun256": Recipe(
        schedule=GrowingSchedule(
            minibatch_base=4,
            minibatch_dict={4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8},
            max_minibatch_per_gpu={256: 16},
        )
    ),
    "cifar10": Recipe(
        schedule=GrowingSchedule(
            minibatch_base=16,
            minibatch_dict={4: 128, 8: 128, 16: 128, 32: 64},
        ),
        wgan_target=750.0,
    ),
    "tiny": Recipe(
        schedule=GrowingSchedule(
            lod_training_kimg=10.0,
            lod_transition_kimg=10.0,
            minibatch_base=32,
            G_lrate_base=0.002,
            D_lrate_base=0.002,
        ),
        ema_beta=None,
        ema_kimg=5.0,
        minibatch_repeats=1,
    ),
}
