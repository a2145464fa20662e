"""The average of a generator's weights that is sampled from.

Papers: Karras et al. 2018 (arXiv:1710.10196), section A; Karras et al. 2020 (arXiv:2006.06676), appendix
(half-life and its ramp-up). Official: NVlabs/stylegan3@c233a91, training/training_loop.py;
tkarras/progressive_growing_of_gans@2504c3f, tfutil.py. Differs: nothing.
"""

from __future__ import annotations

import torch
from torch import nn


def half_life_beta(batch: int, ema_kimg: float, rampup: float | None, images: float) -> float:
    """What an average keeps of itself at one update.

    Args:
        batch: Images between two updates.
        ema_kimg: Half-life, in thousands of images.
        rampup: Share of the images seen that the half-life does not exceed; None is no limit.
        images: Images seen before this update's batch.

    Returns:
        ``0.5^(batch / half-life)``, in [0, 1).
    """
    half_life = ema_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, images * rampup)
    return float(0.5 ** (batch / max(half_life, 1e-8)))


@torch.no_grad()
def update(ema_module: nn.Module, module: nn.Module, beta: float) -> None:
    """Moves an average: ``p + beta (average - p)`` for parameters, a copy for buffers, by name.

    Args:
        ema_module: The average, changed in place.
        module: What it follows: a network of the same names and shapes on the same device.
        beta: What the average keeps; 0 copies.

    Raises:
        ValueError: The names differ.
    """
    averages, values = dict(ema_module.named_parameters()), dict(module.named_parameters())
    copies, buffers = dict(ema_module.named_buffers()), dict(module.named_buffers())
    if averages.keys() != values.keys() or copies.keys() != buffers.keys():
        odd = sorted((averages.keys() ^ values.keys()) | (copies.keys() ^ buffers.keys()))
        raise ValueError(f"an average follows a network of the same names; in one only are {', '.join(odd)}")
    if averages:
        torch._foreach_lerp_(list(averages.values()), [values[name] for name in averages], 1.0 - beta)
    if copies:
        torch._foreach_copy_(list(copies.values()), [buffers[name] for name in copies])
