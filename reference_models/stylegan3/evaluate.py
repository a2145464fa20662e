"""StyleGAN3 as evaluations ask it: images of seeds, latents, styles, and pictures under a transform.

Official: NVlabs/stylegan3@c233a91, gen_images.py and metrics/equivariance.py. Differs: images of seeds are
made one at a time on every device, since the layers normalise styles over the whole batch, which lets
samples of a batch touch each other's last bits.
"""

from __future__ import annotations

from torch import Tensor

from evalkit.imaging.exact import exact_float32
from reference_models.layers.sampling import Int64Array, StyleModel
from reference_models.stylegan3.generator import Generator


class Model(StyleModel):
    """A StyleGAN3 generator behind the capabilities Samples, HasLatents, Transformable and Conditional."""

    generator: Generator

    def batch(self) -> int:
        """One: see the head of this file."""
        return 1

    def synthesise(
        self, w: Tensor, *, noise_seeds: Int64Array | None = None, transform: Tensor | None = None
    ) -> Tensor:
        """Images of styles.

        Args:
            w: ``(n, num_ws, w_dim)``.
            noise_seeds: Without influence: this network has no noise.
            transform: Inverse transform of the picture in place of the stored one, ``(3, 3)``, ``(n, 3, 3)``.

        Returns:
            float32 ``(n, c, h, w)`` in about [-1, 1].

        Raises:
            UsageError: Another shape of w or of the transform.
        """
        del noise_seeds
        with exact_float32():
            img: Tensor = self.generator.synthesis(
                w.to(self.device), transform=None if transform is None else transform.to(self.device)
            )
        return img
