"""The noise contrastive prior: its loss, and how it is sampled from and its partition function estimated.

Paper: Aneja et al. 2021 (arXiv:2010.02917), section 3. There is no official code. A classifier with logit
``l`` tells draws of the aggregate posterior from draws of the base prior ``p``; at its optimum ``l = ln q -
ln p``. It reweights the prior: ``r p / Z`` with ``ln r = ln D - ln(1 - D) = l`` and ``Z = E_p[r]``. Functions
take ``ln r`` as it is, the logit, and never the probability, which rounds to 0 or 1. They keep the type of
their input. Differs: nothing; where the paper leaves a choice (the rule that draws an index, the variable of
Langevin dynamics) both are here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reference_models.layers.gaussian import log_density

Energy = Callable[[Tensor], Tensor]


class NceLoss(NamedTuple):
    """Loss of a classifier, in nats.

    Attributes:
        positive: ``E_q[-ln D]``, over draws of the aggregate posterior.
        negative: ``E_p[-ln(1 - D)]``, over draws of the base prior.
    """

    positive: Tensor
    negative: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of both means, not halved: ``2 ln 2`` of a classifier that knows nothing."""
        return self.positive + self.negative


def nce_loss(positive: Tensor, negative: Tensor) -> NceLoss:
    """Loss of noise contrastive estimation, ``E_q[softplus(-l)] + E_p[softplus(l)]``.

    Args:
        positive: Logits of draws of the aggregate posterior, ``(..., n)``.
        negative: Logits of draws of the base prior, ``(..., m)``.

    Returns:
        Means over the last axis; groups along the others are problems of their own.
    """
    return NceLoss(F.softplus(-positive).mean(-1), F.softplus(negative).mean(-1))


def accuracy(positive: Tensor, negative: Tensor) -> Tensor:
    """Share of draws that a classifier tells right, half of it from either kind; over the last axis."""
    right = (positive > 0).double().mean(-1) + (negative < 0).double().mean(-1)
    return right.to(positive.dtype) / 2


# ------------------------------------------------------------------------------- importance resampling


def choose_by_uniform(log_r: Tensor, uniform: Tensor) -> Tensor:
    """Index of one proposal, drawn with probabilities ``softmax(log_r)`` by the inverse of their sums.

    Args:
        log_r: ``(..., M)`` of M draws of the base prior.
        uniform: ``(...)`` in [0, 1).

    Returns:
        int64 ``(...)``: how many of the cumulative weights are below ``uniform``.
    """
    # In double precision: thousands of float32 weights would sum to something else than 1.
    below = log_r.double().softmax(-1).cumsum(-1) < uniform.double()[..., None]
    return below.sum(-1).clamp(max=log_r.shape[-1] - 1)


def choose_by_gumbel(log_r: Tensor, gumbel: Tensor) -> Tensor:
    """The same draw by the largest of ``log_r + gumbel``, with Gumbel noise ``(..., M)``."""
    return (log_r + gumbel).argmax(-1)


def taken(proposals: Tensor, index: Tensor) -> Tensor:
    """The chosen proposals.

    Args:
        proposals: ``(n, M, *shape)``.
        index: int64 ``(n,)``.

    Returns:
        ``(n, *shape)``.
    """
    return proposals[torch.arange(len(index), device=index.device), index]


def effective_sample_size(log_r: Tensor) -> Tensor:
    """``(sum r)^2 / sum r^2`` over the last axis: from 1, one proposal has all the weight, to M."""
    return log_r.softmax(-1).square().sum(-1).reciprocal()


# ------------------------------------------------------------------------------------------ Langevin


def energy(log_r: Energy, mean: Tensor, std: Tensor) -> Energy:
    """Energy ``-ln r(z) - ln p(z)`` of latents under the reweighted prior, a nat value a latent.

    Args:
        log_r: ``ln r`` of ``(n, *shape)``, as ``(n,)``.
        mean: Of the base prior, ``(n, *shape)``.
        std: Its standard deviations, ``(n, *shape)``.
    """
    return lambda z: -log_r(z) - log_density(z, mean, std.log()).flatten(1).sum(1)


def standardised_energy(log_r: Energy, mean: Tensor, std: Tensor) -> Energy:
    """The same for ``e`` where ``z = mean + std e``, but for a constant: ``-ln r(z) + |e|^2 / 2``."""
    return lambda e: -log_r(mean + std * e) + 0.5 * (e**2).flatten(1).sum(1)


def gradient(of: Energy, z: Tensor) -> Tensor:
    """Gradient of each latent's energy."""
    with torch.enable_grad():
        inner = z.detach().requires_grad_()
        (found,) = torch.autograd.grad(of(inner).sum(), inner)
    return found


def langevin(of: Energy, start: Tensor, noise: Iterable[Tensor], step_size: float) -> Iterator[Tensor]:
    """Unadjusted Langevin dynamics, ``z <- z - step/2 grad E(z) + sqrt(step) noise``.

    Args:
        of: The energy of ``(n, *shape)``, as ``(n,)``.
        start: ``(n, *shape)``, draws of the base prior.
        noise: Standard normal ``(n, *shape)`` of each step.
        step_size: Lambda; the bias of the dynamics vanishes with it.

    Yields:
        The latents after each step.
    """
    z = start
    for drawn in noise:
        z = z - 0.5 * step_size * gradient(of, z) + math.sqrt(step_size) * drawn
        yield z


# ---------------------------------------------------------------------------------------- likelihood


class LogPartition(NamedTuple):
    """Estimate of ``ln Z``.

    Attributes:
        value: ``ln(mean of r)``. It is low on average, by about half the square of its standard error, so
            that a likelihood with it looks too good where draws are few.
        standard_error: Of ``value``, to first order: that of the mean of r, divided by that mean.
    """

    value: Tensor
    standard_error: Tensor


def log_partition(log_r: Tensor) -> LogPartition:
    """``ln Z`` from fresh draws of the base prior.

    Args:
        log_r: ``(..., M)``.
    """
    num = log_r.shape[-1]
    value = log_r.logsumexp(-1) - math.log(num)
    relative = torch.exp(log_r - value[..., None])  # r over its mean
    return LogPartition(value, relative.std(-1, correction=0) / math.sqrt(num))


def log_weights(log_base: Tensor, log_r: Tensor, log_z: Tensor) -> Tensor:
    """Logarithms of importance weights under the reweighted prior.

    Args:
        log_base: ``ln p(x | z) + ln p(z) - ln q(z | x)`` under the base prior, ``(...)``.
        log_r: ``ln r`` of every group's posterior draw, ``(..., groups)``.
        log_z: Estimates of the groups' ``ln Z`` given the latents above them, ``(..., groups)``.

    Returns:
        ``log_base + sum (ln r - ln Z)``, ``(...)``.
    """
    return log_base + (log_r - log_z).sum(-1)
