"""Operations shared by the reference models: resampling, activations, modulated convolutions, filter design.

Each has a plain reference path, the formula as written, and a fast path of equal value and derivatives:
`use` switches between them, "fast" is the default. Neither needs a compiler or a CUDA toolkit.
"""

from reference_models.ops.bias_act import bias_act
from reference_models.ops.conv2d_resample import conv2d_resample
from reference_models.ops.filtered_lrelu import filtered_lrelu
from reference_models.ops.filters import design_lowpass_filter, setup_filter
from reference_models.ops.minibatch_std import minibatch_std
from reference_models.ops.modulated import modulated_conv2d, modulated_conv2d_equivariant
from reference_models.ops.switch import current, use
from reference_models.ops.upfirdn2d import downsample2d, filter2d, upfirdn2d, upsample2d

__all__ = [
    "bias_act",
    "conv2d_resample",
    "current",
    "design_lowpass_filter",
    "downsample2d",
    "filter2d",
    "filtered_lrelu",
    "minibatch_std",
    "modulated_conv2d",
    "modulated_conv2d_equivariant",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
    "use",
]
