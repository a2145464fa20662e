"""VDVAE as evaluations ask it: images of seeds, its bound of images, importance weights.

Official: openai/vdvae@ea35b49, train.py (``evaluate``): the averaged weights and one sample of the posterior
an image. Differs: every draw comes from the image's own seed, an incomplete last batch counts as well, and
the bound is returned in nats an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from reference_models.layers import dmol
from reference_models.layers.draws import Draws
from reference_models.layers.likelihood import LikelihoodModel
from reference_models.vdvae import objective
from reference_models.vdvae.model import Network, Output


class Model(LikelihoodModel):
    """A VDVAE behind the capabilities Samples and HasLikelihood."""

    network: Network

    @property
    def likelihood(self) -> Mapping[str, Any]:
        """A bound of a probability of levels, see `LikelihoodModel.likelihood`."""
        config = self.network.config
        side = config.img_resolution
        return {
            "kind": "elbo",
            "bits": config.bits,
            "floors_itself": True,
            "dequantisation": "discrete",
            "vouched": True,
            "density": None,
            "shape": (config.img_channels, side, side),
        }

    def _sample(self, draws: Draws, num: int) -> Tensor:
        del num
        params = self.network.generate(self.network.draw(draws), temperature=self.sampling["temperature"])
        return dmol.to_levels(self.network.draw_images(draws, params))

    def _nats(self, images: Tensor, draws: Draws) -> Tensor:
        output, target = self._explained(images, draws)
        found = objective.terms(output, target, self.network.config)
        return found.elbo.double() * target[0].numel()

    def _log_weights(self, images: Tensor, draws: Draws) -> Tensor:
        return objective.log_weights(*self._explained(images, draws), self.network.config)

    def _explained(self, images: Tensor, draws: Draws) -> tuple[Output, Tensor]:
        config = self.network.config
        output = self.network(objective.inputs(images, config), self.network.draw(draws))
        return output, objective.targets(images, config)
