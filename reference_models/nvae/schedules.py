"""Schedules of NVAE's training: warm-up of the KL, its balance over groups, norms, and learning rate.

Paper: Vahdat & Kautz 2020 (arXiv:2007.03898), section 3.2 and appendix A. Official: NVlabs/NVAE@9fc1a28,
utils.py and train.py. Differs: nothing; see `learning_rate` for what the program does after its warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

# Weight of a group at scale i, counted from the lowest resolution, of so many groups.
BALANCES: Mapping[str, Callable[[int, int], float]] = {
    "equal": lambda scale, groups: 1.0,
    "linear": lambda scale, groups: 2.0**scale,
    "sqrt": lambda scale, groups: math.sqrt(2.0**scale),
    "square": lambda scale, groups: 4.0**scale / groups,
}


def kl_coeff(step: int, *, total: float, constant: float, least: float) -> float:
    """beta: ``max(min((step - constant) / total, 1), least)``.

    Args:
        step: Steps before this one.
        total: Steps over which it rises.
        constant: Steps before it rises.
        least: Where it begins.
    """
    return max(min((step - constant) / total, 1.0), least) if total > 0 else 1.0


def balance(groups_per_scale: Sequence[int], kind: str = "square") -> tuple[float, ...]:
    """Weights alpha of every group, from the top (the lowest resolution) down; the smallest is 1.

    Args:
        groups_per_scale: From the highest resolution to the lowest.
        kind: Out of `BALANCES`; training has ``square``.
    """
    found = [
        BALANCES[kind](scale, groups)
        for scale, groups in enumerate(reversed(groups_per_scale))
        for _ in range(groups)
    ]
    return tuple(each / min(found) for each in found)


def norm_weight(beta: float, *, initial: float, final: float) -> float:
    """Weight of spectral and batch norms, which falls with beta: log-linear from initial to final."""
    return math.exp((1 - beta) * math.log(initial) + beta * math.log(final))


def learning_rate(
    step: int, *, lr: float, lr_min: float, steps_per_epoch: int, epochs: int, warmup_epochs: int
) -> float:
    """Rate of Adamax after so many steps.

    It rises by ``step / W`` over the W steps of ``warmup_epochs``, and then falls by a cosine from epoch to
    epoch. Nothing sets it to ``lr`` after the warm-up, so that the cosine begins at ``lr (1 - 1 / W)``, and
    stays there for one more epoch; at the end of the last epoch, and after it, it is ``lr_min``.

    Args:
        step: Steps before this one.
        lr: Full rate.
        lr_min: Last rate.
        steps_per_epoch: Steps of an epoch.
        epochs: Epochs of the training.
        warmup_epochs: Epochs of the warm-up.
    """
    warmup = warmup_epochs * steps_per_epoch
    if step < warmup:
        return lr * step / warmup
    plateau = lr * (1 - 1 / warmup) if warmup else lr
    period = epochs - warmup_epochs - 1
    passed = min(max(step // steps_per_epoch - warmup_epochs, 0), period)
    if passed <= 0:
        return plateau
    return lr_min + (plateau - lr_min) * (1 + math.cos(math.pi * passed / period)) / 2
