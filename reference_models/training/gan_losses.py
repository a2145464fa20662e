"""Adversarial losses as functions of logits, one number a sample.

Papers: Goodfellow et al. 2014 (arXiv:1406.2661), sections 3 and 4.1 (logistic, non-saturating); Arjovsky et
al. 2017 (arXiv:1701.07875), equation 2 (Wasserstein); Karras et al. 2018 (arXiv:1710.10196), appendix A.1
(drift); Lim & Ye 2017 (arXiv:1705.02894) (hinge). Official: NVlabs/stylegan3@c233a91, training/loss.py;
NVlabs/stylegan@1e0d5c7, training/loss.py. Lower is better for the network that a loss belongs to. Logits and
losses have one shape; means are left to whoever trains. Differs: nothing.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def logistic_fake(logits: Tensor) -> Tensor:
    """``-log(1 - sigmoid(D(fake)))``: the discriminator's part on generated images."""
    return F.softplus(logits)


def logistic_real(logits: Tensor) -> Tensor:
    """``-log sigmoid(D(real))``: the discriminator's part on images of the data."""
    return F.softplus(-logits)


def logistic_discriminator(fake: Tensor, real: Tensor) -> Tensor:
    """Both parts, for logits of fakes and of reals."""
    return logistic_fake(fake) + logistic_real(real)


def non_saturating_generator(logits: Tensor) -> Tensor:
    """``-log sigmoid(D(fake))``."""
    return F.softplus(-logits)


def wasserstein_discriminator(fake: Tensor, real: Tensor, drift: float = 0.0) -> Tensor:
    """``D(fake) - D(real) + drift D(real)^2``; the drift keeps scores near 0."""
    return fake - real + drift * real.square()


def wasserstein_generator(logits: Tensor) -> Tensor:
    """``-D(fake)``."""
    return -logits


def hinge_discriminator(fake: Tensor, real: Tensor) -> Tensor:
    """``max(0, 1 + D(fake)) + max(0, 1 - D(real))``."""
    return F.relu(1 + fake) + F.relu(1 - real)


def hinge_generator(logits: Tensor) -> Tensor:
    """``-D(fake)``."""
    return -logits
