"""Divergence and density of diagonal Gaussians, in the two forms in which VAEs store their spread.

Papers: Kingma & Welling 2014 (arXiv:1312.6114), appendix B. Official: openai/vdvae@ea35b49, vae_helpers.py
(logarithms of standard deviations); NVlabs/NVAE@9fc1a28, distributions.py (standard deviations). Differs:
nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def kl_of_log_std(mean1: Tensor, log_std1: Tensor, mean2: Tensor, log_std2: Tensor) -> Tensor:
    """KL(N1 || N2) of every element, in nats, from logarithms of standard deviations.

    ``-1/2 + l2 - l1 + (e^(2 l1) + (m1 - m2)^2) / (2 e^(2 l2))``.
    """
    spread = torch.exp(2 * log_std1) + (mean1 - mean2) ** 2
    return -0.5 + log_std2 - log_std1 + 0.5 * spread / torch.exp(2 * log_std2)


def kl_of_std(mean1: Tensor, std1: Tensor, mean2: Tensor, std2: Tensor) -> Tensor:
    """KL(N1 || N2) of every element, in nats, from standard deviations.

    ``((m1 - m2)^2 + s1^2) / (2 s2^2) - 1/2 - ln(s1 / s2)``.
    """
    ratio = std1 / std2
    return 0.5 * (((mean1 - mean2) / std2) ** 2 + ratio**2) - 0.5 - ratio.log()


def log_density(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log density of every element under N(mean, e^(2 log_std)), in nats."""
    return -0.5 * ((x - mean) * torch.exp(-log_std)) ** 2 - log_std - _HALF_LOG_TAU
