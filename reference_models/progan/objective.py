"""ProGAN's losses: Wasserstein with a gradient penalty, a drift term, and an auxiliary classifier of labels.

Papers: Karras et al. 2018 (arXiv:1710.10196), appendix A.1; Gulrajani et al. 2017 (arXiv:1704.00028); Odena
et al. 2017 (arXiv:1610.09585). Official: tkarras/progressive_growing_of_gans@2504c3f, loss.py (G_wgan_acgan,
D_wgangp_acgan). Lower is better for the network that a loss belongs to. Deviation: a loss is one number a
sample; the official sum of ``(n, 1)`` and ``(n,)`` broadcasts to ``(n, n)``, whose mean is the mean of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from reference_models.layers.growing import lerp
from reference_models.progan.discriminator import Discriminator


class GeneratorLoss(NamedTuple):
    """The generator's loss, per sample, and its parts."""

    total: Tensor  # (n,)
    scores: Tensor  # (n,) minus the scores
    labels: Tensor  # (n,) weighted cross-entropy; 0 without labels


class GradientPenalty(NamedTuple):
    """A penalty on gradient norms, per sample."""

    penalty: Tensor  # (n,) (lambda / target^2) (norm - target)^2
    mixed: Tensor  # (n, c, h, w) where it was taken
    scores: Tensor  # (n, 1) scores there
    norms: Tensor  # (n,) of the gradient there


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


def gradient_penalty(
    score: Callable[[Tensor], Tensor],
    reals: Tensor,
    fakes: Tensor,
    mixing: Tensor,
    *,
    wgan_lambda: float = 10.0,
    wgan_target: float = 1.0,
) -> GradientPenalty:
    """``(lambda / target^2) (||d sum(D(x)) / dx|| - target)^2`` at points between reals and fakes.

    Args:
        score: Images to scores ``(n, 1)``.
        reals: ``(n, c, h, w)``.
        fakes: ``(n, c, h, w)``; no gradient flows into them.
        mixing: Where between the two, in [0, 1]: ``(n,)`` or ``(n, 1, 1, 1)``.
        wgan_lambda: Weight.
        wgan_target: Norm that costs nothing.
    """
    mixed = lerp(reals, fakes.detach(), mixing.reshape(-1, 1, 1, 1)).detach().requires_grad_()
    scores = score(mixed)
    (gradient,) = torch.autograd.grad(scores.sum(), mixed, create_graph=True)
    norms = gradient.square().sum(dim=(1, 2, 3)).sqrt()
    penalty = (norms - wgan_target).square() * (wgan_lambda / wgan_target**2)
    return GradientPenalty(penalty, mixed.detach(), scores, norms)


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
    adversarial = -scores[:, 0]
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
    scores = (fake_scores - real_scores + wgan_epsilon * real_scores.square())[:, 0]
    penalties = gradient.penalty
    if labels is not None and labels.shape[1]:
        both = cross_entropy(labels, real_logits) + cross_entropy(labels, fake_logits)
        penalties = penalties + cond_weight * both
    return DiscriminatorLoss(scores + penalties, scores, penalties, real_scores, fake_scores, gradient)
