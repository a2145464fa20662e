"""Minibatch standard deviation: tells the discriminator how much the samples of a batch differ.

Karras et al. 2018 ("Progressive growing of GANs", section 3), in the grouped form of StyleGAN2.

Official: NVlabs/stylegan3@c233a919a6faee6e36a316ddd4eddababad1adf9, training/networks_stylegan2.py. Differs:
nothing.
"""

from __future__ import annotations

import torch

from evalkit.errors import UsageError

_EPS = 1e-8


def minibatch_std(x: torch.Tensor, *, group_size: int | None, num_channels: int = 1) -> torch.Tensor:
    """Appends channels that hold the mean standard deviation over groups of samples.

    With ``n`` samples in groups of ``g`` there are ``n / g`` groups, and sample ``j`` belongs to group
    ``j mod (n / g)``: the members of a group are not neighbours.

    Args:
        x: ``(n, c, h, w)``.
        group_size: Samples in a group, no more than ``n``; None is the whole batch.
        num_channels: Channels to append; each covers its share of the input's channels. 0 appends none.

    Returns:
        ``(n, c + num_channels, h, w)``.

    Raises:
        UsageError: The batch does not divide into groups, or the channels not into shares.
    """
    n, c, height, width = x.shape
    if num_channels == 0:
        return x
    size = n if group_size is None else min(group_size, n)
    if size < 1 or n % size:
        raise UsageError(
            f"minibatch standard deviation cannot divide a batch of {n} into groups of {size}; give a batch "
            f"that is a multiple of {size}, or another group size"
        )
    if num_channels < 0 or c % num_channels:
        raise UsageError(
            f"minibatch standard deviation cannot divide {c} channels into {num_channels} shares; give a "
            "divisor of the channels"
        )
    members = x.reshape(size, n // size, num_channels, c // num_channels, height, width)
    variance = (members - members.mean(dim=0)).square().mean(dim=0)
    spread = (variance + _EPS).sqrt().mean(dim=(2, 3, 4))  # (groups, num_channels)
    maps = spread.repeat(size, 1)[:, :, None, None].expand(n, num_channels, height, width)
    return torch.cat([x, maps.to(x.dtype)], dim=1)
