"""What ProGAN and StyleGAN share: equalised layers, normalisations, resampling, the fade of levels.

Papers: Karras et al. 2018 (arXiv:1710.10196), sections 2, 4 and 4.1; Karras et al. 2019 (arXiv:1812.04948).
Official: tkarras/progressive_growing_of_gans@2504c3f, NVlabs/stylegan@1e0d5c7. Deviations: levels that the
level of detail leaves without influence are not computed, which changes no value.

The level of detail ``lod`` counts halvings: 0 is the full resolution 2^R, l is 2^(R-l), and a fraction fades
two neighbouring levels. Level l is the block of resolution 2^(R-l); the coarsest, ``R - 2``, is 4x4.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evalkit.errors import UsageError
from reference_models import ops
from reference_models.layers.checks import check_side, check_whole

SQRT2 = math.sqrt(2.0)
# A 4x4 kernel at half the resolution has 4/9 of the products, but has to be made of the 3x3 one first.
_FUSES_FROM = 16
# Channels of a stage before they are capped; no published network is near it.
_LARGEST_BASE = 2**24
Block = Callable[[int, Tensor], Tensor]


# ----------------------------------------------------------------------------- sizes and labels


def feature_maps(stage: int, *, fmap_base: int, fmap_decay: float, fmap_max: int) -> int:
    """Channels of a stage: ``min(floor(fmap_base / 2^(stage * fmap_decay)), fmap_max)``."""
    return min(int(fmap_base / 2.0 ** (stage * fmap_decay)), fmap_max)


def check_sizes(
    what: str,
    *,
    img_resolution: int,
    img_channels: int,
    c_dim: int,
    fmap_base: int,
    fmap_decay: float,
    fmap_max: int,
) -> None:
    """Refuses sizes that no growing network can have.

    Raises:
        UsageError: A size is of another type or out of range, or leaves a stage without channels.
    """
    check_side(what, img_resolution)
    check_whole(what, "img_channels", img_channels, 1)
    check_whole(what, "c_dim", c_dim, 0)
    check_whole(what, "fmap_base", fmap_base, 1, _LARGEST_BASE)
    check_whole(what, "fmap_max", fmap_max, 1)
    if isinstance(fmap_decay, bool) or not isinstance(fmap_decay, int | float) or not 0 <= fmap_decay <= 8:
        raise UsageError(f"{what}: fmap_decay is {fmap_decay!r}; give a number from 0 to 8")
    stage = img_resolution.bit_length() - 2
    if feature_maps(stage, fmap_base=fmap_base, fmap_decay=fmap_decay, fmap_max=fmap_max) < 1:
        raise UsageError(
            f"{what}: fmap_base {fmap_base} and fmap_decay {fmap_decay} leave the block of resolution "
            f"{img_resolution} without channels; give a larger fmap_base"
        )


def check_labels(c: Tensor | None, num: int, c_dim: int, what: str) -> Tensor | None:
    """Returns the labels as the network takes them, None where it has none.

    Args:
        c: One-hot labels ``(num, c_dim)``; None or a width of 0 where ``c_dim`` is 0.
        num: How many samples there are.
        c_dim: Width of the labels.
        what: How messages name the network.

    Raises:
        UsageError: Labels are missing, unasked for, or of another shape.
    """
    if c_dim == 0:
        if c is not None and c.shape[-1] != 0:
            raise UsageError(
                f"{what} has no labels and was given labels of shape {tuple(c.shape)}; give none"
            )
        return None
    if c is None:
        raise UsageError(f"{what} is conditional on {c_dim} classes and was given no labels; give labels")
    if tuple(c.shape) != (num, c_dim):
        raise UsageError(
            f"{what} was given labels of shape {tuple(c.shape)}; it takes one-hot rows of shape ({num}, "
            f"{c_dim})"
        )
    return c


# -------------------------------------------------------------------- normalisation, resampling


def pixel_norm(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Divides every pixel of ``(n, c, ...)`` by its root mean square over the channels."""
    return x / (x.square().mean(dim=1, keepdim=True) + epsilon).sqrt()


