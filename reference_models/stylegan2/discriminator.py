"""StyleGAN2's discriminator: images and labels to logits, in its resnet, skip and orig architectures.

Papers: Karras et al. 2020a (arXiv:1912.04958), figure 7; Karras et al. 2020b (arXiv:2006.06676) for the
projection of labels (Miyato and Koyama 2018) and the freezing of layers. Official:
NVlabs/stylegan3@c233a91, training/networks_stylegan2.py. Names of parameters and buffers are the official
ones. Deviations: float32 throughout.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from evalkit.errors import UsageError
from reference_models.layers.equalised import FullyConnected, ResampledConv2d
from reference_models.layers.growing import check_labels
from reference_models.layers.mapping import MappingNetwork
from reference_models.ops import downsample2d, minibatch_std, setup_filter
from reference_models.stylegan2.config import DiscriminatorConfig

_HALF = math.sqrt(0.5)
_WHAT = "StyleGAN2's discriminator"


class DiscriminatorBlock(nn.Module):
    """Halves the resolution.

    Attributes:
        num_layers: Convolutions, which is what freezing counts.
        resample_filter: Filter for the image.
    """

    resample_filter: Tensor

    def __init__(self, resolution: int, config: DiscriminatorConfig, first_layer: int) -> None:
        """Makes the layers of one resolution.

        Args:
            resolution: Side of the input.
            config: Sizes.
            first_layer: How many convolutions came before.
        """
        super().__init__()
        self.architecture = config.architecture
        self.is_first = resolution == config.img_resolution
        self.num_layers = 0
        channels, after = config.channels(resolution), config.channels(resolution // 2)
        self.register_buffer("resample_filter", setup_filter(config.resample_filter))

        def layer(i: int, o: int, kernel: int, *, down: int = 1, plain: bool = False) -> ResampledConv2d:
            trainable = first_layer + self.num_layers >= config.freeze_layers
            self.num_layers += 1
            return ResampledConv2d(
                i,
                o,
                kernel,
                bias=not plain,
                activation="linear" if plain else config.activation,
                down=down,
                resample_filter=config.resample_filter,
                conv_clamp=None if plain else config.conv_clamp,
                trainable=trainable,
            )

        if self.is_first or config.architecture == "skip":
            self.fromrgb: ResampledConv2d | None = layer(config.img_channels, channels, 1)
        else:
            self.fromrgb = None
        self.conv0 = layer(channels, channels, 3)
        self.conv1 = layer(channels, after, 3, down=2)
        if config.architecture == "resnet":
            self.skip = layer(channels, after, 1, down=2, plain=True)

    def forward(self, x: Tensor | None, img: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features (None in the first block) and image to those of half the side."""
        if self.fromrgb is not None:
            y = self.fromrgb(img)
            x = y if x is None else x + y
            img = (
                downsample2d(img, self.resample_filter)
                if img is not None and self.architecture == "skip"
                else None
            )
        assert x is not None  # the first block has a fromrgb
        if self.architecture == "resnet":
            shortcut = self.skip(x, _HALF)
            return shortcut + self.conv1(self.conv0(x), _HALF), img
        features: Tensor = self.conv1(self.conv0(x))
        return features, img


class MinibatchStd(nn.Module):
    """Appends the minibatch standard deviation."""

    def __init__(self, group_size: int | None, num_channels: int) -> None:
        """Takes the size of the groups (None is the batch) and the channels to append."""
        super().__init__()
        self.group_size, self.num_channels = group_size, num_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c + num_channels, h, w)``."""
        return minibatch_std(x, group_size=self.group_size, num_channels=self.num_channels)


class DiscriminatorEpilogue(nn.Module):
    """4x4 features to logits, or to the vector that labels are projected on."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        """Makes the layers."""
        super().__init__()
        channels = config.channels(4)
        self.fromrgb: ResampledConv2d | None = None
        if config.architecture == "skip":
            # The only convolution that is never clamped.
            self.fromrgb = ResampledConv2d(
                config.img_channels, channels, 1, activation=config.epilogue_activation
            )
        self.mbstd: MinibatchStd | None = None
        if config.mbstd_num_channels > 0:
            self.mbstd = MinibatchStd(config.mbstd_group_size, config.mbstd_num_channels)
        self.conv = ResampledConv2d(
            channels + config.mbstd_num_channels,
            channels,
            3,
            activation=config.epilogue_activation,
            conv_clamp=config.conv_clamp,
        )
        self.fc = FullyConnected(channels * 16, channels, activation=config.epilogue_activation)
        self.out = FullyConnected(channels, config.projection if config.c_dim > 0 else 1)

    def forward(self, x: Tensor, img: Tensor | None) -> Tensor:
        """``(n, channels, 4, 4)`` (and the 4x4 image, for skip) to ``(n, 1)`` or ``(n, cmap_dim)``."""
        if self.fromrgb is not None:
            x = x + self.fromrgb(img)
        if self.mbstd is not None:
            x = self.mbstd(x)
        y: Tensor = self.out(self.fc(self.conv(x).flatten(1)))
        return y


class Discriminator(nn.Module):
    """Images and labels to logits. Samples of a batch influence each other by the minibatch deviation.

    Attributes:
        config: Its sizes.
        c_dim: Number of classes.
        img_resolution: Side of the image.
        img_channels: Channels of the image.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        """Builds the network with random weights from torch's current generator."""
        super().__init__()
        self.config = config
        self.c_dim, self.img_resolution, self.img_channels = (
            config.c_dim,
            config.img_resolution,
            config.img_channels,
        )
        self.resolutions = config.resolutions
        num_layers = 0
        for resolution in self.resolutions[:-1]:
            block = DiscriminatorBlock(resolution, config, num_layers)
            self.add_module(f"b{resolution}", block)
            num_layers += block.num_layers
        self.mapping: MappingNetwork | None = None
        if config.c_dim > 0:
            self.mapping = MappingNetwork(
                0, config.c_dim, config.projection, None, config.mapping, what=_WHAT
            )
        self.b4 = DiscriminatorEpilogue(config)

    def forward(self, img: Tensor, c: Tensor | None = None) -> Tensor:
        """Judges images.

        Args:
            img: ``(n, img_channels, img_resolution, img_resolution)``, in about [-1, 1].
            c: One-hot labels ``(n, c_dim)``, for a conditional network.

        Returns:
            Logits ``(n, 1)``; above 0 is real.

        Raises:
            UsageError: Images or labels of another shape, labels missing, or a batch that makes no groups.
        """
        side = self.img_resolution
        if img.ndim != 4 or tuple(img.shape[1:]) != (self.img_channels, side, side):
            raise UsageError(
                f"{_WHAT} takes images of shape (n, {self.img_channels}, {side}, {side}); given is "
                f"{tuple(img.shape)}"
            )
        c = check_labels(c, len(img), self.c_dim, _WHAT)
        x: Tensor | None = None
        rest: Tensor | None = img
        for resolution in self.resolutions[:-1]:
            x, rest = getattr(self, f"b{resolution}")(x, rest)
        logits: Tensor = self.b4(x, rest)
        if self.mapping is not None:
            cmap = self.mapping(None, c)
            logits = (logits * cmap).sum(dim=1, keepdim=True) * (1.0 / math.sqrt(cmap.shape[1]))
        return logits
