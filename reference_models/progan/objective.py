"""ProGAN's losses: Wasserstein with a gradient penalty, a drift term, and an auxiliary classifier of labels.

Papers: Karras et al. 2018 (arXiv:1710.10196), appendix A.1; Gulrajani et al. 2017 (arXiv:1704.00028); Odena
et al. 2017 (arXiv:1610.09585). Official: tkarras/progressive_growing_of_gans@2504c3f, loss.py (G_wgan_acgan,
D_wgangp_acgan). Lower is better for the network that a loss belongs to. Deviation: a loss is one number a
sample; the official sum of ``(n, 1)`` and ``(n,)`` broadcasts to ``(n, n)``, whose mean is the mean of these.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reference_models.progan.discriminator import Discriminator
from reference_models.training.gan_losses import wasserstein_discriminator, wasserstein_generator
from reference_models.training.gan_regularisers import GradientPenalty, gradient_penalty

__all__ = [
    "DiscriminatorLoss",
    "GeneratorLoss",
    "GradientPenalty",
    "cross_entropy",
    "discriminator_loss",
    "generator_loss",
    "gradient_penalty",
]


class GeneratorLoss(NamedTuple):
    """The generator's loss, per sample, and its parts."""

    total: Tensor  # (n,)
    scores: Tensor  # (n,) minus the scores
    labels: Tensor  # (n,) weighted cross-entropy; 0 without labels


class DiscriminatorLoss(NamedTuple):
    """The discriminator's loss, per sample, and its parts."""

    total: Tensor  # (n,)
    scores: Tensor  # (n,) fake minus real scores, and the drift term
    penalties: Tensor  # (n,) gradient penalty and weighted cross-entropies
    real_scores: Tensor  # (n, 1)
    fake_scores: Tensor  # (n, 1)
    gradient: GradientPenalty


def cross_entropy(labels: Tensor, logits: Tensor) -> Tensor:
    """Softmax cross-entropy of ``(n, k)`` logits with one-hot ``(n, k)`` labels, in nats: ``(n,)``."""
    return -(labels * torch.log_softmax(logits, dim=1)).sum(dim=1)


def generator_loss(
    discriminator: Discriminator,
    fakes: Tensor,
    labels: Tensor | None = None,
    *,
    cond_weight: float = 1.0,
    lod: float | None = None,
) -> GeneratorLoss:
    """``-D(G(z, y)) + cond_weight CE(y, logits)``.

    Args:
        discriminator: D.
        fakes: G(z, y), ``(n, c, h, w)``.
        labels: One-hot y ``(n, c_dim)``, for a conditional D.
        cond_weight: Weight of the classifier.
        lod: Level of detail; None takes the one D stores.
    """
    scores, logits = discriminator(fakes, lod=lod)
    adversarial = wasserstein_generator(scores)[:, 0]
    classifier = torch.zeros_like(adversarial)
    if labels is not None and labels.shape[1]:
        classifier = cond_weight * cross_entropy(labels, logits)
    return GeneratorLoss(adversarial + classifier, adversarial, classifier)


def discriminator_loss(
    discriminator: Discriminator,
    reals: Tensor,
    fakes: Tensor,
    mixing: Tensor,
    labels: Tensor | None = None,
    *,
    wgan_lambda: float = 10.0,
    wgan_epsilon: float = 0.001,
    wgan_target: float = 1.0,
    cond_weight: float = 1.0,
    lod: float | None = None,
) -> DiscriminatorLoss:
    """``D(fake) - D(real)``, gradient penalty, drift ``epsilon D(real)^2`` and both cross-entropies.

    Args:
        discriminator: D.
        reals: ``(n, c, h, w)``.
        fakes: ``(n, c, h, w)`` of the same labels; no gradient flows into them.
        mixing: U(0, 1) draws, one a sample: ``(n,)`` or ``(n, 1, 1, 1)``.
        labels: One-hot ``(n, c_dim)`` of reals and fakes, for a conditional D.
        wgan_lambda: Weight of the gradient penalty.
        wgan_epsilon: Weight of the drift term.
        wgan_target: Gradient norm that costs nothing.
        cond_weight: Weight of the classifier.
        lod: Level of detail; None takes the one D stores.
    """
    real_scores, real_logits = discriminator(reals, lod=lod)
    fake_scores, fake_logits = discriminator(fakes.detach(), lod=lod)
    gradient = gradient_penalty(
        lambda x: discriminator(x, lod=lod).scores,
        reals,
        fakes,
        mixing,
        wgan_lambda=wgan_lambda,
        wgan_target=wgan_target,
    )
    scores = wasserstein_discriminator(fake_scores, real_scores, wgan_epsilon)[:, 0]
    penalties = gradient.penalty
    if labels is not None and labels.shape[1]:
        both = cross_entropy(labels, real_logits) + cross_entropy(labels, fake_logits)
        penalties = penalties + cond_weight * both
    return DiscriminatorLoss(scores + penalties, scores, penalties, real_scores, fake_scores, gradient)
