"""Averages of weights: half-life, ramp-up, what is averaged and what is copied."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reference_models.training import ema


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_a_half_life_halves():
    beta = ema.half_life_beta(32, 10, None, 0)
    assert beta ** (10_000 / 32) == pytest.approx(0.5)


def test_the_half_life_grows_with_the_images_seen_up_to_its_own():
    betas = [ema.half_life_beta(32, 10, 0.05, images) for images in (0, 3200, 200_000, 10**7)]
    assert betas[0] == 0.0
    assert betas == sorted(betas)
    assert betas[1] == pytest.approx(0.5 ** (32 / 160))
    assert betas[2] == betas[3] == ema.half_life_beta(32, 10, None, 0)


def test_parameters_move_by_the_formula_and_buffers_are_copied():
    average, module = network(0), network(1)
    module[1].running_mean.fill_(7.0)
    module[1].num_batches_tracked.fill_(5)
    before = {name: value.detach().clone() for name, value in average.named_parameters()}
    ema.update(average, module, 0.9)
    for name, value in module.named_parameters():
        wanted = value + 0.9 * (before[name] - value)
        torch.testing.assert_close(dict(average.named_parameters())[name], wanted, rtol=1e-6, atol=1e-7)
    assert average[1].running_mean.tolist() == [7.0] * 4
    assert int(average[1].num_batches_tracked) == 5
    assert all(value.grad_fn is None for value in average.parameters())


def test_keeping_nothing_is_a_copy_and_keeping_all_is_none():
    average, module = network(0), network(1)
    before = average[0].weight.detach().clone()
    ema.update(average, module, 1.0)
    assert torch.equal(average[0].weight, before)
    ema.update(average, module, 0.0)
    assert torch.equal(average[0].weight, module[0].weight)


def test_an_average_of_itself_stays_where_it_is():
    average = network(0)
    before = average[0].weight.detach().clone()
    ema.update(average, network(0), 0.3)
    assert torch.equal(average[0].weight, before)


def test_names_decide_not_their_order():
    torch.manual_seed(0)
    one, two = nn.ModuleDict(), nn.ModuleDict()
    for name in ("a", "b"):
        one[name] = nn.Linear(2, 2)
    for name in ("b", "a"):
        two[name] = nn.Linear(2, 2)
    ema.update(one, two, 0.0)
    assert torch.equal(one["a"].weight, two["a"].weight)
    with pytest.raises(ValueError, match=r"a network of the same names; in one only are c\.bias, c\.weight"):
        ema.update(one, nn.ModuleDict({**two, "c": nn.Linear(2, 2)}), 0.5)
