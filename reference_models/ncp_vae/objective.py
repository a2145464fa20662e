"""What the second stage minimises: contrasts of the posteriors of all groups with their base priors.

Paper: Aneja et al. 2021 (arXiv:2010.02917), section 3.2. Positives ``z_k ~ q(z_k | x, z_<k)`` and negatives
``z_k ~ p(z_k | z_<k)`` share the latents above them, which come from the posterior; groups are trained
independently of each other, on the frozen VAE. There is no official code. Differs: positives and negatives
go through a classifier as one batch, so that its batch norms cannot tell them by their batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reference_models.ncp_vae import prior as ncp
from reference_models.ncp_vae.sampling import LogR
from reference_models.nvae.model import Inference


class Contrast(NamedTuple):
    """What the classifier of a group makes of a batch.

    Attributes:
        loss: Its loss.
        accuracy: Share of draws it tells right, a scalar.
        ess: Effective sample size of the negatives under ``r``, as a share of their number, a scalar.
    """

    loss: ncp.NceLoss
    accuracy: Tensor
    ess: Tensor


def mirrored(images: Tensor, rng: torch.Generator, mirror: bool) -> Tensor:
    """Images ``(n, c, h, w)``, about half of them mirrored where that is asked for."""
    if not mirror:
        return images
    coin = torch.rand(len(images), 1, 1, 1, generator=rng, device=images.device)
    return torch.where(coin < 0.5, images.flip(3), images)


def contrast(log_r: LogR, inference: Inference, eps: Sequence[Tensor]) -> list[Contrast]:
    """The contrast of every group.

    Args:
        log_r: Classifiers.
        inference: Of a batch, without gradients.
        eps: Standard normal numbers of the negatives, ``(n, *latent_shapes[group])``.
    """
    found = []
    for group, (drawn, noise) in enumerate(zip(inference.groups, eps, strict=True)):
        both = torch.cat([drawn.z, drawn.prior.sample(noise)])
        positive, negative = log_r(group, both, torch.cat([drawn.context] * 2)).float().chunk(2)
        weights = negative.detach()
        ess = ncp.effective_sample_size(weights) / len(weights)
        found.append(
            Contrast(ncp.nce_loss(positive, negative), ncp.accuracy(positive.detach(), weights), ess)
        )
    return found
