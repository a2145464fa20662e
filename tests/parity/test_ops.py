"""The operations of the reference models against numbers of the official code, through both paths."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from golden_cases import FOLDER, find_cases, fitting
from reference_models import ops

HANDLES = ("ops_*",)
CASES = {name: path for name, path in find_cases().items() if fitting(name, HANDLES)}


def setup_filter(f: Any, normalize: bool = True, flip_filter: bool = False, **options: Any) -> torch.Tensor:
    return ops.setup_filter(f, normalise=normalize, flip=flip_filter, **options)


def low_pass(numtaps: int, cutoff: float, width: float, fs: float, radial: bool = False) -> torch.Tensor:
    made = ops.design_lowpass_filter(numtaps, cutoff, width, fs, radial=radial)
    assert made is not None
    return made


def upfirdn2d(x: torch.Tensor, f: torch.Tensor | None = None, **options: Any) -> torch.Tensor:
    return ops.upfirdn2d(x, f, **options)


def styled(
    x: torch.Tensor,
    w: torch.Tensor,
    s: torch.Tensor,
    f: torch.Tensor | None = None,
    fused_modconv: bool = True,
    **options: Any,
) -> torch.Tensor:
    return ops.modulated_conv2d(x, w, s, resample_filter=f, fused=fused_modconv, **options)


def dense(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None = None,
    activation: str = "linear",
    lr_multiplier: float = 1.0,
    in_features: int = 0,
    out_features: int = 0,
    bias: bool = True,
) -> torch.Tensor:
    assert tuple(w.shape) == (out_features, in_features)
    assert bias == (b is not None)
    shift = None if b is None else b * lr_multiplier
    return ops.bias_act(x @ (w * lr_multiplier / in_features**0.5).T, shift, act=activation)


OPERATIONS = {
    "setup_filter": setup_filter,
    "design_lowpass_filter": low_pass,
    "upfirdn2d": upfirdn2d,
    "filter2d": ops.filter2d,
    "upsample2d": ops.upsample2d,
    "downsample2d": ops.downsample2d,
    "bias_act": ops.bias_act,
    "filtered_lrelu": ops.filtered_lrelu,
    "conv2d_resample": ops.conv2d_resample,
    "modulated_conv2d_sg2": styled,
    "modulated_conv2d_sg3": lambda x, w, s, **options: ops.modulated_conv2d_equivariant(x, w, s, **options),
    "minibatch_std": ops.minibatch_std,
    "fully_connected": dense,
    # No operations of their own here: an expression, and the first step of the mapping network.
    "fma": lambda a, b, c: a * b + c,
    "normalize_2nd_moment": lambda x: x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt(),
}


@pytest.mark.skipif(
    not CASES, reason=f"no golden cases at {FOLDER}; set $EVALKIT_GOLDEN to compare with them"
)
@pytest.mark.parametrize("path", ["reference", "fast"])
@pytest.mark.parametrize("name", CASES or ["none"])
def test_ops(name: str, path: str):
    case = json.loads(CASES[name].read_text())
    tensors = load_file(CASES[name].parent / "io.safetensors")
    waiting = {key for key in tensors if key.startswith("out.")}
    worst = []
    for part in case["subcases"]:
        given = {argument: tensors[key] for argument, key in part["tensors"].items()}
        with ops.use(path):
            got = OPERATIONS[part["op"]](**given, **part["args"])
        want = tensors[f"out.{part['name']}.y"]
        waiting.discard(f"out.{part['name']}.y")
        assert got.shape == want.shape, part["name"]
        assert got.dtype == want.dtype, part["name"]
        off = float((got - want).abs().max())
        if off > case["atol"] + case["rtol"] * float(want.abs().max()):
            worst.append(f"{part['name']}: off by {off:.2e}")
    assert not worst
    assert not waiting, f"outputs that nothing compares: {sorted(waiting)}"
