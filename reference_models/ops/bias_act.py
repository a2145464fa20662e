"""Bias, activation, gain and clamp, in this order.

Karras et al. 2020. The default gain keeps the variance of unit-variance inputs: sqrt(2) for relu, lrelu and
swish, else 1. ``alpha`` is the slope of lrelu below zero.

Official: NVlabs/stylegan3@c233a919a6faee6e36a316ddd4eddababad1adf9, torch_utils/ops/bias_act.py. Differs: no
CUDA extension; on the fast path linear, relu and lrelu are one pass whose gain is applied before the
activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch.nn import functional

from evalkit.errors import UsageError, nearest
from reference_models.ops.resampling import Context
from reference_models.ops.switch import is_fast


class Activation(NamedTuple):
    """A function of ``(x, alpha)`` with its defaults."""

    name: str
    function: Callable[[torch.Tensor, float], torch.Tensor]
    gain: float = 1.0
    alpha: float = 0.0


ACTIVATIONS: Mapping[str, Activation] = {
    "linear": Activation("linear", lambda x, _: x),
    "relu": Activation("relu", lambda x, _: functional.relu(x), math.sqrt(2)),
    "lrelu": Activation("lrelu", functional.leaky_relu, math.sqrt(2), 0.2),
    "tanh": Activation("tanh", lambda x, _: torch.tanh(x)),
    "sigmoid": Activation("sigmoid", lambda x, _: torch.sigmoid(x)),
    "elu": Activation("elu", lambda x, _: functional.elu(x)),
    "selu": Activation("selu", lambda x, _: functional.selu(x)),
    "softplus": Activation("softplus", lambda x, _: functional.softplus(x)),
    "swish": Activation("swish", lambda x, _: x * torch.sigmoid(x), math.sqrt(2)),
}


def bias_act(
    x: torch.Tensor,
    b: torch.Tensor | None = None,
    *,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> torch.Tensor:
    """Computes ``clamp(gain * act(x + b))``.

    Args:
        x: Floats of any shape.
        b: Bias ``(x.shape[dim],)``.
        dim: The axis that the bias belongs to.
        act: Name of an activation of `ACTIVATIONS`.
        alpha: Shape of the activation; None is its default.
        gain: Factor after the activation; None is its default.
        clamp: Limit of the absolute value of the result; None is no limit.

    Returns:
        A tensor of the shape and type of ``x``.

    Raises:
        UsageError: The activation is unknown, the bias does not fit, or the limit is negative.
    """
    if act not in ACTIVATIONS:
        raise UsageError(
            f"unknown activation {act!r} (nearest: {nearest(str(act), list(ACTIVATIONS))}); accepted are "
            f"{', '.join(ACTIVATIONS)}"
        )
    if b is not None and (not -x.ndim <= dim < x.ndim or tuple(b.shape) != (x.shape[dim],)):
        raise UsageError(
            f"a bias along axis {dim} of {tuple(x.shape)} has one value an entry; given is {tuple(b.shape)}"
        )
    if clamp is not None and clamp < 0:
        raise UsageError(f"clamp is {clamp}; it limits the absolute value, give 0 or more, or None")
    known = ACTIVATIONS[act]
    alpha = known.alpha if alpha is None else float(alpha)
    gain = known.gain if gain is None else float(gain)
    if b is not None:
        shape = [1] * x.ndim
        shape[dim] = -1
        b = b.to(x.dtype).reshape(shape)
    if is_fast():
        return _fast(x, b, known, alpha, gain, clamp)
    return _reference(x, b, known, alpha, gain, clamp)


def _reference(
    x: torch.Tensor,
    b: torch.Tensor | None,
    act: Activation,
    alpha: float,
    gain: float,
    clamp: float | None,
) -> torch.Tensor:
    if b is not None:
        x = x + b
    x = act.function(x, alpha) * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def _fast(
    x: torch.Tensor,
    b: torch.Tensor | None,
    act: Activation,
    alpha: float,
    gain: float,
    clamp: float | None,
) -> torch.Tensor:
    slope = {"linear": 1.0, "relu": 0.0, "lrelu": alpha}.get(act.name)
    if slope is None or slope < 0 or gain <= 0 or x.is_meta:
        return _reference(x, b, act, alpha, gain, clamp)
    if torch.is_grad_enabled() and (x.requires_grad or (b is not None and b.requires_grad)):
        result: torch.Tensor = _Rectifier.apply(x, b, slope, gain, clamp)
        return result
    return _rectify(x, b, slope, gain, clamp)


def _rectify(
    x: torch.Tensor, b: torch.Tensor | None, slope: float, gain: float, clamp: float | None
) -> torch.Tensor:
    # One new tensor, changed in place. A positive gain may pass through the activation.
    if b is not None:
        y = torch.add(b if gain == 1 else b * gain, x, alpha=gain)
    elif gain != 1 or slope != 1 or clamp is not None:
        y = x * gain
    else:
        return x.clone()
    if slope == 0:
        y.relu_()
    elif slope != 1:
        functional.leaky_relu_(y, slope)
    return y if clamp is None else y.clamp_(-clamp, clamp)


class _Rectifier(torch.autograd.Function):
    """A rectifier that keeps its result alone, from whose sign and size all derivatives follow."""

    @staticmethod
    def forward(
        ctx: Context, x: torch.Tensor, b: torch.Tensor | None, slope: float, gain: float, clamp: float | None
    ) -> torch.Tensor:
        y = _rectify(x, b, slope, gain, clamp)
        ctx.save_for_backward(y)
        ctx.options = slope, gain, clamp
        ctx.bias_shape = None if b is None else b.shape
        return y

    @staticmethod
    def backward(ctx: Context, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # The derivative is constant between the kinks, so the result counts as a constant here.
        y = ctx.saved_tensors[0].detach()
        slope, gain, clamp = ctx.options
        if clamp is not None:
            grad = torch.ops.aten.hardtanh_backward(grad, y, -clamp, clamp)
        if slope != 1:
            grad = torch.ops.aten.leaky_relu_backward(grad, y, slope, True)
        if gain != 1:
            grad = grad * gain
        bias = None
        if ctx.bias_shape is not None and ctx.needs_input_grad[1]:
            bias = grad.sum_to_size(ctx.bias_shape)
        return grad, bias, None, None, None
