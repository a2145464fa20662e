"""StyleGAN's losses: non-saturating logistic with R1 and R2, or WGAN-GP; and the draws of style mixing.

Papers: Karras et al. 2019 (arXiv:1812.04948), section 3.1 and appendix C; Mescheder et al. 2018
(arXiv:1801.04406) for R1 and R2; Gulrajani et al. 2017 (arXiv:1704.00028). Official: NVlabs/stylegan@1e0d5c7,
training/loss.py (G_logistic_nonsaturating, D_logistic_simplegp, G_wgan, D_wgan_gp). Lower is better for the
network that a loss belongs to. Deviation: a loss is one number a sample; the official sum of ``(n, 1)`` and
``(n,)`` broadcasts to ``(n, n)``, whose mean is the mean of these.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reference_models.stylegan.discriminator import Discriminator
from reference_models.stylegan.generator import active_layers
from reference_models.training.gan_losses import (
    logistic_discriminator,
    non_saturating_generator,
    wasserstein_discriminator,
    wasserstein_generator,
)
from reference_models.training.gan_regularisers import gradient_penalty, squared_gradient

__all__ = [
    "DiscriminatorLoss",
    "discriminator_logistic",
    "discriminator_wgan_gp",
    "draw_mixing_cutoff",
    "generator_logistic",
    "generator_wgan",
    "mixing_cutoff",
    "squared_gradient",
]


class DiscriminatorLoss(NamedTuple):
    """The discriminator's loss, per sample, and its parts."""

    total: Tensor  # (n,)
    scores: Tensor  # (n,) the part that scores alone make
    penalties: Tensor  # (n,) weighted penalties
    real_scores: Tensor  # (n, 1)
    fake_scores: Tensor  # (n, 1)
    r1: Tensor  # (n,) squared gradient norm at the reals, before gamma / 2; 0 where it is not used
    r2: Tensor  # (n,) the same at the fakes


def generator_logistic(
    discriminator: Discriminator, fakes: Tensor, labels: Tensor | None = None, *, lod: float | None = None
) -> Tensor:
    """Non-saturating: ``softplus(-D(G(z, y), y))``, ``(n,)``."""
    return non_saturating_generator(discriminator(fakes, labels, lod=lod))[:, 0]


def generator_wgan(
    discriminator: Discriminator, fakes: Tensor, labels: Tensor | None = None, *, lod: float | None = None
) -> Tensor:
    """Wasserstein: ``-D(G(z, y), y)``, ``(n,)``."""
    return wasserstein_generator(discriminator(fakes, labels, lod=lod))[:, 0]


def discriminator_logistic(
    discriminator: Discriminator,
    reals: Tensor,
    fakes: Tensor,
    labels: Tensor | None = None,
    *,
    r1_gamma: float = 10.0,
    r2_gamma: float = 0.0,
    lod: float | None = None,
) -> DiscriminatorLoss:
    """``softplus(D(fake)) + softplus(-D(real))`` and ``gamma / 2`` times R1 and R2.

    Args:
        discriminator: D.
        reals: ``(n, c, h, w)``.
        fakes: ``(n, c, h, w)`` of the same labels; no gradient flows into them.
        labels: One-hot ``(n, c_dim)`` of reals and fakes, for a conditional D.
        r1_gamma: Weight of R1, at the reals; 0 leaves it out.
        r2_gamma: Weight of R2, at the fakes; 0 leaves it out.
        lod: Level of detail; None takes the one D stores.
    """
    reals = reals.detach().requires_grad_(r1_gamma != 0.0)
    fakes = fakes.detach().requires_grad_(r2_gamma != 0.0)
    real_scores = discriminator(reals, labels, lod=lod)
    fake_scores = discriminator(fakes, labels, lod=lod)
    scores = logistic_discriminator(fake_scores, real_scores)[:, 0]
    nothing = torch.zeros_like(scores)
    r1 = squared_gradient(real_scores, reals) if r1_gamma != 0.0 else nothing
    r2 = squared_gradient(fake_scores, fakes) if r2_gamma != 0.0 else nothing
    penalties = 0.5 * (r1_gamma * r1 + r2_gamma * r2)
    return DiscriminatorLoss(scores + penalties, scores, penalties, real_scores, fake_scores, r1, r2)


def discriminator_wgan_gp(
    discriminator: Discriminator,
    reals: Tensor,
    fakes: Tensor,
    mixing: Tensor,
    labels: Tensor | None = None,
    *,
    wgan_lambda: float = 10.0,
    wgan_epsilon: float = 0.001,
    wgan_target: float = 1.0,
    lod: float | None = None,
) -> DiscriminatorLoss:
    """``D(fake) - D(real) + epsilon D(real)^2`` and a gradient penalty between reals and fakes.

    Args:
        discriminator: D.
        reals: ``(n, c, h, w)``.
        fakes: ``(n, c, h, w)`` of the same labels; no gradient flows into them.
        mixing: U(0, 1) draws, one a sample: ``(n,)`` or ``(n, 1, 1, 1)``.
        labels: One-hot ``(n, c_dim)`` of reals and fakes, for a conditional D.
        wgan_lambda: Weight of the gradient penalty.
        wgan_epsilon: Weight of the drift term.
        wgan_target: Gradient norm that costs nothing.
        lod: Level of detail; None takes the one D stores.
    """
    real_scores = discriminator(reals, labels, lod=lod)
    fake_scores = discriminator(fakes.detach(), labels, lod=lod)
    found = gradient_penalty(
        lambda x: discriminator(x, labels, lod=lod),
        reals,
        fakes,
        mixing,
        wgan_lambda=wgan_lambda,
        wgan_target=wgan_target,
    )
    scores = wasserstein_discriminator(fake_scores, real_scores, wgan_epsilon)[:, 0]
    nothing = torch.zeros_like(scores)
    total = scores + found.penalty
    return DiscriminatorLoss(total, scores, found.penalty, real_scores, fake_scores, nothing, nothing)


def mixing_cutoff(num_ws: int, lod: float, *, uniform: float, draw: int, probability: float = 0.9) -> int:
    """The first layer that second latents rule.

    Args:
        num_ws: Layers of the generator.
        lod: Level of detail.
        uniform: A U(0, 1) draw, one a minibatch.
        draw: A draw from ``{1, ..., active layers - 1}``, one a minibatch.
        probability: How often styles are mixed.

    Returns:
        ``draw`` where ``uniform < probability``, else the number of active layers: then the second latents
        rule only layers without influence.
    """
    return draw if uniform < probability else active_layers(num_ws, lod)


def draw_mixing_cutoff(num_ws: int, lod: float, rng: torch.Generator, *, probability: float = 0.9) -> int:
    """Draws what `mixing_cutoff` needs, always both numbers, and returns the cutoff."""
    active = active_layers(num_ws, lod)
    uniform = float(torch.rand((), generator=rng, device=rng.device))
    draw = int(torch.randint(1, max(active, 2), (), generator=rng, device=rng.device))
    return mixing_cutoff(num_ws, lod, uniform=uniform, draw=draw, probability=probability)
