"""Models whose likelihood is known in closed form, to hold bounds against."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reference_models.layers.draws import SeedDraws

SHAPE = (1, 8, 8)
DIMS, LATENTS, NOISE = 64, 3, 0.2


class LinearGaussian:
    """p(z) = N(0, I), p(y|z) = N(Wz + b, s² I), and a posterior that is not quite the true one.

    The images are dequantised and lie in [0, 1].
    """

    name = "linear-gaussian"
    resolution = 8
    num_classes = 0
    identity = None

    def __init__(self, kind: str = "elbo", spread: float = 1.8) -> None:
        rng = np.random.default_rng(0)
        self.W = torch.from_numpy(rng.normal(size=(DIMS, LATENTS)) * 0.1)
        self.b = torch.full((DIMS,), 0.4, dtype=torch.float64)
        precision = torch.eye(LATENTS, dtype=torch.float64) + self.W.T @ self.W / NOISE**2
        self.cov = torch.linalg.inv(precision)
        self.spread = spread
        self.likelihood = {
            "kind": kind, "shape": SHAPE, "dequantisation": "uniform", "density": "unit",
        }  # fmt: skip

    def exact(self, y: Tensor) -> Tensor:
        """-ln p(y), ``(n,)``."""
        cov = self.W @ self.W.T + NOISE**2 * torch.eye(DIMS, dtype=torch.float64)
        return -torch.distributions.MultivariateNormal(self.b, cov).log_prob(y.flatten(1))

    def log_weights(self, images: Tensor, *, seeds: np.ndarray) -> Tensor:
        """ln p(y, z) - ln q(z|y) of one draw of z."""
        y = images.flatten(1)
        mean = (y - self.b) @ self.W @ self.cov / NOISE**2
        q = torch.distributions.MultivariateNormal(mean, self.cov * self.spread**2)
        root = torch.linalg.cholesky(self.cov) * self.spread
        z = mean + SeedDraws(seeds).normal((LATENTS,)).double() @ root.T
        p_z = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
        p_y = torch.distributions.Normal(z @ self.W.T + self.b, NOISE).log_prob(y).sum(1)
        return p_y + p_z - q.log_prob(z)

    def nats(self, images: Tensor, *, seeds: np.ndarray) -> Tensor:
        """The exact number, or the bound of one draw."""
        if self.likelihood["kind"] == "exact":
            return self.exact(images)
        return -self.log_weights(images, seeds=seeds)

    def images(self, num: int) -> np.ndarray:
        """Draws of the model as bytes, RGB of equal channels, ``(num, 3, 8, 8)``."""
        rng = np.random.default_rng(1)
        z = rng.normal(size=(num, LATENTS))
        y = z @ self.W.numpy().T + 0.4 + NOISE * rng.normal(size=(num, DIMS))
        levels = np.clip(np.floor(y * 256), 0, 255).astype(np.uint8)
        return levels.reshape(num, 1, 8, 8).repeat(3, axis=1)
