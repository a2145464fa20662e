"""Sizes of a VAE with a noise contrastive prior: of the VAE, and of the classifiers that make the prior.

Paper: Aneja et al. 2021 (arXiv:2010.02917), section 5 (NVAE on MNIST, CIFAR-10 and CelebA 64; a small VAE of
one group). There is no official code, and the paper's own sizes of classifiers are not known here: theirs are
this project's choice in every preset, as all of ``tiny`` is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evalkit.errors import UsageError
from reference_models.layers.checks import check_flags, check_side, check_whole
from reference_models.nvae import config as nvae
from reference_models.presets import Single


@dataclass(frozen=True, kw_only=True, slots=True)
class FlatVaeConfig:
    """What a VAE of one group of latents is made of: dense layers both ways, and NVAE's decoders of pixels.

    Attributes:
        img_resolution: Side of the images, a power of two; that of the grid, 32, where they are binary.
        img_channels: 3, or 1 for grey.
        binary: Whether pixels are 0 or 1, as of NVAE: 28x28 of them in a grid of 32x32.
        num_latents: Latents.
        width: Of every dense layer.
        depth: Dense layers before the last, of either network.
        num_mixture_dec: Components of the mixture of logistics.
    """

    img_resolution: int = 8
    img_channels: int = 1
    binary: bool = False
    num_latents: int = 8
    width: int = 256
    depth: int = 2
    num_mixture_dec: int = 5

    def __post_init__(self) -> None:
        what = "the flat VAE"
        check_side(what, self.img_resolution)
        check_flags(what, binary=self.binary)
        check_whole(what, "num_latents", self.num_latents, 1, 4096)
        check_whole(what, "width", self.width, 1)
        check_whole(what, "depth", self.depth, 0, 64)
        check_whole(what, "num_mixture_dec", self.num_mixture_dec, 2, 1024)
        _ = self.pixels  # refuses images that cannot be

    @property
    def latent_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Channels, height and width of the one group."""
        return ((self.num_latents, 1, 1),)

    @property
    def pixels(self) -> nvae.NetworkConfig:
        """An NVAE of the same images and decoder, which says how pixels are counted."""
        return nvae.NetworkConfig(
            img_resolution=self.img_resolution,
            img_channels=self.img_channels,
            binary=self.binary,
            num_mixture_dec=self.num_mixture_dec,
            num_preprocess_blocks=0,
            num_postprocess_blocks=0,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierConfig:
    """What the classifier of a group is made of.

    Attributes:
        width: Channels after the first layer; they double wherever the side halves.
        depth: Residual blocks of every side; dense layers where latents have no side.
        halvings: How often the side halves, at most: never below 1.
    """

    width: int = 64
    depth: int = 2
    halvings: int = 2

    def __post_init__(self) -> None:
        what = "the classifier"
        check_whole(what, "width", self.width, 1, 4096)
        check_whole(what, "depth", self.depth, 0, 64)
        check_whole(what, "halvings", self.halvings, 0, 12)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """What the network is made of.

    Attributes:
        img_resolution: Side of the images.
        img_channels: Their channels.
        vae: The VAE; its images are of the side and channels above, whatever it says itself.
        classifier: The classifiers, one a group of its latents.
    """

    img_resolution: int = 8
    img_channels: int = 1
    vae: FlatVaeConfig | nvae.NetworkConfig = field(default_factory=FlatVaeConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)

    def __post_init__(self) -> None:
        if not isinstance(self.vae, FlatVaeConfig | nvae.NetworkConfig):
            raise UsageError(
                f"a VAE with a noise contrastive prior: vae is {self.vae!r}; give a FlatVaeConfig or NVAE's "
                "NetworkConfig"
            )
        same: dict[str, Any] = {"img_resolution": self.img_resolution, "img_channels": self.img_channels}
        if any(getattr(self.vae, name) != value for name, value in same.items()):
            object.__setattr__(self, "vae", dataclasses.replace(self.vae, **same))

    @property
    def pixels(self) -> nvae.NetworkConfig:
        """NVAE's config of the images: bits, whether binary, decoder."""
        return self.vae.pixels if isinstance(self.vae, FlatVaeConfig) else self.vae


def _on_nvae(preset: str, about: str, **classifier: int) -> Single[NetworkConfig]:
    backbone = nvae.PRESETS[preset].network
    config = NetworkConfig(
        img_resolution=backbone.img_resolution,
        img_channels=backbone.img_channels,
        vae=backbone,
        classifier=ClassifierConfig(**classifier),
    )
    return Single(network=config, about=f"{about}; on the NVAE {preset}, classifiers of our own size")


PRESETS: Mapping[str, Single[NetworkConfig]] = {
    "mnist": _on_nvae("mnist", "MNIST, binarised at random"),
    "cifar10": _on_nvae("cifar10", "CIFAR-10", width=128),
    "celeba_64": _on_nvae("celeba_64", "CelebA, 64x64", width=128),
    "tiny": Single(
        network=NetworkConfig(classifier=ClassifierConfig(width=128, depth=1)),
        about="grey images, 8x8, eight latents in one group: for tests and for two cores",
    ),
}