def instance_norm(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Brings every channel of ``(n, c, h, w)`` to mean 0 and root mean square 1."""
    x = x - x.mean(dim=(2, 3), keepdim=True)
    return x / (x.square().mean(dim=(2, 3), keepdim=True) + epsilon).sqrt()


def upscale(x: Tensor, factor: int = 2) -> Tensor:
    """Repeats every pixel of ``(n, c, h, w)`` in a square of ``factor`` by ``factor``."""
    return x if factor == 1 else F.interpolate(x, scale_factor=float(factor), mode="nearest")


def downscale(x: Tensor, factor: int = 2) -> Tensor:
    """Means of squares of ``factor`` by ``factor`` pixels of ``(n, c, h, w)``."""
    return x if factor == 1 else F.avg_pool2d(x, factor)


def lerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """``a + (b - a) t``."""
    return a + (b - a) * t


def activate(x: Tensor, nonlinearity: str) -> Tensor:
    """``lrelu`` of slope 0.2, or ``relu``."""
    return F.leaky_relu(x, 0.2) if nonlinearity == "lrelu" else F.relu(x)


def _sum_of_shifts(weight: Tensor) -> Tensor:
    # (o, i, 3, 3) -> (o, i, 4, 4): what a 3x3 kernel becomes behind a repetition, or before a sum, of 2x2
    # pixels.
    # Channels go innermost for the sums: a memory row of four numbers would cost more than adding them.
    w = F.pad(weight.permute(2, 3, 0, 1), (0, 0, 0, 0, 1, 1, 1, 1))
    return ((w[1:, 1:] + w[:-1, 1:]) + w[1:, :-1] + w[:-1, :-1]).permute(2, 3, 0, 1)


def fused_up(x: Tensor, weight: Tensor) -> Tensor:
    """Doubles ``x`` and convolves it in one transposed convolution.

    It equals `upscale` and a convolution with the spatially flipped kernel.

    Args:
        x: ``(n, i, h, w)``.
        weight: ``(o, i, 3, 3)``.

    Returns:
        ``(n, o, 2h, 2w)``.
    """
    return F.conv_transpose2d(x, _sum_of_shifts(weight).transpose(0, 1), stride=2, padding=1)


def fused_down(x: Tensor, weight: Tensor) -> Tensor:
    """Convolves ``(n, i, h, w)`` with ``(o, i, 3, 3)`` and halves it, in one strided convolution."""
    return F.conv2d(x, _sum_of_shifts(weight) * 0.25, stride=2, padding=1)


def resampled_conv(x: Tensor, weight: Tensor, *, resample: str, fused: bool) -> Tensor:
    """Convolves ``(n, i, h, w)`` with ``(o, i, k, k)`` at its own, twice or half the resolution.

    Args:
        x: Features.
        weight: Kernel of odd side, 3 where ``fused``.
        resample: ``same``, ``up`` (before the convolution) or ``down`` (behind it).
        fused: Whether both are one strided convolution; upwards that flips what the kernel means. The fast
            path of `reference_models.ops` computes the other form so too, by the flipped kernel, where that
            wins.
    """
    if fused:
        return fused_up(x, weight) if resample == "up" else fused_down(x, weight)
    small = x.shape[-1] // 2 if resample == "down" else x.shape[-1]
    if resample != "same" and weight.shape[-1] == 3 and small >= _FUSES_FROM and ops.current() == "fast":
        return fused_up(x, weight.flip(2, 3)) if resample == "up" else fused_down(x, weight)
    if resample == "up":
        x = upscale(x)
    x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return downscale(x) if resample == "down" else x


# ----------------------------------------------------------------------------- equalised layers


class EqualisedDense(nn.Module):
    """A dense layer whose stored weight is scaled at run time by ``gain / sqrt(fan_in)``.

    With a learning-rate multiplier m, weights are stored 1/m times as large and weight and bias are used m
    times as large as they are stored. Without equalisation the scale goes into the initial values instead.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        gain: float = SQRT2,
        use_wscale: bool = True,
        lrmul: float = 1.0,
        bias_features: int | None = None,
    ) -> None:
        """Makes ``weight (out, in)`` and ``bias``; ``bias_features`` where it is added after a reshape."""
        super().__init__()
        std = gain / math.sqrt(in_features)
        self.lrmul = lrmul
        self.scale = std * lrmul if use_wscale else lrmul
        self.weight = nn.Parameter(
            torch.randn(out_features, in_features) * ((1.0 if use_wscale else std) / lrmul)
        )
        self.bias = nn.Parameter(torch.zeros(out_features if bias_features is None else bias_features))

    def product(self, x: Tensor) -> Tensor:
        """``(n, in)`` times the scaled weight: ``(n, out)``, without the bias."""
        return F.linear(x, self.weight * self.scale)

    def scaled_bias(self) -> Tensor:
        """The bias as it is used."""
        return self.bias * self.lrmul if self.lrmul != 1.0 else self.bias

    def forward(self, x: Tensor) -> Tensor:
        """``(n, in)`` to ``(n, out)``."""
        return F.linear(x, self.weight * self.scale, self.scaled_bias())


