"""The layer plan of StyleGAN3: rates, cutoffs, sizes, filters and padding of every layer, in float64.

Paper: Karras et al. 2021 (arXiv:2106.12423), section 3.2 and the appendix. Cutoffs and stopband edges grow
geometrically from the input's to those of the picture's rate over all but the critically sampled layers;
each layer gets the lowest rate that holds its stopband. Official: NVlabs/stylegan3@c233a91,
training/networks_stylegan3.py. Differs: the logarithm behind the rates is guarded against the last bit (see
`_GUARD`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evalkit.errors import UsageError
from reference_models.stylegan3.config import GeneratorConfig

Size = tuple[int, int]

# Where twice a stopband edge is a power of two in mathematics, one bit too much would double the rate.
_GUARD = 1e-9
# Published networks have 24 at most.
_MOST_TAPS = 192


@dataclass(frozen=True, kw_only=True, slots=True)
class InputPlan:
    """The Fourier input.

    Attributes:
        channels: How many sines, and channels of the result.
        size: (width, height) of the result.
        rate: Sampling rate, in pixels per picture.
        bandwidth: Highest frequency, in cycles per picture.
    """

    channels: int
    size: Size
    rate: float
    bandwidth: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPlan:
    """One layer; ``in_`` and ``out_`` are its two sides.

    Attributes:
        in_channels: Channels.
        out_channels: Channels.
        in_size: (width, height).
        out_size: (width, height).
        in_rate: Sampling rate.
        out_rate: Sampling rate.
        in_cutoff: Cutoff frequency.
        out_cutoff: Cutoff frequency.
        in_half_width: Half the width of the transition band.
        out_half_width: Half the width of the transition band.
        is_torgb: Whether this is the last layer, without filters and nonlinearity.
        is_critical: Whether it is critically sampled, which takes a separable filter.
        kernel: Side of the kernel.
        filter_size: Taps per unit of a factor.
        lrelu_upsampling: Factor of the rate at which the nonlinearity acts.
        radial: Whether the config asks for radial filters.
    """

    in_channels: int
    out_channels: int
    in_size: Size
    out_size: Size
    in_rate: int
    out_rate: int
    in_cutoff: float
    out_cutoff: float
    in_half_width: float
    out_half_width: float
    is_torgb: bool
    is_critical: bool
    kernel: int = 3
    filter_size: int = 6
    lrelu_upsampling: int = 2
    radial: bool = False

    @property
    def conv_kernel(self) -> int:
        """Side of the kernel that the layer has."""
        return 1 if self.is_torgb else self.kernel

    @property
    def tmp_rate(self) -> int:
        """Rate at which the nonlinearity acts."""
        return max(self.in_rate, self.out_rate) * (1 if self.is_torgb else self.lrelu_upsampling)

    @property
    def up(self) -> int:
        """Factor before the nonlinearity."""
        return self.tmp_rate // self.in_rate

    @property
    def down(self) -> int:
        """Divisor behind it."""
        return self.tmp_rate // self.out_rate

    @property
    def up_taps(self) -> int:
        """Taps of the upsampling filter; 1 is none."""
        return self.filter_size * self.up if self.up > 1 and not self.is_torgb else 1

    @property
    def down_taps(self) -> int:
        """Taps of the downsampling filter along an axis; 1 is none."""
        return self.filter_size * self.down if self.down > 1 and not self.is_torgb else 1

    @property
    def is_radial(self) -> bool:
        """Whether the downsampling filter is radial."""
        return self.radial and not self.is_critical

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """(x_lo, x_hi, y_lo, y_hi) of the filtered nonlinearity, at ``tmp_rate``; negative crops."""
        sides: list[int] = []
        for before, after in zip(self.in_size, self.out_size, strict=True):
            # What the output needs, less what the padded convolution gives, plus what the filters take.
            total = (after - 1) * self.down + 1 - (before + self.conv_kernel - 1) * self.up
            total += self.up_taps + self.down_taps - 2
            low = (total + self.up) // 2  # rounds down for negative totals too
            sides += [low, total - low]
        return sides[0], sides[1], sides[2], sides[3]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The whole network: its input, and its layers by name in order."""

    input: InputPlan
    layers: dict[str, LayerPlan]


def plan(config: GeneratorConfig) -> Plan:
    """Lays out a generator.

    Args:
        config: Its sizes.

    Returns:
        Layers named ``L{index}_{side of the output}_{output channels}``.

    Raises:
        UsageError: Two layers are so far apart that the filter between them would be enormous.
    """
    last, side = config.num_layers, config.img_resolution
    cutoffs, stopbands, rates, sizes, channels = [], [], [], [], []
    for i in range(last + 1):
        exponent = min(i / (last - config.num_critical), 1.0)
        cutoff = config.first_cutoff * (side / 2 / config.first_cutoff) ** exponent
        edge = (
            config.first_stopband * (side / 2 * config.last_stopband_rel / config.first_stopband) ** exponent
        )
        rate = 2 ** math.ceil(math.log2(min(2 * edge, side)) - _GUARD)
        cutoffs.append(cutoff)
        stopbands.append(edge)
        rates.append(rate)
        sizes.append(rate + 2 * config.margin_size if i < last - 1 else side)
        channels.append(max(round(min(config.channel_base / 2 / cutoff, config.channel_max)), 1))
    channels[-1] = config.img_channels
    half_widths = [
        max(edge, rate / 2) - cutoff for edge, rate, cutoff in zip(stopbands, rates, cutoffs, strict=True)
    ]
    layers = {}
    for i in range(last + 1):
        j = max(i - 1, 0)
        layers[f"L{i}_{sizes[i]}_{channels[i]}"] = LayerPlan(
            in_channels=channels[j],
            out_channels=channels[i],
            in_size=(sizes[j], sizes[j]),
            out_size=(sizes[i], sizes[i]),
            in_rate=rates[j],
            out_rate=rates[i],
            in_cutoff=cutoffs[j],
            out_cutoff=cutoffs[i],
            in_half_width=half_widths[j],
            out_half_width=half_widths[i],
            is_torgb=i == last,
            is_critical=i >= last - config.num_critical,
            kernel=config.conv_kernel,
            filter_size=config.filter_size,
            lrelu_upsampling=config.lrelu_upsampling,
            radial=config.use_radial_filters,
        )
    for name, layer in layers.items():
        if max(layer.up_taps, layer.down_taps) > _MOST_TAPS:
            raise UsageError(
                f"StyleGAN3's generator: layer {name} would go from rate {layer.in_rate} to {layer.out_rate} "
                f"through a filter of {max(layer.up_taps, layer.down_taps)} taps; give more layers, a higher "
                f"first_stopband or a smaller filter_size (at most {_MOST_TAPS} taps)"
            )
    first = InputPlan(channels=channels[0], size=(sizes[0], sizes[0]), rate=rates[0], bandwidth=cutoffs[0])
    return Plan(input=first, layers=layers)
