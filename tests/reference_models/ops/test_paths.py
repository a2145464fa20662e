"""The fast path against the reference path: values and first and second derivatives, over many shapes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import UsageError
from reference_models import ops
from reference_models.ops import polyphase
from reference_models.ops.resampling import Resample
from reference_models.ops.upfirdn2d import reference

PATHS = ("reference", "fast")
LIMITS = settings(max_examples=60, deadline=None, derandomize=True)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def derivatives(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> list[torch.Tensor]:
    """The value, first derivatives, and the derivatives of a penalty on the first."""
    leaves = [value.clone().requires_grad_() for value in inputs]
    y = function(*leaves)
    weights = random(*y.shape, seed=7).to(y.dtype)
    first = torch.autograd.grad((y * weights).sum(), leaves, create_graph=True)
    found = [y, *first]
    penalty = sum((grad**2 * random(*grad.shape, seed=8)).sum() for grad in first)
    if penalty.requires_grad:
        second = torch.autograd.grad(penalty, leaves, allow_unused=True)
        # What is absent is zero.
        found += [
            torch.zeros_like(leaf) if grad is None else grad
            for grad, leaf in zip(second, leaves, strict=True)
        ]
    else:
        found += [torch.zeros_like(leaf) for leaf in leaves]
    return found


def assert_paths_agree(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> None:
    with ops.use("reference"):
        want = derivatives(function, *inputs)
    with ops.use("fast"):
        got = derivatives(function, *inputs)
        with torch.no_grad():
            plain = function(*inputs)
    torch.testing.assert_close(plain, want[0].detach(), rtol=1e-9, atol=1e-9)
    for mine, its in zip(got, want, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-8, atol=1e-8)


def smooth_check(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> None:
    leaves = tuple(value.clone().requires_grad_() for value in inputs)
    with ops.use("fast"):
        assert torch.autograd.gradcheck(function, leaves)
        assert torch.autograd.gradgradcheck(function, leaves)


def leaves_something(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> bool:
    """Whether a drawn case is one: others are refused, and say why."""
    try:
        function(*inputs)
    except UsageError as error:
        return "nothing is left" not in str(error)
    return True


sides = st.integers(-3, 5)
factors = st.integers(1, 4)
filters = st.one_of(
    st.none(),
    st.tuples(st.integers(1, 9)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
)


@LIMITS
@given(
    size=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
    shape=filters,
    up=st.tuples(factors, factors),
    down=st.tuples(factors, factors),
    padding=st.tuples(sides, sides, sides, sides),
    flip=st.booleans(),
    gain=st.sampled_from([1.0, 4.0, 0.3]),
    rank_one=st.booleans(),
)
def test_upfirdn2d(size, shape, up, down, padding, flip, gain, rank_one):
    f = None if shape is None else random(*shape, seed=1)
    if f is not None and f.ndim == 2 and rank_one:
        f = torch.outer(f[:, 0], f[0])
    x = random(*size)

    def run(x: torch.Tensor) -> torch.Tensor:
        return ops.upfirdn2d(x, f, up=up, down=down, padding=padding, flip_filter=flip, gain=gain)

    if leaves_something(run, x):
        assert_paths_agree(run, x)


@LIMITS
@given(
    size=st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
    shape=filters,
    up=st.tuples(factors, factors),
    down=st.tuples(factors, factors),
    pads=st.tuples(sides, sides, sides, sides),
    flip=st.booleans(),
    in_blocks=st.booleans(),
)
def test_the_convolutions_of_other_devices(size, shape, up, down, pads, flip, in_blocks):
    f = None if shape is None else random(*shape, seed=1)
    x, spec = random(*size), Resample(f, up, down, pads, flip, 2.0)
    if min(spec.out_size(*size[1:])) >= 1:
        got = polyphase.convolved(x, spec, in_blocks=in_blocks)
        torch.testing.assert_close(got, reference(x[None], spec)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "taps", "up", "down"),
    [
        (150, 90, (12,), 2, 1), (150, 90, (12,), 1, 2), (40, 333, (24,), 4, 1), (130, 131, (4, 4), 2, 1),
        (131, 130, (4, 4), 1, 2), (70, 300, (12, 12), 1, 2), (129, 257, (5,), 1, 1), (64, 64, (3, 4), 3, 2),
    ],
)  # fmt: skip
def test_upfirdn2d_at_sizes_that_are_worked_in_blocks(height, width, taps, up, down, channels_last):
    f, x = random(*taps, seed=1), random(1, 3, height, width)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    assert_paths_agree(lambda x: ops.upfirdn2d(x, f, up=up, down=down, padding=(3, 2, 5, -1)), x)


@LIMITS
@given(
    batch=st.integers(1, 2),
    channels=st.integers(1, 3),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    up=st.integers(1, 4),
    down=st.integers(1, 3),
    fu=filters,
    fd=filters,
    padding=st.tuples(st.integers(-1, 9), st.integers(-1, 9), st.integers(-1, 9), st.integers(-1, 9)),
    clamp=st.sampled_from([None, 0.4]),
    slope=st.sampled_from([0.2, 1.0, 0.0]),
    flip=st.booleans(),
)
def test_filtered_lrelu(batch, channels, height, width, up, down, fu, fd, padding, clamp, slope, flip):
    x, b = random(batch, channels, height, width), random(channels, seed=1)
    made = [None if shape is None else random(*shape, seed=2) for shape in (fu, fd)]

    def run(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return ops.filtered_lrelu(
            x, *made, b, up=up, down=down, padding=padding, clamp=clamp, slope=slope, flip_filter=flip
        )

    if leaves_something(run, x, b):
        assert_paths_agree(run, x, b)


@LIMITS
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    taps=filters,
    up=st.integers(1, 3),
    down=st.integers(1, 3),
    padding=st.tuples(st.integers(-1, 4), st.integers(-1, 4), st.integers(-1, 4), st.integers(-1, 4)),
    groups=st.sampled_from([1, 2]),
    flip=st.tuples(st.booleans(), st.booleans()),
)
def test_conv2d_resample(kernel, taps, up, down, padding, groups, flip):
    f = None if taps is None else random(*taps, seed=1)
    x, w = random(2, 4, 8, 9), random(6, 4 // groups, *kernel, seed=2)

    def run(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return ops.conv2d_resample(
            x,
            w,
            f,
            up=up,
            down=down,
            padding=padding,
            groups=groups,
            flip_weight=flip[0],
            flip_filter=flip[1],
        )

    if leaves_something(run, x, w):
        assert_paths_agree(run, x, w)


@pytest.mark.parametrize(
    "act", ["linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"]
)
@pytest.mark.parametrize(
    "options",
    [{}, {"gain": 0.7, "clamp": 0.6}, {"gain": -1.5}, {"dim": 0}, {"dim": -1, "clamp": 0.5}, {"alpha": 0.3}],
)
def test_bias_act(act: str, options: dict[str, Any]):
    x = random(3, 4, 5)
    b = random(x.shape[options.get("dim", 1)], seed=1)
    assert_paths_agree(lambda x, b: ops.bias_act(x, b, act=act, **options), x, b)
    assert_paths_agree(lambda x: ops.bias_act(x, act=act, **options), x)


def test_bias_act_changes_no_input_and_returns_no_alias():
    x = random(2, 3)
    for act in ("linear", "lrelu"):
        kept = x.clone()
        y = ops.bias_act(x, act=act, gain=1.0)
        y += 1
        torch.testing.assert_close(x, kept, rtol=0, atol=0)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("options", [{}, {"up": 2, "flip_weight": False}, {"down": 2}])
def test_modulated_conv2d(fused: bool, demodulate: bool, options: dict[str, Any]):
    f = ops.setup_filter([1, 2, 3, 4]).double()
    x, w, s = random(2, 3, 6, 6), random(4, 3, 3, 3, seed=1), random(2, 3, seed=2)
    assert_paths_agree(
        lambda x, w, s: ops.modulated_conv2d(
            x, w, s, padding=1, resample_filter=f, fused=fused, demodulate=demodulate, **options
        ),
        x, w, s,
    )  # fmt: skip


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("gain", [None, (), (3,), (2, 3)])
def test_modulated_conv2d_equivariant(demodulate: bool, gain: tuple[int, ...] | None):
    x, w, s = random(2, 3, 6, 6), random(4, 3, 3, 3, seed=1), random(2, 3, seed=2)
    factor = None if gain is None else random(*gain, seed=3)
    assert_paths_agree(
        lambda x, w, s: ops.modulated_conv2d_equivariant(
            x, w, s, padding=2, demodulate=demodulate, input_gain=factor
        ),
        x, w, s,
    )  # fmt: skip


def test_numerical_derivatives_of_the_fast_path():
    f, g = random(5, seed=1), random(3, 4, seed=2)
    x = random(1, 1, 4, 3)
    smooth_check(lambda x: ops.upfirdn2d(x, f, up=2, down=3, padding=(3, 2, -1, 4)), x)
    smooth_check(lambda x: ops.upfirdn2d(x, g, up=(3, 1), down=(2, 1), padding=2, flip_filter=True), x)
    b = random(1, seed=3)
    smooth_check(lambda x, b: ops.bias_act(x, b, act="lrelu", clamp=1.1), x, b)
    smooth_check(lambda x, b: ops.filtered_lrelu(x, f, g, b, up=2, down=2, padding=3, clamp=2.0), x, b)
    w = random(2, 1, 3, 3, seed=4)
    smooth_check(lambda x, w: ops.conv2d_resample(x, w, g, up=2, padding=1, flip_weight=False), x, w)
    smooth_check(lambda x, w: ops.conv2d_resample(x, w, g, down=2, padding=1), x, w)


@pytest.mark.parametrize("shape", [(5,), (3, 3)])
def test_a_filter_that_learns_gets_its_derivative(shape: tuple[int, ...]):
    x, f = random(1, 2, 6, 6), random(*shape, seed=1)
    assert_paths_agree(lambda x, f: ops.upfirdn2d(x, f, up=2, padding=3), x, f)
    assert_paths_agree(lambda x, f: ops.filtered_lrelu(x, f, f, up=2, padding=5), x, f)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_survives_large_weights_and_styles(dtype: torch.dtype):
    # The products would overflow float16; demodulation makes them harmless.
    x = random(2, 8, 6, 6).to(dtype)
    w, s = random(4, 8, 3, 3, seed=1).float() * 3e3, random(2, 8, seed=2).float() * 3e3
    want = ops.modulated_conv2d(x.double(), w.double(), s.double(), padding=1)
    for path in PATHS:
        with ops.use(path):
            for fused in (True, False):
                got = ops.modulated_conv2d(x, w, s, padding=1, fused=fused)
                assert got.dtype == dtype
                torch.testing.assert_close(got.double(), want, rtol=0.05, atol=0.05)


def test_the_reference_meets_the_definition_by_hand():
    # [1, 2] upsampled by 2 is [1, 0, 2, 0]; padded by 1 on the left, convolved with [1, 10, 100].
    x = torch.tensor([[[[1.0, 2.0]]]])
    f = torch.tensor([[1.0, 10.0, 100.0]])
    for path in PATHS:
        with ops.use(path):
            got = ops.upfirdn2d(x, f, up=(2, 1), padding=(1, 1, 0, 0))
            mirrored = ops.upfirdn2d(x, f, up=(2, 1), padding=(1, 1, 0, 0), flip_filter=True)
        assert got.tolist() == [[[[10.0, 102.0, 20.0, 200.0]]]]
        assert mirrored.tolist() == [[[[10.0, 201.0, 20.0, 2.0]]]]


def test_use_is_for_the_calling_thread_alone():
    seen = {}
    with ops.use("reference"):
        worker = threading.Thread(target=lambda: seen.update(there=ops.current()))
        worker.start()
        worker.join()
        seen["here"] = ops.current()
        with ops.use("fast"):
            seen["inside"] = ops.current()
        seen["after"] = ops.current()
    assert seen == {"there": "fast", "here": "reference", "inside": "fast", "after": "reference"}
    assert ops.current() == "fast"
