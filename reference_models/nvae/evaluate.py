"""NVAE as evaluations ask it: images of seeds, its bound of images, importance weights.

Official: NVlabs/NVAE@9fc1a28, evaluate.py. The bound is ``- ln p(x | z) + KL`` of one posterior sample,
where the KL is exact without flows and ``ln q - ln p`` of that sample with them. Differs: every draw comes
from the image's own seed; binary images are drawn anew from levels by the seed as well.

Settings of sampling: ``temperature`` multiplies the sigma of every prior. ``image`` is ``sample`` of the
decoder, or its ``mean``, which the release measures FID with. ``readjust_bn`` is how many passes of
``readjust_batch`` samples at that temperature move the running statistics of batch norms before anything is
sampled (the release: 500 of 16, and of 2 for FID); their seeds are fixed, so that a sample still depends on
its own seed alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from reference_models.layers.checks import check_choice, check_whole
from reference_models.layers.draws import Draws, SeedDraws
from reference_models.layers.likelihood import LikelihoodModel
from reference_models.nvae import objective
from reference_models.nvae.config import NetworkConfig
from reference_models.nvae.distributions import decoder
from reference_models.nvae.model import Inference, Network
from reference_models.nvae.operations import BatchNorm

# Seeds of readjustment, where no evaluation begins to count.
_FIRST_SEED = 2**62


class Model(LikelihoodModel):
    """An NVAE behind the capabilities Samples and HasLikelihood."""

    network: Network
    settings: ClassVar[Mapping[str, Any]] = {
        "temperature": 1.0,
        "image": "sample",
        "readjust_bn": 0,
        "readjust_batch": 16,
    }
    _readjusted: tuple[tuple[object, ...], Network] | None = None

    def check_sampling(self, sampling: Mapping[str, Any]) -> None:
        """Refuses values that cannot be.

        Raises:
            UsageError: One cannot.
        """
        super().check_sampling(sampling)
        check_choice("sampling", "image", sampling["image"], ("sample", "mean"))
        check_whole("sampling", "readjust_bn", sampling["readjust_bn"], 0)
        check_whole("sampling", "readjust_batch", sampling["readjust_batch"], 2)

    @property
    def likelihood(self) -> Mapping[str, Any]:
        """See `likelihood_of`."""
        return likelihood_of(self.network.config)

    def _sample(self, draws: Draws, num: int) -> Tensor:
        network = self._to_sample_from()
        logits = network.sample(draws, num, temperature=self.sampling["temperature"])
        found = decoder(network.config, logits)
        images = found.mean() if self.sampling["image"] == "mean" else found.sample(draws)
        return to_levels(images)

    def _nats(self, images: Tensor, draws: Draws) -> Tensor:
        return self._explained(images, draws).nelbo

    def _log_weights(self, images: Tensor, draws: Draws) -> Tensor:
        return self._explained(images, draws).log_weight

    def _explained(self, images: Tensor, draws: Draws) -> Inference:
        return self.network.infer(objective.inputs(images, self.network.config, draws), draws)

    def _to_sample_from(self) -> Network:
        passes, size = self.sampling["readjust_bn"], self.sampling["readjust_batch"]
        if not passes:
            return self.network
        key = (passes, size, self.sampling["temperature"], str(self.device))
        if self._readjusted is None or self._readjusted[0] != key:
            network = readjusted(self.network, passes=passes, size=size, temperature=key[2])
            self._readjusted = key, network
        return self._readjusted[1]


def likelihood_of(config: NetworkConfig) -> Mapping[str, Any]:
    """A bound of a probability of levels, or of a density where the decoder is Normal.

    Binary images are 28x28, without the rows and columns that are not counted, whose levels of 8 bits are
    probabilities of a 1. See `LikelihoodModel.likelihood`.
    """
    normal = config.num_mixture_dec == 1 and not config.binary
    note = ""
    if config.binary:
        note = "pixels are binarised at random, a white one with its level as probability"
    elif not normal and config.num_x_bits == 8:
        note = (
            "levels 254 and 255 share the upper tail, as in the release, so that probabilities sum to a "
            "little more than 1"
        )
    return {
        "kind": "elbo",
        "bits": config.num_x_bits,
        "dequantisation": "none" if normal else "discrete",
        "vouched": True,
        "note": note,
        "density": "signed" if normal else None,
        "shape": (config.img_channels, config.data_side, config.data_side),
    }


def to_levels(images: Tensor) -> Tensor:
    """Images in [0, 1] as uint8, rounded."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def readjusted(network: Network, *, passes: int, size: int, temperature: float) -> Network:
    """A copy of a network whose batch norms follow what it samples.

    Args:
        network: Is left as it is.
        passes: Of training's kind, of samples; each moves running statistics by a twentieth.
        size: Samples of a pass.
        temperature: Of the samples.

    Returns:
        The copy, ready to sample from.
    """
    network = copy.deepcopy(network)
    for module in network.modules():
        module.train(isinstance(module, BatchNorm))
        if isinstance(module, BatchNorm):
            module.synchronised = False
    device = next(network.parameters()).device
    for start in range(_FIRST_SEED, _FIRST_SEED + passes * size, size):
        network.sample(SeedDraws(np.arange(start, start + size), device), size, temperature=temperature)
    return network.eval()
