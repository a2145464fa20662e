"""ProGAN as evalkit measures it: images, latents and styles of seeds.

Latents are drawn as the official samplers draw StyleGAN's, from a NumPy state seeded by the seed. A
traditional
generator has no intermediate latent: `Model.map` returns its input, latent and labels side by side, so that
paths between latents can be measured in that space. It has no average of w either, so there is no truncation.
Rounding is evalkit's rule, which equals the official ``round(127.5 x + 127.5)`` but for exact halves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evalkit.errors import UsageError
from reference_models.layers.batches import batch_size, in_batches
from reference_models.layers.sampling import Int64Array, draw_latents, exact_float32, one_hot, to_rgb_bytes
from reference_models.progan.generator import Generator


class Model:
    """A generator behind the capabilities that metrics ask for.

    Attributes:
        name: How messages and records name it.
        generator: The network, at the level of detail that it stores.
        num_classes: Number of classes, 0 without labels.
        resolution: Side of the images.
    """

    def __init__(self, generator: Generator, *, name: str) -> None:
        """Takes the network as it is."""
        self.name = name
        self.generator = generator
        self.num_classes = generator.c_dim
        self.resolution = generator.img_resolution

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.generator.lod.device

    def to(self, device: torch.device | str) -> Model:
        """Moves the network."""
        self.generator.to(device)
        return self

    def latents(self, seeds: Int64Array) -> Tensor:
        """float32 ``(n, z_dim)`` of seeds ``(n,)``, on the model's device."""
        return draw_latents(seeds, self.generator.z_dim).to(self.device)

    def map(
        self,
        z: Tensor,
        labels: Int64Array | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """What `synthesise` takes: latents ``(n, z_dim)`` and one-hot labels side by side.

        Raises:
            UsageError: Truncation was asked for, or labels are missing or wrong.
        """
        if truncation_psi != 1.0:
            raise UsageError(
                f"{self.name} was asked for truncation psi {truncation_psi}; ProGAN has no average latent to "
                "truncate toward: leave it at 1"
            )
        c = one_hot(labels, len(z), self.num_classes, self.name)
        return self.generator.join(z.to(self.device), None if c is None else c.to(self.device))

    def synthesise(self, w: Tensor, *, noise_seeds: Int64Array | None = None) -> Tensor:
        """Float images ``(n, c, h, w)`` in about [-1, 1] of what `map` returned; ProGAN draws no noise."""
        size = batch_size(self.resolution, self.device)
        with exact_float32():
            return in_batches(self.generator.synthesis, size, w)

    def sample(
        self,
        seeds: Int64Array,
        labels: Int64Array | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """uint8 images ``(n, 3, h, w)``, one a seed.

        Args:
            seeds: ``(n,)``, between 0 and 2^32 - 1.
            labels: Class numbers ``(n,)``, for a conditional model.
            truncation_psi: 1; ProGAN has no truncation.
            truncation_cutoff: Without a meaning here.

        Raises:
            UsageError: Truncation was asked for, labels are missing or wrong, or a seed is out of range.
        """
        w = self.map(
            self.latents(seeds), labels, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff
        )
        if not len(w):
            return torch.empty(0, 3, self.resolution, self.resolution, dtype=torch.uint8, device=self.device)
        return to_rgb_bytes(self.synthesise(w), self.name)
