"""StyleGAN's own layers: the blur, noise, style modulation, and the mapping network.

Paper: Karras et al. 2019 (arXiv:1812.04948), section 2, equation 1, and appendix C. Official:
NVlabs/stylegan@1e0d5c7, training/networks_stylegan.py. Names of parameters are the official ones with ``.``
for ``/``. Deviations: none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evalkit.errors import UsageError
from evalkit.imaging.moved_grid import moved_grid
from reference_models import ops
from reference_models.layers.growing import (
    EqualisedConv,
    EqualisedDense,
    activate,
    check_labels,
    instance_norm,
    pixel_norm,
    resampled_conv,
)
from reference_models.stylegan.config import GeneratorConfig


class Blur(nn.Module):
    """Correlates every channel with the outer product of some taps, of sum 1; borders see zeros."""

    kernel: Tensor

    def __init__(self, taps: tuple[float, ...] | None) -> None:
        """Takes an odd number of taps, or None for no blur."""
        super().__init__()
        self._off = taps is None
        # Not part of the network's state: official files do not hold it.
        # Made on the CPU even where parameters are only planned (the meta device): no file will fill it.
        with torch.device("cpu"):
            kernel = torch.ones(1, 1) if taps is None else ops.setup_filter(list(taps), separable=False)
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to the same shape."""
        return x if self._off else ops.filter2d(x, self.kernel.to(x.dtype), flip_filter=True)


class NoiseWeight(nn.Module):
    """How strongly each channel takes a noise map; 0 at the start."""

    def __init__(self, channels: int) -> None:
        """Makes ``weight (channels,)``."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Adds ``noise (n or 1, 1, h, w)`` to ``x (n, c, h, w)``."""
        return x + noise.to(x) * self.weight.view(1, -1, 1, 1)


class StyledLayer(nn.Module):
    """Features, then noise, bias, rectifier, instance norm, and the style's scale and shift.

    The features are a learned constant (``const``) or a 3x3 convolution of the layer below, which may upscale
    and blur.
    """

    def __init__(self, config: GeneratorConfig, channels: int) -> None:
        """Makes what `ConstLayer` and `ConvLayer` share."""
        super().__init__()
        self._act = config.nonlinearity
        if config.use_noise:
            self.Noise = NoiseWeight(channels)
        self._noisy = config.use_noise
        self.StyleMod = EqualisedDense(config.w_dim, 2 * channels, gain=1.0, use_wscale=config.use_wscale)

    def finish(self, x: Tensor, bias: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """What follows the features ``(n, c, h, w)``, under ``w (n, w_dim)`` and a noise map or none."""
        if self._noisy and noise is not None:
            x = self.Noise(x, noise)
        x = instance_norm(activate(x + bias.view(1, -1, 1, 1), self._act))
        scale, shift = self.StyleMod(w)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = x * (scale + 1.0) + shift
        return out


class ConstLayer(StyledLayer):
    """Layer 0: a learned 4x4 constant."""

    def __init__(self, config: GeneratorConfig) -> None:
        """Makes ``const (1, c, 4, 4)`` of ones and the rest."""
        channels = config.maps(1)
        super().__init__(config, channels)
        self.const = nn.Parameter(torch.ones(1, channels, 4, 4))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, w: Tensor, noise: Tensor | None, transform: Tensor | None = None) -> Tensor:
        """``(n, w_dim)`` to ``(n, c, 4, 4)``; ``transform`` is the inverse transform of the picture."""
        const = self.const if transform is None else moved_grid(self.const, transform)
        return self.finish(const.expand(len(w), -1, -1, -1), self.bias, w, noise)


class ConvLayer(StyledLayer):
    """Every other layer: a 3x3 convolution."""

    def __init__(
        self, config: GeneratorConfig, in_channels: int, out_channels: int, *, up_to: int | None = None
    ) -> None:
        """Makes the layer; ``up_to`` is the resolution it doubles to, None where it keeps it."""
        super().__init__(config, out_channels)
        conv = EqualisedConv(
            in_channels,
            out_channels,
            3,
            use_wscale=config.use_wscale,
            resample="same" if up_to is None else "up",
            fused=up_to is not None and config.fused(up_to),
        )
        # The convolution's parameters are the layer's own: official names have no level between.
        self.weight, self.bias = conv.weight, conv.bias
        self._conv = (conv.scale, conv.resample, conv.fused)
        self._blur = None if up_to is None else Blur(config.blur_filter)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """``(n, i, h, w)`` to ``(n, o, h', w')``."""
        scale, resample, fused = self._conv
        x = resampled_conv(x, self.weight * scale, resample=resample, fused=fused)
        if self._blur is not None:
            x = self._blur(x)
        return self.finish(x, self.bias, w, noise)


class MappingNetwork(nn.Module):
    """z and labels to w.

    Attributes:
        z_dim: Width of the latent.
        c_dim: Number of classes.
        w_dim: Width of the result.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        """Makes the dense layers, and ``LabelConcat`` for a conditional network."""
        super().__init__()
        mapping = config.mapping
        self.z_dim, self.c_dim, self.w_dim = config.z_dim, config.c_dim, config.w_dim
        self._normalise, self._act, self._num = (
            mapping.normalize_latents,
            mapping.nonlinearity,
            mapping.num_layers,
        )
        if self.c_dim:
            self.LabelConcat = LabelConcat(self.c_dim, self.z_dim)
        width = self.z_dim * (2 if self.c_dim else 1)
        for layer in range(self._num):
            out = self.w_dim if layer == self._num - 1 else mapping.layer_features
            dense = EqualisedDense(width, out, use_wscale=config.use_wscale, lrmul=mapping.lr_multiplier)
            self.add_module(f"Dense{layer}", dense)
            width = out

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """``(n, z_dim)`` and one-hot ``(n, c_dim)`` to ``(n, w_dim)``.

        Raises:
            UsageError: The latents or the labels have another shape, or labels are missing.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise UsageError(
                f"StyleGAN's generator was given latents of shape {tuple(z.shape)}; it takes (n, "
                f"{self.z_dim})"
            )
        c = check_labels(c, len(z), self.c_dim, "StyleGAN's generator")
        x = z if c is None else torch.cat([z, self.LabelConcat(c.to(z))], dim=1)
        if self._normalise:
            x = pixel_norm(x)
        for layer in range(self._num):
            x = activate(getattr(self, f"Dense{layer}")(x), self._act)
        return x


class LabelConcat(nn.Module):
    """A table of vectors, one a class; its learning rate is not equalised."""

    def __init__(self, c_dim: int, z_dim: int) -> None:
        """Makes ``weight (z_dim, c_dim)``."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(z_dim, c_dim))

    def forward(self, c: Tensor) -> Tensor:
        """One-hot ``(n, c_dim)`` to ``(n, z_dim)``."""
        return nn.functional.linear(c, self.weight)
