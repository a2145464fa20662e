"""Adam in TensorFlow's form, and what happens to gradients between backward pass and step.

Papers: Kingma & Ba 2015 (arXiv:1412.6980), the end of section 2 (the form with one corrected rate); Karras et
al. 2020 (arXiv:1912.04958), appendix B (lazy regularisation); Micikevicius et al. 2018 (arXiv:1710.03740),
section 3.2 (loss scaling). Official: tkarras/progressive_growing_of_gans@2504c3f, tfutil.py;
NVlabs/stylegan3@c233a91, training/training_loop.py. Differs: the loss scale doubles after a number of good
steps, where ProGAN's moves a little at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import torch
from torch import Tensor, nn


class TFAdam(torch.optim.Optimizer):
    """Adam that adds epsilon to the root of the uncorrected second moment.

    ``w -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)``. A step with a gradient that is not finite is
    left out whole: weights, moments and t stay. A parameter without a gradient has one of zeros.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        """Takes parameters, learning rate, decays of both moments, and epsilon."""
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step on the gradients as they are.

        Args:
            closure: Computes the loss and the gradients anew, where that is wanted.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if finite(parameter for group in self.param_groups for parameter in group["params"]):
            for group in self.param_groups:
                self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        parameters: list[Tensor] = group["params"]
        if not parameters:
            return
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device="cpu")
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["step"] += 1
        states = [self.state[parameter] for parameter in parameters]
        means = [state["exp_avg"] for state in states]
        squares = [state["exp_avg_sq"] for state in states]
        beta1, beta2 = group["betas"]
        step = float(states[0]["step"])  # all parameters of a group take every step together
        rate = group["lr"] * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_addcdiv_(parameters, means, roots, -rate)

    def reset(self) -> None:
        """Forgets both moments and t."""
        self.state.clear()


def lazy(lr: float, betas: tuple[float, float], interval: int | None) -> tuple[float, tuple[float, float]]:
    """Learning rate and decays of Adam for a network that is regularised at every k-th iteration.

    Args:
        lr: Learning rate without lazy regularisation.
        betas: Decays without it.
        interval: k; None leaves all as it is.

    Returns:
        ``lr q`` and ``beta^q`` with ``q = k / (k + 1)``.
    """
    ratio = 1.0 if interval is None else interval / (interval + 1)
    return lr * ratio, (betas[0] ** ratio, betas[1] ** ratio)


# ----------------------------------------------------------------------------------------------- gradients


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def finite(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether no gradient holds an infinity or NaN."""
    grads = [grad for grad in _gradients(parameters) if grad.numel()]
    if not grads:
        return True
    # Largest magnitudes: unlike sums of squares they overflow only where the gradient itself has.
    return bool(torch.stack(torch._foreach_norm(grads, math.inf)).isfinite().all())


@torch.no_grad()
def sanitise_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces NaN in gradients by 0, and infinities by 1e5 of their sign."""
    for grad in _gradients(parameters):
        torch.nan_to_num(grad, nan=0.0, posinf=1e5, neginf=-1e5, out=grad)


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Shortens the gradient of all parameters together to a norm.

    Args:
        parameters: With finite gradients.
        max_norm: The longest norm that is left alone.

    Returns:
        The norm before, a scalar.
    """
    return nn.utils.clip_grad_norm_(parameters, max_norm)


class LossScaler:
    """Keeps small float16 gradients from vanishing: the loss is multiplied, gradients are divided.

    The factor halves when a gradient overflows, and doubles after ``growth_interval`` steps without that.

    Attributes:
        enabled: Whether it scales at all.
        factor: The present factor, a power of two, so that scaling rounds nothing.
    """

    def __init__(
        self, *, enabled: bool = True, initial: float = 65536.0, growth_interval: int = 2000
    ) -> None:
        """Starts at a factor."""
        self.enabled, self.factor = enabled, initial
        self._growth_interval, self._good = growth_interval, 0

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to go back from."""
        return loss * self.factor if self.enabled else loss

    @torch.no_grad()
    def unscale(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Divides gradients in place and adapts the factor.

        Args:
            parameters: Of one network, after one backward pass or several at the same factor.

        Returns:
            False where a gradient overflowed: leave the step out.
        """
        if not self.enabled:
            return True
        parameters = list(parameters)
        if grads := _gradients(parameters):
            torch._foreach_mul_(grads, 1.0 / self.factor)
        if not finite(parameters):
            self.factor, self._good = max(self.factor / 2, 1.0), 0
            return False
        self._good += 1
        if self._good >= self._growth_interval:
            self.factor, self._good = self.factor * 2, 0
        return True

    def numbers(self) -> Mapping[str, float]:
        """Its state."""
        return {"factor": self.factor, "good_steps": float(self._good)}

    def restore_numbers(self, numbers: Mapping[str, float]) -> None:
        """Takes back what `numbers` returned."""
        self.factor, self._good = numbers["factor"], int(numbers["good_steps"])
