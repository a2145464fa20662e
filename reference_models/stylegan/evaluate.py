"""StyleGAN as evalkit measures it: images, latents and styles of seeds.

As in the official sampling example (NVlabs/stylegan@1e0d5c7, pretrained_example.py) latents come from a NumPy
state seeded by the seed, noise is fresh, and the rounding truncates. Deviation: the noise of a seed is drawn
from a generator of that seed, on the CPU, so that an image depends on its seed alone.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from evalkit.errors import UsageError
from evalkit.imaging.exact import exact_float32
from reference_models.layers.batches import in_batches
from reference_models.layers.sampling import MOVED_CONSTANT, GeneratorModel, Int64Array
from reference_models.stylegan.generator import Generator


class Model(GeneratorModel):
    """A StyleGAN generator, at the level of detail that it stores."""

    fresh_noise: ClassVar[bool] = True
    transform_note: ClassVar[str] = MOVED_CONSTANT

    generator: Generator

    def _map(self, z: Tensor, c: Tensor | None, psi: float, cutoff: int | None) -> Tensor:
        def styles(z: Tensor, c: Tensor | None) -> Tensor:
            return self.generator.map(z, c, truncation_psi=psi, truncation_cutoff=cutoff)

        with exact_float32():
            return in_batches(
                styles, self.batch(), z.to(self.device), None if c is None else c.to(self.device)
            )

    def synthesise(
        self, w: Tensor, *, noise_seeds: Int64Array | None = None, transform: Tensor | None = None
    ) -> Tensor:
        """Float images ``(n, c, h, w)`` in about [-1, 1] of styles ``(n, num_ws, w_dim)``.

        Args:
            w: Styles.
            noise_seeds: One seed a sample ``(n,)`` for its noise; None takes the stored maps.
            transform: Inverse transform of the picture, ``(3, 3)``, applied to the learned constant alone.

        Raises:
            UsageError: There is not one seed a sample, or the transform has another shape.
        """
        if noise_seeds is not None and np.shape(noise_seeds) != (len(w),):
            raise UsageError(
                f"{self.name} was given noise seeds of shape {np.shape(noise_seeds)} for {len(w)} samples; "
                "give one a sample, or none for the stored noise"
            )
        seeds = None if noise_seeds is None else torch.as_tensor(np.asarray(noise_seeds, dtype=np.int64))
        synthesis = self.generator.synthesis
        moved = None if transform is None else transform.to(self.device)

        def images(w: Tensor, seeds: Tensor | None) -> Tensor:
            noise = "const" if seeds is None else [m.to(self.device) for m in self._noise(seeds)]
            out: Tensor = synthesis(w, noise=noise, lod=float(self.generator.lod), transform=moved)
            return out

        with exact_float32():
            return in_batches(images, self.batch(), w, seeds)

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
