"""What a caller can get wrong, and what the message says."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from evalkit.errors import UsageError
from reference_models import ops

X = torch.zeros(2, 4, 8, 8)
F = ops.setup_filter([1, 3, 3, 1])
W = torch.zeros(6, 4, 3, 3)
S = torch.zeros(2, 4)

WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "path": (lambda: ops.use("fats"), "unknown path of the operations 'fats' (nearest: fast); give 'fast'"),
    "filter of three axes": (lambda: ops.setup_filter(np.ones((2, 2, 2))), "the shape given is (2, 2, 2)"),
    "ragged filter": (lambda: ops.setup_filter([[1, 2], [3]]), "no number, list or rectangular table"),
    "no taps": (lambda: ops.setup_filter([]), "at least one tap; the shape given is (0,)"),
    "separable table": (lambda: ops.setup_filter([[1, 2], [3, 4]], separable=True), "give one row of it"),
    "taps that cancel": (lambda: ops.setup_filter([1, -1]), "add up to 0 and cannot be normalised"),
    "no low-pass": (lambda: ops.design_lowpass_filter(0, 1, 1, 4), "num_taps=0, cutoff=1, width=1, rate=4"),
    "cutoff": (lambda: ops.design_lowpass_filter(6, -1, 1, 4), "positive frequencies"),
    "picture": (lambda: ops.upfirdn2d(X[0], F), "floats of shape (n, c, h, w); given are torch.float32"),
    "bytes": (lambda: ops.upfirdn2d(X.byte(), F), "given are torch.uint8"),
    "raw filter": (lambda: ops.upfirdn2d(X, F[None]), "prepare it with setup_filter"),
    "up": (lambda: ops.upfirdn2d(X, F, up=0), "up is 0; give one whole number of at least 1"),
    "down": (lambda: ops.downsample2d(X, F, down=(1, 2, 3)), "down is (1, 2, 3)"),
    "padding": (
        lambda: ops.upfirdn2d(X, F, padding=(1, 2, 3)),
        "padding is (1, 2, 3); give one whole number",
    ),
    "nothing left": (
        lambda: ops.upfirdn2d(X, F, padding=-3),
        "nothing is left of a picture of 8 x 8 (h x w) under up=(1, 1), padding=(-3, -3, -3, -3)",
    ),
    "nothing left in the middle": (
        lambda: ops.filtered_lrelu(X, F, ops.setup_filter(list(range(1, 13))), up=1, down=2),
        "after filters of (4, 4) and (12, 12) taps; pad more",
    ),
    "activation": (lambda: ops.bias_act(X, act="lerlu"), "unknown activation 'lerlu' (nearest: lrelu"),
    "bias": (lambda: ops.bias_act(X, torch.zeros(3)), "axis 1 of (2, 4, 8, 8) has one value an entry"),
    "axis": (lambda: ops.bias_act(X, torch.zeros(3), dim=4), "axis 4"),
    "clamp": (lambda: ops.bias_act(X, clamp=-1.0), "clamp is -1.0; it limits the absolute value"),
    "clamp of filtered lrelu": (lambda: ops.filtered_lrelu(X, clamp=-1.0), "clamp is -1.0"),
    "bias of filtered lrelu": (lambda: ops.filtered_lrelu(X, b=torch.zeros(5)), "has shape (4,); given (5,)"),
    "weights": (lambda: ops.conv2d_resample(X, W[:, :2]), "given are (6, 2, 3, 3) in 1 groups"),
    "factor of a convolution": (lambda: ops.conv2d_resample(X, W, up=0), "up is 0"),
    "convolution that leaves nothing": (lambda: ops.conv2d_resample(X[..., :1], W), "nothing is left"),
    "styles": (lambda: ops.modulated_conv2d(X, W, S[:1]), "styles (n, c_in); given are (2, 4, 8, 8)"),
    "styles of StyleGAN3": (lambda: ops.modulated_conv2d_equivariant(X, W, S[:, :2]), "styles (n, c_in)"),
    "input gain": (
        lambda: ops.modulated_conv2d_equivariant(X, W, S, input_gain=torch.ones(3)),
        "input gain has shape (), (4,) or (2, 4); given is (3,)",
    ),
    "groups of samples": (
        lambda: ops.minibatch_std(torch.zeros(6, 4, 2, 2), group_size=4),
        "cannot divide a batch of 6 into groups of 4",
    ),
    "shares of channels": (
        lambda: ops.minibatch_std(X, group_size=2, num_channels=3),
        "cannot divide 4 channels into 3 shares",
    ),
}


@pytest.mark.parametrize("path", ["reference", "fast"])
@pytest.mark.parametrize("name", WRONG)
def test_messages(name: str, path: str):
    call, text = WRONG[name]
    with ops.use(path), pytest.raises(UsageError, match=re.escape(text)):
        call()
