"""How SRFlow is trained, as numbers: one recipe a preset, by the official option names where there are such.

Paper: Lugmayr et al. 2020 (arXiv:2006.14200), section 4 and appendix. Official: andreas128/SRFlow@5a007ad,
confs/*.yml and code/models/SRFlow_model.py. Deviations: none in what is computed. The official configs ask
for Adam's betas (0.9, 0.99), which reach Adam under names that it ignores, so that ``betas`` are its
defaults; and they ask for an encoder that is frozen in the first half, while the released program trains it
from the first step: ``encoder`` offers both. ``tiny``, ``tiny-glow`` and ``cifar10-4x`` are this project's
own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evalkit.errors import UsageError
from reference_models.layers.checks import (
    check_betas,
    check_choice,
    check_flags,
    check_positive,
    check_range,
    check_shared_batch,
    check_whole,
)

_WHAT = "the recipe"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The numbers of a training.

    Attributes:
        batch: Crops of an iteration, over all processes.
        niter: Length of the training in iterations, which schedules are stretched to; say it together with
            another ``--kimg``.
        lr_G: Learning rate of Adam, of encoder and flow.
        lr_gamma: What the rate is multiplied by at every milestone.
        lr_steps_rel: Milestones, as shares of ``niter``.
        betas: Of Adam.
        encoder: ``always`` trains the encoder from the first step, as the released program does; ``lazy``
            freezes it until the step has passed ``encoder_delay`` of ``niter``, as its configs ask.
        encoder_delay: That share (``train_RRDB_delay``).
        encoder_start: File of RRDB or ESRGAN weights that the encoder begins with; "" is random weights.
        nll_weight: Weight of the negative log likelihood, in bits a pixel.
        l1_weight: Weight of the mean absolute error of the sample at temperature 0.
        noise: Whether training sees images with uniform noise of one level's width, ``(v + u) / 256``, so
            that the likelihood is one of levels (Theis et al. 2016); the released program sees ``v / 255``.
        mirror: Whether crops are mirrored at random (``use_flip``).
    """

    batch: int = 16
    niter: int = 200_000
    lr_G: float = 5e-4
    lr_gamma: float = 0.5
    lr_steps_rel: tuple[float, ...] = (0.5, 0.75, 0.9, 0.95)
    betas: tuple[float, float] = (0.9, 0.999)
    encoder: str = "always"
    encoder_delay: float = 0.5
    encoder_start: str = ""
    nll_weight: float = 1.0
    l1_weight: float = 0.0
    noise: bool = False
    mirror: bool = True

    def __post_init__(self) -> None:
        check_whole(_WHAT, "batch", self.batch, 1)
        check_whole(_WHAT, "niter", self.niter, 1, 2**31)
        check_positive(_WHAT, "lr_G", self.lr_G)
        check_positive(_WHAT, "lr_gamma", self.lr_gamma)
        steps = self.lr_steps_rel
        if not isinstance(steps, (tuple, list)):
            raise UsageError(f"{_WHAT}: lr_steps_rel is {steps!r}; give shares of niter, such as (0.5, 0.75)")
        for share in steps:
            check_range(_WHAT, "lr_steps_rel", share, 1)
        check_betas(_WHAT, self.betas)
        check_choice(_WHAT, "encoder", self.encoder, ("always", "lazy"))
        check_range(_WHAT, "encoder_delay", self.encoder_delay, 1)
        if not isinstance(self.encoder_start, str):
            raise UsageError(f"{_WHAT}: encoder_start is {self.encoder_start!r}; give the path of a file")
        check_range(_WHAT, "nll_weight", self.nll_weight)
        check_range(_WHAT, "l1_weight", self.l1_weight)
        if not self.nll_weight and not self.l1_weight:
            raise UsageError(f"{_WHAT}: nll_weight and l1_weight are both 0; one of them is what is trained")
        check_flags(_WHAT, noise=self.noise, mirror=self.mirror)

    def check_shares(self, num_gpus: int, img_resolution: int) -> None:
        """Refuses a batch that processes cannot share evenly.

        Args:
            num_gpus: Processes.
            img_resolution: Side of the crops, on which nothing here depends.

        Raises:
            UsageError: It cannot be divided.
        """
        del img_resolution
        check_shared_batch(self.batch, num_gpus)

    def lr_at(self, index: int) -> float:
        """Learning rate of an iteration.

        The scheduler steps before the optimiser, so that iteration number n, counted from 1, has passed the
        milestones up to and with n.

        Args:
            index: Iterations before it.
        """
        passed = sum(int(self.niter * share) <= index + 1 for share in self.lr_steps_rel)
        return self.lr_G * self.lr_gamma**passed

    def trains_encoder_at(self, index: int) -> bool:
        """Whether an iteration moves the encoder.

        Args:
            index: Iterations before it.
        """
        return self.encoder == "always" or index + 1 > self.encoder_delay * self.niter


RECIPES: Mapping[str, Recipe] = {
    "celeba-8x": Recipe(),
    "df2k-4x": Recipe(batch=12, lr_G=2.5e-4),
    "df2k-8x": Recipe(),
    "cifar10-4x": Recipe(batch=64, niter=50_000, noise=True),
    # Grey digits of 4x4 squares have a density only with noise.
    "tiny": Recipe(batch=16, niter=4_000, lr_G=1e-3, noise=True, mirror=False),
    "tiny-glow": Recipe(batch=16, niter=4_000, lr_G=1e-3, noise=True, mirror=False),
}
