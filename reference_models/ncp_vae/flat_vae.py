"""A VAE of one group of latents: dense layers to a diagonal Normal, and back to a distribution of pixels.

Papers: Kingma & Welling 2014 (arXiv:1312.6114); the small VAE of Aneja et al. 2021 (arXiv:2010.02917), whose
sizes are not known here. It is asked as NVAE is (`reference_models.nvae.model`), so that a noise contrastive
prior is written once. Latents are NVAE's Normals: softly clamped, the prior has a standard deviation of 1.01.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from reference_models.layers.draws import Draws
from reference_models.ncp_vae.config import FlatVaeConfig
from reference_models.nvae import distributions
from reference_models.nvae.distributions import Normal, normal_of
from reference_models.nvae.model import Choose, GroupDraw, Inference


def dense(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers between these widths, with swish between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class FlatVae(nn.Module):
    """The VAE.

    Attributes:
        config: Its sizes.
        latent_shapes: ``((num_latents, 1, 1),)``.
        img_resolution: Side of the images.
        img_channels: Their channels.
        c_dim: 0: it learns no labels.
    """

    c_dim = 0

    def __init__(self, config: FlatVaeConfig) -> None:
        """Draws random weights."""
        super().__init__()
        self.config, self.latent_shapes = config, config.latent_shapes
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        side, hidden = config.img_resolution, [config.width] * config.depth
        self._params = distributions.num_parameters(config.pixels)
        self.encoder = dense([config.img_channels * side**2, *hidden, 2 * config.num_latents])
        self.decoder = dense([config.num_latents, *hidden, self._params * side**2])

    def top_down(self, choose: Choose, num: int, *, temperature: float = 1.0) -> Tensor:
        """Decodes latents that are chosen: `reference_models.nvae.model.Network.top_down`, of one group.

        Its context is empty, ``(num, 0, 1, 1)``.

        Returns:
            Parameters of the decoder, ``(num, parameters, h, w)``.
        """
        nothing = next(self.parameters()).new_zeros(num, *self.latent_shapes[0])
        z = choose(0, nothing[:, :0], Normal(nothing, nothing, temperature))
        side = self.config.img_resolution
        logits: Tensor = self.decoder(z.flatten(1))
        return logits.reshape(num, self._params, side, side)

    def infer(self, images: Tensor, draws: Draws) -> Inference:
        """Draws latents of images from their posterior, and says how likely all of it is.

        Args:
            images: ``(n, c, h, w)`` in [0, 1].
            draws: Normal numbers of the latents.
        """
        found: Inference = self(images, [draws.normal(shape) for shape in self.latent_shapes])
        return found

    def forward(self, images: Tensor, eps: Sequence[Tensor]) -> Inference:
        """`infer` with the numbers drawn."""
        posterior = normal_of(self.encoder((2 * images - 1).flatten(1))[:, :, None, None])
        groups: list[GroupDraw] = []

        def choose(group: int, context: Tensor, prior: Normal) -> Tensor:
            z = posterior.sample(eps[group])
            log_q, log_p = posterior.log_density(z), prior.log_density(z)
            groups.append(
                GroupDraw(
                    context,
                    prior,
                    posterior,
                    z,
                    log_q.sum((1, 2, 3)),
                    log_p.sum((1, 2, 3)),
                    posterior.kl(prior),
                )
            )
            return z

        logits = self.top_down(choose, len(images))
        return Inference(groups, logits, distributions.log_likelihood(self.config.pixels, logits, images))
