"""SRFlow as evaluations ask it: large images of small ones by seeds, and their likelihood; Glow as any flow.

Paper: Lugmayr et al. 2020 (arXiv:2006.14200), section 5; Kingma & Dhariwal 2018 (arXiv:1807.03039) without a
condition. Official: andreas128/SRFlow@5a007ad, code/test.py: small images are reflected to even sizes on the
right and below, and what came of the margin is cut off; temperature 0.9. Differs: every draw comes from the
sample's own seed; what is not finite is returned as it is, for whoever asked to name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from evalkit.errors import UsageError
from evalkit.imaging.exact import exact_float32
from reference_models.layers.batches import in_batches
from reference_models.layers.checks import check_range
from reference_models.layers.draws import Draws, SeedDraws
from reference_models.layers.likelihood import LikelihoodModel
from reference_models.srflow.model import Network

Int64Array = npt.NDArray[np.int64]

HEAT = 0.9  # of the official configs (``heat``)
_LEVELS = 256

_M = TypeVar("_M", bound="Restoration")


class Restoration:
    """A conditional network behind the capability Restores, with a conditional likelihood.

    Attributes:
        network: The network.
        name: How messages and records name it.
        scale: How many times as high and as wide its images are.
        stochastic: It draws.
        temperature: What a sample has where nobody says another: deviation of its latents.
        enlarge: 1: images have the size they have.
        identity: What decides its answers: model, config and weights.
        training: Facts of its training for records (``kimg``, ``checkpoint_sha256``); None where unknown.
    """

    stochastic: ClassVar[bool] = True
    enlarge: ClassVar[int] = 1

    def __init__(self, network: Network, *, name: str) -> None:
        """Takes the network, which stays where it is."""
        self.network, self.name = network, name
        self.scale: int = network.config.scale
        self.multiple: int = network.config.multiple
        self.temperature: float | None = HEAT
        self.identity: str | None = None
        self.training: Mapping[str, float | str] | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        found: torch.device = next(self.network.parameters()).device
        return found

    def to(self: _M, device: torch.device | str) -> _M:
        """Moves the network, and returns this model."""
        self.network.to(device)
        return self

    def restore(self, image: Tensor, *, seeds: Int64Array, temperature: float | None = None) -> Tensor:
        """Large images of a small one, which is encoded once; each depends on it and its seed alone.

        Args:
            image: uint8 ``(3, h, w)``; of a grey network with three equal channels.
            seeds: ``(n,)`` from 0 to 2^63 - 1.
            temperature: Deviation of the latents; None is `temperature`, 0 gives one image for all seeds.

        Returns:
            float32 ``(n, 3, h * scale, w * scale)`` in about [0, 1] on the model's device, finite or not.

        Raises:
            UsageError: Another type or shape, a seed out of range, or a temperature that cannot be.
        """
        tau = self.temperature if temperature is None else temperature
        check_range(self.name, "temperature", tau)
        assert tau is not None
        if image.dtype != torch.uint8 or image.dim() != 3 or image.shape[0] != 3 or not image.numel():
            raise UsageError(
                f"{self.name} was given an image of type {image.dtype} and shape {tuple(image.shape)}; it "
                "restores uint8 of shape (3, h, w): levels, not floats"
            )
        SeedDraws(seeds)  # refuses what is no seed, also where there is none
        height, width = (side * self.scale for side in image.shape[1:])
        if not len(seeds):
            return torch.empty(0, 3, height, width, device=self.device)
        with torch.no_grad(), exact_float32():
            condition = self.network.condition(_even(self._small(image[None])))

        def images(part: Tensor) -> Tensor:
            with torch.no_grad(), exact_float32():
                draws = SeedDraws(part.numpy(), self.device)
                return self.network.sample(draws, condition, float(tau))

        # All seeds are alike where nothing of them is left.
        asked = np.asarray(seeds, np.int64) if tau else np.asarray(seeds, np.int64)[:1]
        found = in_batches(images, _together(max(height, width)), torch.from_numpy(asked))
        found = found[:, :, :height, :width]
        return found.expand(len(seeds), 3, -1, -1).contiguous()

    def conditional_nats(self, hr: Tensor, lr: Tensor) -> Tensor:
        """-ln p(hr | lr / 255), a density on [0, 1]; each by its pair alone.

        Args:
            hr: Floats ``(n, 3, H, W)`` in [0, 1], whose sides are multiples of `NetworkConfig.multiple`.
            lr: uint8 ``(n, 3, H / scale, W / scale)``.

        Returns:
            float64 ``(n,)`` on the CPU.

        Raises:
            UsageError: Another type, shape or size; or a grey network, whose density is one of one channel.
        """
        if self._channels != 3:
            raise UsageError(
                f"{self.name} has a density of grey images, which have a third of the dimensions of colour "
                "ones; ask network.log_prob for it"
            )
        large = (len(lr), 3, *(side * self.scale for side in lr.shape[2:]))
        if lr.dtype != torch.uint8 or not hr.is_floating_point() or tuple(hr.shape) != large:
            raise UsageError(
                f"{self.name} was given {hr.dtype} {tuple(hr.shape)} and {lr.dtype} {tuple(lr.shape)}; give "
                f"floats (n, 3, H, W) in [0, 1] and uint8 images of 1/{self.scale} of their sides"
            )
        self.network.config.latent_shapes(*hr.shape[2:])  # refuses other sizes
        if not len(hr):
            return torch.empty(0, dtype=torch.float64)

        def part(large: Tensor, small: Tensor) -> Tensor:
            with torch.no_grad(), exact_float32():
                found = self.network.log_prob(large.float().to(self.device), self._small(small))
                return -found.double().cpu()

        return in_batches(part, _together(max(hr.shape[2:])), hr, lr)

    @property
    def _channels(self) -> int:
        return self.network.img_channels

    def _small(self, images: Tensor) -> Tensor:
        # Levels as the network takes them.
        if self._channels == 1 and not bool((images == images[:, :1]).all()):
            raise UsageError(
                f"{self.name} is of grey images and was given coloured ones; give images whose three "
                "channels are equal"
            )
        return images[:, : self._channels].to(self.device).float() / 255


class Glow(LikelihoodModel):
    """An unconditional network behind the capabilities Samples and HasLikelihood."""

    network: Network

    @property
    def likelihood(self) -> Mapping[str, Any]:
        """An exact density of images with noise, see `LikelihoodModel.likelihood`."""
        side = self.network.img_resolution
        return {
            "kind": "exact",
            "bits": 8,
            "dequantisation": "uniform",
            "vouched": True,
            "density": "unit",
            "shape": (self.network.img_channels, side, side),
        }

    def _sample(self, draws: Draws, num: int) -> Tensor:
        del num
        made = self.network.sample(draws, None, self.sampling["temperature"])
        # A level v is what lies from v / 256 to (v + 1) / 256, as in the likelihood.
        return (made * _LEVELS).floor().nan_to_num(0).clamp(0, _LEVELS - 1).to(torch.uint8)

    def _nats(self, images: Tensor, draws: Draws) -> Tensor:
        del draws
        return -self.network.log_prob(images.float(), None)

    def _log_weights(self, images: Tensor, draws: Draws) -> Tensor:
        # The latents of an image are known, so that every weight is its likelihood.
        return -self._nats(images, draws)


def Model(network: Network, *, name: str, enlarge: int = 1) -> Restoration | Glow:
    """A network as evaluations ask it.

    Args:
        network: With a condition or without.
        name: How messages and records name it.
        enlarge: Each pixel of the network becomes a square of so many by so many in what `Glow` samples.

    Raises:
        UsageError: A network that restores is to enlarge.
    """
    if not network.config.conditional:
        return Glow(network, name=name, enlarge=enlarge)
    if enlarge != 1:
        raise UsageError(
            f"{name} restores images at the size they have, and was to enlarge them by {enlarge}; train it "
            "on images as they are (--fit exact), or without a small image (--set network.conditional=False)"
        )
    return Restoration(network, name=name)


def _together(side: int) -> int:
    # How many samples go through the network at once; fixed, since it may show in the last bit.
    return 4 if side <= 64 else 1


def _even(images: Tensor) -> Tensor:
    # Reflected on the right and below to even sides; a single pixel has nothing to reflect.
    for dim in (3, 2):
        odd = images.shape[dim] % 2
        margin = (0, odd, 0, 0) if dim == 3 else (0, 0, 0, odd)
        images = functional.pad(images, margin, "reflect" if images.shape[dim] > 1 else "replicate")
    return images
