"""Adam in TensorFlow's form, gradients between backward pass and step, loss scaling."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from reference_models.training.optimisers import (
    LossScaler,
    TFAdam,
    clip_gradients,
    finite,
    lazy,
    sanitise_gradients,
)


def parameters(seed: int = 0) -> list[nn.Parameter]:
    rng = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=rng)) for shape in ((3, 4), (5,), ())]


def give_gradients(params: list[nn.Parameter], seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    for each in params:
        each.grad = torch.randn(each.shape, generator=rng)


@pytest.mark.parametrize("betas", [(0.0, 0.99), (0.5, 0.9), (0.9, 0.999)])
def test_steps_follow_the_formula(betas: tuple[float, float]):
    params = parameters()
    optimiser = TFAdam(params, lr=0.01, betas=betas, eps=0.1)
    w = [each.detach().double().numpy().copy() for each in params]
    m, v = [np.zeros_like(each) for each in w], [np.zeros_like(each) for each in w]
    for t in range(1, 6):
        give_gradients(params, t)
        for i, each in enumerate(params):
            g = each.grad.double().numpy()
            m[i] = betas[0] * m[i] + (1 - betas[0]) * g
            v[i] = betas[1] * v[i] + (1 - betas[1]) * g * g
            rate = 0.01 * math.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
            w[i] = w[i] - rate * m[i] / (np.sqrt(v[i]) + 0.1)
        optimiser.step()
    for each, wanted in zip(params, w, strict=True):
        np.testing.assert_allclose(each.detach().numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_it_is_torchs_adam_but_for_where_epsilon_stands():
    ours, theirs = parameters(), parameters()
    mine = TFAdam(ours, lr=0.01, betas=(0.3, 0.99), eps=0.0)
    other = torch.optim.Adam(theirs, lr=0.01, betas=(0.3, 0.99), eps=0.0)
    for t in range(4):
        for params, optimiser in ((ours, mine), (theirs, other)):
            give_gradients(params, t)
            optimiser.step()
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_step_with_a_gradient_that_is_not_finite_is_left_out_whole(bad: float):
    skipping, plain = parameters(), parameters()
    optimisers = TFAdam(skipping, lr=0.1), TFAdam(plain, lr=0.1)
    for t in range(3):
        give_gradients(skipping, t)
        give_gradients(plain, t)
        for optimiser in optimisers:
            optimiser.step()
        skipping[1].grad[2] = bad
        optimisers[0].step()
    assert all(torch.equal(one, two) for one, two in zip(skipping, plain, strict=True))
    assert float(optimisers[0].state[skipping[0]]["step"]) == 3


def test_a_missing_gradient_is_one_of_zeros():
    missing, zero = parameters(), parameters()
    optimisers = TFAdam(missing, lr=0.1, betas=(0.5, 0.9)), TFAdam(zero, lr=0.1, betas=(0.5, 0.9))
    for t in range(3):
        give_gradients(missing, t)
        give_gradients(zero, t)
        if t == 1:
            missing[0].grad, zero[0].grad = None, torch.zeros_like(zero[0])
        for optimiser in optimisers:
            optimiser.step()
    assert all(torch.equal(one, two) for one, two in zip(missing, zero, strict=True))


def test_reset_forgets_moments_and_steps():
    used, fresh = parameters(), parameters()
    optimiser = TFAdam(used, lr=0.1, betas=(0.9, 0.99))
    give_gradients(used, 0)
    optimiser.step()
    optimiser.reset()
    with torch.no_grad():
        for one, two in zip(used, fresh, strict=True):
            one.copy_(two)
    other = TFAdam(fresh, lr=0.1, betas=(0.9, 0.99))
    for params, each in ((used, optimiser), (fresh, other)):
        give_gradients(params, 1)
        each.step()
    assert all(torch.equal(one, two) for one, two in zip(used, fresh, strict=True))


def test_its_state_comes_back_to_the_last_bit():
    params = parameters()
    optimiser = TFAdam(params, lr=0.1, betas=(0.9, 0.99))
    give_gradients(params, 0)
    optimiser.step()
    twins = [nn.Parameter(each.detach().clone()) for each in params]
    other = TFAdam(twins, lr=0.5)
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    assert set(other.state[twins[0]]) == {"step", "exp_avg", "exp_avg_sq"}
    for group, each in ((params, optimiser), (twins, other)):
        give_gradients(group, 1)
        each.step()
    assert all(torch.equal(one, two) for one, two in zip(params, twins, strict=True))


def test_a_closure_has_gradients():
    (w,) = params = [nn.Parameter(torch.tensor([3.0]))]
    optimiser = TFAdam(params, lr=0.1)

    def closure() -> float:
        optimiser.zero_grad()
        loss = w.square().sum()
        loss.backward()
        return float(loss.detach())

    assert optimiser.step(closure) == 9.0
    assert float(w.detach()) == pytest.approx(2.9)


def test_laziness_keeps_what_a_round_of_steps_does():
    # k + 1 steps of the corrected optimiser decay as k steps of the plain one, and go as far.
    for interval in (1, 4, 16):
        lr, betas = lazy(0.002, (0.5, 0.99), interval)
        assert betas[1] ** (interval + 1) == pytest.approx(0.99**interval)
        assert betas[0] ** (interval + 1) == pytest.approx(0.5**interval)
        assert lr * (interval + 1) == pytest.approx(0.002 * interval)
    assert lazy(0.002, (0.0, 0.99), None) == (0.002, (0.0, 0.99))
    assert lazy(0.002, (0.0, 0.99), 4)[1][0] == 0.0


def test_gradients_are_made_finite():
    params = parameters()
    give_gradients(params, 0)
    params[2].grad = None
    assert finite(params)
    params[1].grad[:4] = torch.tensor([math.nan, math.inf, -math.inf, 3e38])
    assert not finite(params)
    sanitise_gradients(params)
    assert params[1].grad[:4].tolist() == pytest.approx([0.0, 1e5, -1e5, 3e38])
    assert finite(params)  # large is not infinite
    assert finite([])


def test_gradients_are_shortened_together():
    params = parameters()
    give_gradients(params, 0)
    before = [each.grad.clone() for each in params]
    norm = math.sqrt(sum(float(each.square().sum()) for each in before))
    assert float(clip_gradients(params, norm * 2)) == pytest.approx(norm)
    assert all(torch.equal(each.grad, was) for each, was in zip(params, before, strict=True))
    clip_gradients(params, norm / 2)
    for each, was in zip(params, before, strict=True):
        torch.testing.assert_close(each.grad, was / 2, rtol=1e-5, atol=1e-7)


# ---------------------------------------------------------------------------------------- loss scaling


def backward(scaler: LossScaler, w: nn.Parameter, slope: float) -> None:
    w.grad = None
    scaler.scale((w * slope).sum()).backward()


def test_scaling_changes_no_gradient():
    w = nn.Parameter(torch.ones(3))
    for enabled in (True, False):
        scaler = LossScaler(enabled=enabled)
        backward(scaler, w, 0.3)
        assert scaler.unscale([w])
        assert torch.equal(w.grad, torch.full((3,), 0.3))


def test_small_gradients_of_half_precision_survive():
    slope = 2.0**-30
    for enabled, survives in ((True, True), (False, False)):
        scaler = LossScaler(enabled=enabled)
        half = torch.ones(1, dtype=torch.float16, requires_grad=True)
        scaler.scale(half.float() * slope).sum().backward()  # the gradient enters float16 here
        assert bool((half.grad != 0).all()) is survives


def test_the_factor_halves_when_gradients_overflow_and_doubles_after_good_steps():
    w = nn.Parameter(torch.ones(3))
    scaler = LossScaler(initial=4.0, growth_interval=3)
    backward(scaler, w, math.inf)
    assert not scaler.unscale([w])
    assert scaler.factor == 2.0
    for wanted in (2.0, 2.0, 4.0, 4.0):
        backward(scaler, w, 1.0)
        assert scaler.unscale([w])
        assert scaler.factor == wanted
    for _ in range(9):
        backward(scaler, w, math.nan)
        scaler.unscale([w])
    assert scaler.factor == 1.0  # and no less


def test_a_scalers_state_comes_back():
    w = nn.Parameter(torch.ones(1))
    one, two = (LossScaler(initial=8.0, growth_interval=3) for _ in range(2))
    for slope in (1.0, math.inf, 1.0, 1.0):
        backward(one, w, slope)
        one.unscale([w])
    two.restore_numbers(dict(one.numbers()))
    for scaler in (one, two):
        backward(scaler, w, 1.0)
        scaler.unscale([w])
    assert one.numbers() == two.numbers()
    assert one.factor == 8.0
