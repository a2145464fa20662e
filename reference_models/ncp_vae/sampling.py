"""How latents of a group are chosen by the reweighted prior: importance resampling, or Langevin dynamics.

Paper: Aneja et al. 2021 (arXiv:2010.02917), section 3.3 and figure 1. Groups are chosen one after the other,
from the top down. Differs: Langevin dynamics run in the standardised coordinates of each conditional prior,
``z = mean + sigma e``, so that one step size fits all groups; the paper leaves the choice open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from reference_models.layers.draws import Draws
from reference_models.ncp_vae import prior as ncp
from reference_models.nvae.distributions import Normal
from reference_models.nvae.model import Choose

# ``ln r`` ``(n,)`` of a group's latents ``(n, c, h, w)`` in their contexts.
LogR = Callable[[int, Tensor, Tensor], Tensor]

# Numbers that go into a classifier at once; a row counts as so many at least, for what lies in between.
_NUMBERS, _LEAST = 2**24, 2**12


class Proposals(NamedTuple):
    """Draws of the base prior of a group, M an image.

    Attributes:
        z: ``(n, M, c, h, w)``.
        log_r: ``(n, M)`` nats.
    """

    z: Tensor
    log_r: Tensor


def propose(log_r: LogR, group: int, context: Tensor, prior: Normal, eps: Tensor) -> Proposals:
    """Draws of the base prior, and how much they weigh.

    Args:
        log_r: Of all groups.
        group: Which one.
        context: ``(n, ...)``, of the group.
        prior: Base prior of the group, of a temperature where that is wanted.
        eps: Standard normal numbers ``(n, M, c, h, w)``.
    """
    z = prior.mean[:, None] + prior.sigma[:, None] * eps
    found: list[Tensor] = []
    row = max(z[0, 0].numel() + context[0].numel(), _LEAST)
    at_once = max(_NUMBERS // (row * len(z)), 1)
    for some in torch.split(z, at_once, dim=1):
        num = some.shape[1]
        contexts = context[:, None].expand(-1, num, -1, -1, -1).flatten(0, 1)
        found.append(log_r(group, some.flatten(0, 1), contexts).reshape(-1, num))
    return Proposals(z, torch.cat(found, dim=1))


def from_base(draws: Draws) -> Choose:
    """Chooses by the base prior: normal numbers of each group."""

    def choose(group: int, context: Tensor, prior: Normal) -> Tensor:
        del group, context
        return prior.sample(draws.normal(prior.mean.shape[1:]))

    return choose


def by_resampling(log_r: LogR, draws: Draws, proposals: int) -> Choose:
    """Chooses one of M draws of the base prior by their weights ``softmax(ln r)``.

    Args:
        log_r: Of all groups.
        draws: Of each group M normal ones, then a uniform one that picks; of one proposal, none.
        proposals: M.
    """

    def choose(group: int, context: Tensor, prior: Normal) -> Tensor:
        found = propose(log_r, group, context, prior, draws.normal((proposals, *prior.mean.shape[1:])))
        if proposals == 1:
            return found.z[:, 0]
        return ncp.taken(found.z, ncp.choose_by_uniform(found.log_r, draws.uniform((1,))[:, 0]))

    return choose


def by_langevin(log_r: LogR, draws: Draws, steps: int, step_size: float) -> Choose:
    """Chooses by Langevin dynamics from a draw of the base prior on.

    Args:
        log_r: Of all groups.
        draws: Of each group normal ones: the start, then one a step.
        steps: Steps.
        step_size: Lambda, in standardised coordinates.
    """

    def choose(group: int, context: Tensor, prior: Normal) -> Tensor:
        shape = prior.mean.shape[1:]
        energy = ncp.standardised_energy(lambda z: log_r(group, z, context), prior.mean, prior.sigma)
        start = draws.normal(shape)
        states = ncp.langevin(energy, start, (draws.normal(shape) for _ in range(steps)), step_size)
        return prior.mean + prior.sigma * deque(states, maxlen=1).pop()

    return choose
