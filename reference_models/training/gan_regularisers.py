"""Regularisers of GANs: gradients of the discriminator, path lengths of the generator.

Papers: Mescheder et al. 2018 (arXiv:1801.04406), equation 9 (R1, R2); Gulrajani et al. 2017
(arXiv:1704.00028), equation 3 (gradient penalty); Karras et al. 2018 (arXiv:1710.10196), appendix A.1 (its
target); Karras et al. 2020 (arXiv:1912.04958), section 3.2 (path length). Official:
tkarras/progressive_growing_of_gans@2504c3f, loss.py; NVlabs/stylegan3@c233a91, training/loss.py. Everything
is one number a sample and differentiable once more. Differs: nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from evalkit.errors import UsageError


class GradientPenalty(NamedTuple):
    """A penalty on gradient norms, per sample."""

    penalty: Tensor  # (n,) (lambda / target^2) (norm - target)^2
    mixed: Tensor  # (n, c, h, w) where it was taken
    scores: Tensor  # (n, 1) scores there
    norms: Tensor  # (n,) of the gradient there


class PathLengths(NamedTuple):
    """How far path lengths are from their running mean."""

    penalty: Tensor  # (n,) (length - mean)^2
    lengths: Tensor  # (n,)
    mean: Tensor  # () the new running mean, detached


def squared_gradient(scores: Tensor, images: Tensor) -> Tensor:
    """Sum over channels and pixels of ``(d sum(scores) / d images)^2``: R1 at reals, R2 at fakes.

    Args:
        scores: Of the images, with the graph back to them.
        images: ``(n, c, h, w)`` that require a gradient.

    Returns:
        ``(n,)``.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))


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
    mixed = (reals + (fakes.detach() - reals) * mixing.reshape(-1, 1, 1, 1)).detach().requires_grad_()
    scores = score(mixed)
    norms = squared_gradient(scores, mixed).sqrt()
    penalty = (norms - wgan_target).square() * (wgan_lambda / wgan_target**2)
    return GradientPenalty(penalty, mixed.detach(), scores, norms)


def path_lengths(img: Tensor, ws: Tensor, noise: Tensor, mean: Tensor, *, decay: float) -> PathLengths:
    """How far the length of ``J^T y`` is from its running mean, J being the Jacobian of the image.

    Args:
        img: Images ``(n, c, h, w)`` with the graph back to their styles.
        ws: Styles ``(n, num_ws, w_dim)``.
        noise: Standard normal ``(n, c, h, w)``; it is divided by the root of the number of pixels here.
        mean: Running mean of lengths, a scalar; the new one enters the penalty, and gradients with it.
        decay: Share of the new mean.

    Raises:
        UsageError: The noise has another shape than the images.
    """
    if noise.shape != img.shape:
        raise UsageError(
            f"path lengths take noise of the images' shape {tuple(img.shape)}; given is {tuple(noise.shape)}"
        )
    y = noise / math.sqrt(img.shape[2] * img.shape[3])
    (jacobian,) = torch.autograd.grad((img * y).sum(), ws, create_graph=True)
    lengths = jacobian.square().sum(dim=2).mean(dim=1).sqrt()
    new_mean = mean + decay * (lengths.mean() - mean)
    return PathLengths((lengths - new_mean).square(), lengths, new_mean.detach())
