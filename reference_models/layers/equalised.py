"""Layers with equalised learning rate: parameters are stored at unit scale and scaled when they are used.

Karras et al. 2018 (arXiv:1710.10196), section 4.1, in the form of StyleGAN2 and StyleGAN3: a stored dense
weight ``(out, in)`` is used times ``m / sqrt(in)`` and its bias times ``m``, with the learning-rate
multiplier m; a stored convolution weight ``(out, in, k, k)`` is used times ``1 / sqrt(in k^2)``. Gains of
activations are left to the activation.

Official: NVlabs/stylegan3@c233a91, training/networks_stylegan2.py (the classes of dense and convolution
layers). Names of parameters are the official ones. Differs: nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference_models.ops import bias_act, conv2d_resample, setup_filter
from reference_models.ops.bias_act import ACTIVATIONS


class FullyConnected(nn.Module):
    """A dense layer with equalised learning rate.

    Attributes:
        weight: Stored ``(out, in)``.
        bias: Stored ``(out,)``, or None.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        weight_init: float = 1.0,
        bias_init: float | Sequence[float] = 0.0,
    ) -> None:
        """Makes the parameters.

        Args:
            in_features: Width of the input.
            out_features: Width of the output.
            bias: Whether there is one.
            activation: A name of `reference_models.ops.bias_act`.
            lr_multiplier: m; weights start as N(0, 1) / m.
            weight_init: Standard deviation of the initial weights times m.
            bias_init: Initial bias as it is stored; one number or one an output.
        """
        super().__init__()
        self.activation = activation
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * (weight_init / lr_multiplier))
        self.bias: Tensor | None = None
        if bias:
            start = torch.as_tensor(bias_init, dtype=torch.float32)
            self.bias = nn.Parameter(start.expand(out_features).clone())

    def forward(self, x: Tensor) -> Tensor:
        """``(n, in)`` to ``(n, out)``."""
        weight = self.weight * self.weight_gain
        bias = self.bias
        if bias is not None and self.bias_gain != 1.0:
            bias = bias * self.bias_gain
        if self.activation == "linear":
            return functional.linear(x, weight, bias)
        return bias_act(functional.linear(x, weight), bias, act=self.activation)


class ResampledConv2d(nn.Module):
    """A convolution with equalised learning rate that may double or halve the resolution.

    A frozen layer keeps its names, but its weight and bias are buffers, which no optimiser sees.

    Attributes:
        weight: Stored ``(out, in, k, k)``.
        bias: Stored ``(out,)``, or None.
        resample_filter: Filter of ``up`` and ``down`` (a buffer, there whether it is used or not).
    """

    weight: Tensor
    bias: Tensor | None
    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        bias: bool = True,
        activation: str = "linear",
        up: int = 1,
        down: int = 1,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        conv_clamp: float | None = None,
        trainable: bool = True,
    ) -> None:
        """Makes the parameters.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            kernel: Odd side of the kernel.
            bias: Whether there is one.
            activation: A name of `reference_models.ops.bias_act`.
            up: Factor of the resolution; its kernels are mirrored, as the official ones are.
            down: Divisor of the resolution.
            resample_filter: Taps for ``up`` and ``down``.
            conv_clamp: Limit of the absolute value of the result.
            trainable: False freezes the layer.
        """
        super().__init__()
        self.activation, self.up, self.down, self.conv_clamp = activation, up, down, conv_clamp
        self.padding = kernel // 2
        self.weight_gain = 1.0 / math.sqrt(in_channels * kernel * kernel)
        weight = torch.randn(out_channels, in_channels, kernel, kernel)
        start = torch.zeros(out_channels) if bias else None
        if trainable:
            self.weight = nn.Parameter(weight)
            self.bias = nn.Parameter(start) if start is not None else None
        else:
            self.register_buffer("weight", weight)
            if start is None:
                self.bias = None
            else:
                self.register_buffer("bias", start)
        self.register_buffer("resample_filter", setup_filter(resample_filter))

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """``(n, in, h, w)`` to ``(n, out, h up / down, w up / down)``.

        Args:
            x: Features.
            gain: Factor of the result; the clamp shrinks with it.
        """
        y = conv2d_resample(
            x,
            self.weight * self.weight_gain,
            self.resample_filter,
            up=self.up,
            down=self.down,
            padding=self.padding,
            flip_weight=self.up == 1,
        )
        return activate(y, self.bias, self.activation, gain, self.conv_clamp)


def activate(
    x: Tensor, bias: Tensor | None, activation: str, gain: float = 1.0, clamp: float | None = None
) -> Tensor:
    """Bias and activation with its default gain times ``gain``; the clamp is multiplied by ``gain`` too."""
    return bias_act(
        x,
        bias,
        act=activation,
        gain=ACTIVATIONS[activation].gain * gain,
        clamp=None if clamp is None else clamp * gain,
    )
