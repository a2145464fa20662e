"""How VDVAE is trained, as numbers: one recipe a preset, by the official option names.

Paper: Child 2021 (arXiv:2011.10650), section 4 and appendix (hyper-parameters). Official:
openai/vdvae@ea35b49, hps.py. Deviations: ``batch`` is over all processes, the official ``n_batch`` times the
published number of GPUs; ``tiny`` is this project's own, for minutes on a processor; ``ffhq256-8bit`` has
the numbers of ``ffhq256``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reference_models.layers.checks import (
    check_betas,
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
        batch: Images of an iteration, over all processes.
        lr: Learning rate.
        wd: Decay of weights, of AdamW: a step takes ``lr wd`` of every weight away.
        adam_beta1: Of AdamW.
        adam_beta2: Of AdamW; 0.9 as published, where 0.999 is usual.
        warmup_iters: Iterations in which the rate rises from 0, the first of which moves nothing; 0 is none.
        grad_clip: Gradients are shortened to this norm.
        skip_threshold: An iteration whose gradient has this norm or a longer one, before it is shortened,
            changes nothing; -1 skips none.
        ema_rate: What the average keeps at an iteration that is not skipped.
    """

    batch: int = 32
    lr: float = 0.00015
    wd: float = 0.01
    adam_beta1: float = 0.9
    adam_beta2: float = 0.9
    warmup_iters: int = 100
    grad_clip: float = 200.0
    skip_threshold: float = 400.0
    ema_rate: float = 0.999

    def __post_init__(self) -> None:
        check_whole(_WHAT, "batch", self.batch, 1)
        check_whole(_WHAT, "warmup_iters", self.warmup_iters, 0, 2**31)
        check_positive(_WHAT, "lr", self.lr)
        check_positive(_WHAT, "grad_clip", self.grad_clip)
        check_range(_WHAT, "wd", self.wd)
        check_range(_WHAT, "ema_rate", self.ema_rate, 1)
        check_betas(_WHAT, (self.adam_beta1, self.adam_beta2))
        if self.skip_threshold != -1:
            check_positive(f"{_WHAT} (-1 skips nothing)", "skip_threshold", self.skip_threshold)

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

    def lr_at(self, iteration: int) -> float:
        """Learning rate after so many iterations."""
        return self.lr * (min(iteration / self.warmup_iters, 1.0) if self.warmup_iters else 1.0)


_FFHQ256 = Recipe(batch=32, grad_clip=130.0, skip_threshold=180.0)

RECIPES: Mapping[str, Recipe] = {
    "cifar10": Recipe(batch=32, lr=0.0002, ema_rate=0.9999),
    "imagenet32": Recipe(batch=256, skip_threshold=300.0),
    "imagenet64": Recipe(batch=128, grad_clip=220.0, skip_threshold=380.0),
    "ffhq256": _FFHQ256,
    "ffhq256-8bit": _FFHQ256,
    "ffhq1024": Recipe(batch=32, lr=0.00007, grad_clip=360.0, skip_threshold=500.0),
    "tiny": Recipe(batch=32, lr=0.01, adam_beta2=0.99, ema_rate=0.99),
}
