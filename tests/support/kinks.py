"""Derivatives at a rectifier's corner, where the last bit of its input decides.

A leaky rectifier has two slopes. Where its input is smaller than the rounding error of the sums before it,
two float32 programs can see two signs, and every gradient behind the unit differs by far more than rounding,
although both programs are right. Golden gradients come from one program; `on_either_side` accepts those of
either sign of such an input, at the full tolerance, and of no other input.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from tensor_cases import TensorCase
from torch.overrides import TorchFunctionMode

# Inputs are sums of hundreds of products of about 1, in float32.
ROUNDING = 2e-6
MOST = 6


class _Corners(TorchFunctionMode):
    """Counts leaky rectifiers' inputs within rounding of 0, and gives those asked for the other sign."""

    def __init__(self, swapped: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.num = 0
        self._swapped = swapped

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.leaky_relu:
            return func(*args, **(kwargs or {}))
        x, *rest = args
        near = (x.detach().abs() <= ROUNDING).nonzero()
        shift = torch.zeros_like(x)
        for place in near:
            if self.num in self._swapped:
                here = tuple(place.tolist())
                shift[here] = -2 * x.detach()[here]
            self.num += 1
        return func(x + shift if self._swapped else x, *rest, **(kwargs or {}))


def on_either_side(case: TensorCase, attempt: Callable[[], None]) -> None:
    """Runs ``attempt``; if it fails, again with every choice of signs for inputs within rounding of 0.

    Args:
        case: Whose outputs are compared; every attempt has to pass all that the first one should.
        attempt: Computes and asserts; it has to pass under one of the choices.
    """
    outputs = case.left()
    with _Corners() as seen:
        try:
            attempt()
        except AssertionError as error:
            failure = error
        else:
            return
    # A failed attempt may have stopped before all corners were met: the choices are made of those it met.
    for size in range(1, min(seen.num, MOST) + 1):
        for swapped in itertools.combinations(range(min(seen.num, MOST)), size):
            case.reopen(outputs)
            with _Corners(frozenset(swapped)):
                try:
                    attempt()
                except AssertionError:
                    continue
                return
    raise failure