class EqualisedConv(nn.Module):
    """A convolution with an equalised weight, which may double or halve the resolution on the way.

    Attributes:
        weight: ``(out, in, k, k)``, or ``(in, out, k, k)`` where ``stored_in_out``.
        bias: ``(out,)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        gain: float = SQRT2,
        use_wscale: bool = True,
        resample: str = "same",
        fused: bool = False,
        stored_in_out: bool = False,
    ) -> None:
        """Makes the parameters.

        Args:
            in_channels: i.
            out_channels: o.
            kernel: Odd side of the kernel; 3 where the resolution changes.
            gain: Gain of the initialisation, sqrt(2) before a rectifier.
            use_wscale: Whether the weight is scaled at run time.
            resample: ``same``, ``up`` or ``down``.
            fused: Whether the change of resolution is part of one strided convolution.
            stored_in_out: Whether the stored weight has its two first axes exchanged.
        """
        super().__init__()
        std = gain / math.sqrt(in_channels * kernel * kernel)
        self.scale = std if use_wscale else 1.0
        self.resample, self.fused, self.stored_in_out = resample, fused, stored_in_out
        pair = (in_channels, out_channels) if stored_in_out else (out_channels, in_channels)
        self.weight = nn.Parameter(torch.randn(*pair, kernel, kernel) * (1.0 if use_wscale else std))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def convolve(self, x: Tensor) -> Tensor:
        """``(n, i, h, w)`` to ``(n, o, h', w')`` without the bias."""
        weight = self.weight * self.scale
        if self.stored_in_out:
            weight = weight.transpose(0, 1)
        return resampled_conv(x, weight, resample=self.resample, fused=self.fused)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, i, h, w)`` to ``(n, o, h', w')``."""
        return self.convolve(x) + self.bias.view(1, -1, 1, 1)


# ----------------------------------------------------------------------------- fade of levels


def split_lod(lod: float, levels: int) -> tuple[int, float]:
    """The finest level with influence, and how far it has faded into the next coarser one, in [0, 1)."""
    lod = min(max(lod, 0.0), float(levels))
    level = math.floor(lod)
    return level, lod - level


def ascend(x: Tensor, lod: float, levels: int, block: Block, to_rgb: Block) -> Tensor:
    """Runs a growing generator from its 4x4 features to an image of full resolution.

    Args:
        x: Features of the coarsest level, ``(n, c, 4, 4)``.
        lod: Level of detail.
        levels: Index of the coarsest level, R - 2.
        block: Level and features of the next coarser level to its own features.
        to_rgb: Level and its features to an image.

    Returns:
        ``(n, channels, 2^R, 2^R)``; at ``lod >= 1`` a smaller image with repeated pixels.
    """
    level, t = split_lod(lod, levels)
    coarse = x
    for current in range(levels - 1, level - 1, -1):
        coarse, x = x, block(current, x)
    img = to_rgb(level, x)
    if t > 0.0:
        img = lerp(img, upscale(to_rgb(level + 1, coarse)), t)
    return upscale(img, 2**level)


def descend(img: Tensor, lod: float, levels: int, from_rgb: Block, block: Block) -> Tensor:
    """Runs a growing discriminator from an image of full resolution to its 4x4 features.

    Args:
        img: ``(n, channels, 2^R, 2^R)``.
        lod: Level of detail.
        levels: Index of the coarsest level, R - 2.
        from_rgb: Level and an image of its resolution to features.
        block: Level and its features to features of the next coarser level.

    Returns:
        ``(n, c, 4, 4)``.
    """
    level, t = split_lod(lod, levels)
    img = downscale(img, 2**level)
    x = from_rgb(level, img)
    for current in range(level, levels):
        x = block(current, x)
        if current == level and t > 0.0:
            x = lerp(x, from_rgb(level + 1, downscale(img)), t)
    return x
