"""How NVAE is trained, as numbers: one recipe a preset, by the official option names.

Paper: Vahdat & Kautz 2020 (arXiv:2007.03898), appendix A. Official: NVlabs/NVAE@9fc1a28, README.md and
train.py. Deviations: ``batch`` is over all processes, the official ``batch_size`` times the published number
of GPUs; an epoch is ``epoch_images`` images, whatever the data; ``tiny`` is this project's own, for minutes
on a processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reference_models.layers.checks import (
    check_flags,
    check_positive,
    check_range,
    check_shared_batch,
    check_whole,
)
from reference_models.nvae import schedules

_WHAT = "the recipe"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The numbers of a training.

    Attributes:
        batch: Images of an iteration, over all processes.
        epochs: Length of the training, which schedules are stretched to.
        epoch_images: Images of an epoch; what is left after the last whole batch is left out.
        warmup_epochs: Epochs in which the rate rises from 0.
        learning_rate: Of Adamax.
        learning_rate_min: Where a cosine ends.
        weight_decay: Of all parameters, added to gradients.
        weight_decay_norm: Weight of spectral and batch norms.
        weight_decay_norm_init: Where it begins if it falls.
        weight_decay_norm_anneal: Whether it falls while the KL warms up.
        kl_anneal_portion: Share of the training over which the KL warms up.
        kl_const_portion: Share before that.
        kl_const_coeff: Weight of the KL until it has grown larger.
        mirror: Whether images are mirrored at random.
    """

    batch: int = 200
    epochs: int = 200
    epoch_images: int = 50000
    warmup_epochs: int = 5
    learning_rate: float = 1e-2
    learning_rate_min: float = 1e-4
    weight_decay: float = 3e-4
    weight_decay_norm: float = 0.01
    weight_decay_norm_init: float = 10.0
    weight_decay_norm_anneal: bool = False
    kl_anneal_portion: float = 0.3
    kl_const_portion: float = 0.0001
    kl_const_coeff: float = 0.0001
    mirror: bool = True

    def __post_init__(self) -> None:
        check_whole(_WHAT, "batch", self.batch, 1)
        check_whole(_WHAT, "epochs", self.epochs, 1, 2**31)
        check_whole(_WHAT, "warmup_epochs", self.warmup_epochs, 0, self.epochs)
        check_whole(_WHAT, "epoch_images", self.epoch_images, self.batch, 2**31)
        for name in ("learning_rate", "weight_decay_norm_init"):
            check_positive(_WHAT, name, getattr(self, name))
        check_range(_WHAT, "learning_rate_min", self.learning_rate_min, self.learning_rate)
        for name in ("weight_decay", "weight_decay_norm"):
            check_range(_WHAT, name, getattr(self, name))
        for name in ("kl_anneal_portion", "kl_const_portion", "kl_const_coeff"):
            check_range(_WHAT, name, getattr(self, name), 1)
        check_flags(_WHAT, mirror=self.mirror, weight_decay_norm_anneal=self.weight_decay_norm_anneal)
        if self.weight_decay_norm_anneal:
            check_positive(f"{_WHAT} (weight_decay_norm_anneal)", "weight_decay_norm", self.weight_decay_norm)

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
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return self.epoch_images // self.batch

    @property
    def steps(self) -> int:
        """Of the training."""
        return self.epochs * self.steps_per_epoch

    def lr_at(self, step: int) -> float:
        """Learning rate after so many steps."""
        return schedules.learning_rate(
            step,
            lr=self.learning_rate,
            lr_min=self.learning_rate_min,
            steps_per_epoch=self.steps_per_epoch,
            epochs=self.epochs,
            warmup_epochs=self.warmup_epochs,
        )

    def beta_at(self, step: int) -> float:
        """Weight of the KL after so many steps."""
        return schedules.kl_coeff(
            step,
            total=self.kl_anneal_portion * self.steps,
            constant=self.kl_const_portion * self.steps,
            least=self.kl_const_coeff,
        )

    def norm_weight_at(self, beta: float) -> float:
        """Weight of spectral and batch norms at a weight of the KL."""
        if not self.weight_decay_norm_anneal:
            return self.weight_decay_norm
        return schedules.norm_weight(beta, initial=self.weight_decay_norm_init, final=self.weight_decay_norm)


_FALLS: Mapping[str, float | bool] = {"weight_decay_norm_anneal": True, "weight_decay_norm_init": 1.0}

RECIPES: Mapping[str, Recipe] = {
    "mnist": Recipe(batch=400, epochs=400, epoch_images=60000, mirror=False),
    "cifar10": Recipe(batch=256, epochs=400, epoch_images=50000),
    "celeba_64": Recipe(batch=128, epochs=90, epoch_images=162770, weight_decay_norm=0.1),
    "imagenet_32": Recipe(batch=576, epochs=45, epoch_images=1281149, warmup_epochs=1, **_FALLS),  # type: ignore[arg-type]
    "celeba_256": Recipe(batch=96, epochs=300, epoch_images=27000, **_FALLS),  # type: ignore[arg-type]
    "ffhq": Recipe(
        batch=96,
        epochs=200,
        epoch_images=63000,
        learning_rate=8e-3,
        weight_decay_norm=0.1,
        **_FALLS,  # type: ignore[arg-type]
    ),
    # 36 thousand images: minutes on a processor are few steps, and a small batch has more of them.
    "tiny": Recipe(batch=32, epochs=40, epoch_images=900, warmup_epochs=2, mirror=False),
}
