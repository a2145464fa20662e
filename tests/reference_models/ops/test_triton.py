"""Triton kernels against the reference path: in Triton's interpreter, and on a GPU where there is one.

Run as a program (with ``TRITON_INTERPRET=1`` on a CPU) this file compares and exits with what went wrong.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from reference_models import ops
from reference_models.ops.upfirdn2d import triton_for

ROOT = Path(__file__).resolve().parents[3]
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)

# Sizes of filters, and arguments.
RESAMPLES: list[tuple[tuple[int, ...] | None, dict[str, Any]]] = [
    ((4, 4), {"up": 2, "padding": (2, 1, 2, 1), "gain": 4.0}),
    ((4, 4), {"down": 2, "padding": 1}),
    ((3, 5), {"up": (3, 2), "down": (2, 1), "padding": (4, -2, 3, 5), "flip_filter": True}),
    ((12,), {"up": 2, "padding": 9}),
    ((7,), {"up": 1, "down": 3, "padding": (6, -1, 0, 8), "gain": 0.5}),
    ((24,), {"up": 4, "padding": (-6, -9, 11, -9)}),
    (None, {"up": 2, "down": 3, "padding": (1, 0, 2, 3)}),
]
SANDWICHES: list[tuple[tuple[int, ...] | None, tuple[int, ...] | None, dict[str, Any]]] = [
    ((12,), (12,), {"up": 2, "down": 2, "padding": (9, 8, 9, 8), "clamp": 256.0}),
    ((24,), (12,), {"up": 4, "down": 2, "padding": (4, -3, 20, -9), "clamp": 0.5}),
    ((5,), None, {"up": 2, "padding": 6, "gain": -1.3, "slope": 0.1, "flip_filter": True}),
    (None, (6,), {"down": 2, "padding": 3, "slope": 0.0}),
    ((12,), (8, 8), {"up": 2, "down": 2, "padding": 9}),
]


def random(*shape: int, seed: int, device: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).to(device)


def differences(run: Any, x: torch.Tensor) -> list[float]:
    """Largest difference of the value, the derivative, and a penalty's derivative, over the size of each."""
    found: dict[str, list[torch.Tensor]] = {}
    for path in ("reference", "fast"):
        leaf = x.clone().requires_grad_()
        with ops.use(path):
            y = run(leaf)
            (first,) = torch.autograd.grad(y.pow(2).sum(), leaf, create_graph=True)
            (second,) = torch.autograd.grad(first.pow(2).sum(), leaf)
        found[path] = [y.detach(), first.detach(), second]
    return [
        float((got - want).abs().max() / (1e-6 + want.abs().max()))
        for want, got in zip(found["reference"], found["fast"], strict=True)
    ]


def compare(device: str) -> list[str]:
    """What differs by more than rounding."""
    x = random(1, 2, 13, 10, seed=0, device=device)
    if triton_for(x) is None:
        return [f"Triton does not serve {device} here"]
    wrong = []
    for shape, options in RESAMPLES:
        f = None if shape is None else random(*shape, seed=1, device=device)
        off = differences(lambda x, f=f, options=options: ops.upfirdn2d(x, f, **options), x)
        if max(off) > 1e-5:
            wrong.append(f"upfirdn2d {shape} {options}: {off}")
    for up, down, options in SANDWICHES:
        fu, fd = (None if s is None else random(*s, seed=2, device=device) for s in (up, down))
        off = differences(
            lambda x, fu=fu, fd=fd, options=options: ops.filtered_lrelu(x, fu, fd, **options), x
        )
        if max(off) > 5e-5:
            wrong.append(f"filtered_lrelu {up} {down} {options}: {off}")
    half = ops.upfirdn2d(x.half(), random(4, 4, seed=1, device=device), up=2, padding=2)
    want = ops.upfirdn2d(x, random(4, 4, seed=1, device=device), up=2, padding=2)
    if half.dtype != torch.float16 or float((half - want).abs().max()) > 0.05:
        wrong.append("upfirdn2d of float16")
    nan = x.clone()
    nan[0, 0, 5, 5] = torch.nan
    if (
        not ops.filtered_lrelu(nan, random(12, seed=1, device=device), up=2, padding=9, clamp=1.0)
        .isnan()
        .any()
    ):
        wrong.append("filtered_lrelu loses NaN")
    return wrong


@needs_triton
def test_kernels_in_the_interpreter():
    done = subprocess.run(
        [sys.executable, __file__],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.gpu
@needs_triton
def test_kernels_on_a_gpu():
    assert compare("cuda") == []


TRANSLATE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from reference_models.ops import triton_kernels as kernels
import triton.language as tl

def translate(kernel, floats, **constants):
    types = {}
    for name in kernel.arg_names:
        if name in constants:
            types[name] = "constexpr"
        else:
            types[name] = "*fp32" if name.endswith("_ptr") else "fp32" if name in floats else "i32"
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    made = compile(ASTSource(kernel, types, places), target=GPUTarget("cuda", 90, 32))
    assert made.asm["cubin"], "nothing came out"

translate(
    kernels._resample_tile, {"gain"}, UP_X=2, UP_Y=2, DOWN_X=1, DOWN_Y=1, TAPS_X=4, TAPS_Y=4, FLIP=False,
    VISITS_X=2, VISITS_Y=2, TILE_X=32, TILE_Y=32, SUM=tl.float32,
)
translate(
    kernels._sandwich_tile, {"gain", "slope", "clamp", "x_gain", "r_gain", "y_gain"}, X_UP=4, X_TAPS=24,
    X_FLIP=False, X_SIDE=32, R_UP=4, R_TAPS=24, R_FLIP=False, R_SIDE=32, Y_DOWN=2, Y_TAPS=12, Y_FLIP=False,
    Y_SIDE=32, STEP=27, MIDDLE=64, PLANES=8, REFERENCE=True, CLAMP=True,
)
"""


@needs_triton
@pytest.mark.slow
def test_kernels_translate_to_gpu_code_without_a_gpu(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", TRANSLATE],
        cwd=ROOT,
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_without_triton_the_plain_path_works():
    code = """
import sys
sys.modules["triton"] = None
import torch
from reference_models import ops
f = ops.setup_filter([1, 3, 3, 1])
assert ops.upsample2d(torch.ones(1, 1, 4, 4), f).shape == (1, 1, 8, 8)
from reference_models.ops.upfirdn2d import _kernels
try:
    found = _kernels()
except ValueError:  # what find_spec says of a module that is None
    found = None
assert found is None
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    sys.exit("\n".join(compare("cpu")) or None)
