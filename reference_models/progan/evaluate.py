"""ProGAN as evalkit measures it: images, latents and styles of seeds.

Latents are drawn as the official samplers draw StyleGAN's, from a NumPy state seeded by the seed. A
traditional generator has no intermediate latent: `Model.map` returns its input, latent and labels side by
side, so that
paths between latents can be measured in that space. It has no average of w either, so there is no truncation.
Rounding is evalkit's rule, which equals the official ``round(127.5 x + 127.5)`` but for exact halves.
"""

from __future__ import annotations

from torch import Tensor

from evalkit.errors import UsageError
from evalkit.imaging.exact import exact_float32
from reference_models.layers.batches import in_batches
from reference_models.layers.sampling import GeneratorModel, Int64Array
from reference_models.progan.generator import Generator


class Model(GeneratorModel):
    """A ProGAN generator, at the level of detail that it stores."""

    generator: Generator

    def _map(self, z: Tensor, c: Tensor | None, psi: float, cutoff: int | None) -> Tensor:
        if psi != 1.0:
            raise UsageError(
                f"{self.name} was asked for truncation psi {psi}; ProGAN has no average latent to truncate "
                "toward: leave it at 1"
            )
        return self.generator.join(z.to(self.device), None if c is None else c.to(self.device))

    def synthesise(self, w: Tensor, *, noise_seeds: Int64Array | None = None) -> Tensor:
        """Float images ``(n, c, h, w)`` in about [-1, 1] of what `map` returned; ProGAN draws no noise."""
        size = self.batch()
        with exact_float32():
            return in_batches(self.generator.synthesis, size, w)
