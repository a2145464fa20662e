"""The styled layers of StyleGAN2's synthesis network.

Paper: Karras et al. 2020 (arXiv:1912.04958), section 2 and figure 2. A styled layer is a modulated and
demodulated 3x3 convolution, then noise, bias, activation and clamp; toRGB is a modulated 1x1 convolution
without demodulation, noise or activation, whose equalising factor is applied to the style.

Official: NVlabs/stylegan3@c233a91, training/networks_stylegan2.py. Differs: fresh noise is drawn from the
caller's generators, on the generator's own device, so that a seed means one noise everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evalkit.errors import UsageError, nearest
from reference_models.layers.equalised import FullyConnected, activate
from reference_models.ops import modulated_conv2d, setup_filter
from reference_models.stylegan2.config import GeneratorConfig

NOISE_MODES = ("const", "random", "none")
Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendering:
    """How a synthesis network is run, without influence on its weights.

    Attributes:
        noise_mode: ``const`` (the stored maps), ``random`` (fresh ones) or ``none``.
        generator: Source of fresh noise: one for the batch, or one a sample; None is torch's default one.
        fused: Whether styles scale the weights (True) or the activations.
        transform: Inverse transform of the picture, ``(3, 3)`` (`evalkit.imaging.moved_grid`).

    Raises:
        UsageError: There is no such noise mode.
    """

    noise_mode: str = "const"
    generator: Generators = None
    fused: bool = True
    transform: Tensor | None = None

    def __post_init__(self) -> None:
        if self.noise_mode not in NOISE_MODES:
            raise UsageError(
                f"unknown noise mode {self.noise_mode!r} (nearest: "
                f"{nearest(str(self.noise_mode), list(NOISE_MODES))}); accepted are {', '.join(NOISE_MODES)}"
            )

    def draw(self, n: int, side: int, like: Tensor) -> Tensor:
        """Fresh noise ``(n, 1, side, side)`` of the type and on the device of ``like``."""
        if self.generator is None or isinstance(self.generator, torch.Generator):
            return _normal((n, 1, side, side), self.generator, like)
        if len(self.generator) != n:
            raise UsageError(
                f"{len(self.generator)} generators of noise were given for {n} samples; give one each"
            )
        return torch.cat([_normal((1, 1, side, side), one, like) for one in self.generator])


def _normal(shape: tuple[int, ...], generator: torch.Generator | None, like: Tensor) -> Tensor:
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=device).to(like)


class SynthesisLayer(nn.Module):
    """A styled convolution.

    Attributes:
        affine: w to a style, one scale an input channel.
        weight: ``(out, in, 3, 3)``.
        bias: ``(out,)``.
        noise_strength: Scalar, where noise is used.
        noise_const: The stored noise ``(side, side)``, where noise is used.
        resample_filter: Filter of the upsampling.
    """

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, resolution: int, config: GeneratorConfig, *, up: int = 1
    ) -> None:
        """Makes the parameters; the result has side ``resolution``, ``up`` times that of the input."""
        super().__init__()
        self.resolution, self.up = resolution, up
        self.activation, self.conv_clamp, self.use_noise = (
            config.activation,
            config.conv_clamp,
            config.use_noise,
        )
        self.affine = FullyConnected(config.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", setup_filter(config.resample_filter))
        if config.use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, w: Tensor, how: Rendering, gain: float = 1.0) -> Tensor:
        """``(n, in, h, w)``, ``(n, w_dim)`` to ``(n, out, side, side)``; ``gain`` scales result and clamp."""
        noise = None
        if self.use_noise and how.noise_mode == "const":
            noise = self.noise_const * self.noise_strength
        elif self.use_noise and how.noise_mode == "random":
            noise = how.draw(len(x), self.resolution, x) * self.noise_strength
        y = modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            noise=noise,
            up=self.up,
            padding=1,
            resample_filter=self.resample_filter,
            flip_weight=self.up == 1,
            fused=how.fused,
        )
        return activate(y, self.bias, self.activation, gain, self.conv_clamp)


class ToRGB(nn.Module):
    """Features to an image.

    Attributes:
        affine: w to a style.
        weight: ``(img_channels, in, 1, 1)``.
        bias: ``(img_channels,)``.
    """

    def __init__(self, in_channels: int, config: GeneratorConfig) -> None:
        """Makes the parameters."""
        super().__init__()
        self.conv_clamp = config.conv_clamp
        self.affine = FullyConnected(config.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(config.img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(config.img_channels))
        self.style_gain = 1.0 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor, how: Rendering) -> Tensor:
        """``(n, in, h, w)`` and ``(n, w_dim)`` to ``(n, img_channels, h, w)``."""
        styles = self.affine(w) * self.style_gain
        y = modulated_conv2d(x, self.weight, styles, demodulate=False, fused=how.fused)
        return activate(y, self.bias, "linear", clamp=self.conv_clamp)
