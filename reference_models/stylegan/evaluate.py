"""StyleGAN as evalkit measures it: images, latents and styles of seeds.

As in the official sampling example (NVlabs/stylegan@1e0d5c7, pretrained_example.py) latents come from a NumPy
state seeded by the seed, noise is fresh, and the rounding truncates. Deviation: the noise of a seed is drawn
from a generator of that seed, on the CPU, so that an image depends on its seed alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evalkit.errors import UsageError
from reference_models.layers.batches import batch_size, in_batches
from reference_models.layers.sampling import Int64Array, draw_latents, exact_float32, one_hot, to_rgb_bytes
from reference_models.stylegan.generator import Generator


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
        """Styles ``(n, num_ws, w_dim)`` of latents ``(n, z_dim)``.

        Args:
            z: Latents.
            labels: Class numbers ``(n,)``, for a conditional model.
            truncation_psi: 1 for none; 0.7 in the published figures.
            truncation_cutoff: How many layers truncation reaches; None takes the network's own, 8 if
                published.

        Raises:
            UsageError: Labels are missing or wrong.
        """
        c = one_hot(labels, len(z), self.num_classes, self.name)

        def styles(z: Tensor, c: Tensor | None) -> Tensor:
            return self.generator.map(
                z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff
            )

        size = batch_size(self.resolution, self.device)
        with exact_float32():
            return in_batches(styles, size, z.to(self.device), None if c is None else c.to(self.device))

    def synthesise(self, w: Tensor, *, noise_seeds: Int64Array | None = None) -> Tensor:
        """Float images ``(n, c, h, w)`` in about [-1, 1] of styles ``(n, num_ws, w_dim)``.

        Args:
            w: Styles.
            noise_seeds: One seed a sample ``(n,)`` for its noise; None takes the stored maps.

        Raises:
            UsageError: There is not one seed a sample.
        """
        if noise_seeds is not None and np.shape(noise_seeds) != (len(w),):
            raise UsageError(
                f"{self.name} was given noise seeds of shape {np.shape(noise_seeds)} for {len(w)} samples; "
                "give one "
                "a sample, or none for the stored noise"
            )
        seeds = None if noise_seeds is None else torch.as_tensor(np.asarray(noise_seeds, dtype=np.int64))
        synthesis = self.generator.synthesis

        def images(w: Tensor, seeds: Tensor | None) -> Tensor:
            noise = "const" if seeds is None else [m.to(self.device) for m in self._noise(seeds)]
            out: Tensor = synthesis(w, noise=noise, lod=float(self.generator.lod))
            return out

        with exact_float32():
            return in_batches(images, batch_size(self.resolution, self.device), w, seeds)

    def _noise(self, seeds: Tensor) -> list[Tensor]:
        # All maps of a seed come from one generator, coarse to fine.
        own = []
        for seed in seeds.tolist():
            rng = torch.Generator("cpu").manual_seed(seed)
            own.append(
                [
                    torch.randn(1, 1, side, side, generator=rng)
                    for side in self.generator.synthesis.noise_sides()
                ]
            )
        return [torch.cat(maps) for maps in zip(*own, strict=True)]

    def sample(
        self,
        seeds: Int64Array,
        labels: Int64Array | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """uint8 images ``(n, 3, h, w)``, one a seed, with fresh noise.

        Args:
            seeds: ``(n,)``, between 0 and 2^32 - 1.
            labels: Class numbers ``(n,)``, for a conditional model.
            truncation_psi: See `map`.
            truncation_cutoff: See `map`.

        Raises:
            UsageError: Labels are missing or wrong, or a seed is out of range.
        """
        seeds = np.asarray(seeds)
        if not len(seeds):
            return torch.empty(0, 3, self.resolution, self.resolution, dtype=torch.uint8, device=self.device)
        w = self.map(
            self.latents(seeds), labels, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff
        )
        return to_rgb_bytes(self.synthesise(w, noise_seeds=seeds), self.name)
