"""StyleGAN2 as evaluations ask it: images of seeds, latents, styles, and pictures under a transform.

Official: NVlabs/stylegan3@c233a91, gen_images.py and metrics/. Differs: the noise is the stored one;
`Model.synthesise` draws fresh maps of given seeds on request, as the perceptual path length needs. The
learned constant can be moved (`evalkit.imaging.moved_grid`), so that equivariance is defined.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from evalkit.errors import UsageError
from evalkit.imaging.exact import exact_float32
from reference_models.layers.sampling import MOVED_CONSTANT, Int64Array, StyleModel
from reference_models.stylegan2.generator import Generator


class Model(StyleModel):
    """A StyleGAN2 generator behind the capabilities Samples, HasLatents, Transformable and Conditional."""

    generator: Generator
    transform_note: ClassVar[str] = MOVED_CONSTANT

    def synthesise(
        self, w: Tensor, *, noise_seeds: Int64Array | None = None, transform: Tensor | None = None
    ) -> Tensor:
        """Images of styles.

        Args:
            w: ``(n, num_ws, w_dim)``.
            noise_seeds: ``(n,)``: fresh noise maps of these seeds instead of the stored ones. Equal seeds are
                equal maps, on every device.
            transform: Inverse transform of the picture, ``(3, 3)``, applied to the learned constant alone.

        Returns:
            float32 ``(n, c, h, w)`` in about [-1, 1].

        Raises:
            UsageError: Another shape of w or of the transform, or not one seed a sample.
        """
        if noise_seeds is not None and len(noise_seeds) != len(w):
            raise UsageError(
                f"{self.name}: {len(noise_seeds)} noise seeds were given for {len(w)} samples; give one each"
            )
        moved = None if transform is None else transform.to(self.device)
        with exact_float32():
            if noise_seeds is None:
                img: Tensor = self.generator.synthesis(w.to(self.device), transform=moved)
            else:
                sources = [torch.Generator("cpu").manual_seed(int(seed)) for seed in noise_seeds]
                img = self.generator.synthesis(
                    w.to(self.device), noise_mode="random", generator=sources, transform=moved
                )
        return img
