"""Means between two lines of the log, and the signs of a dead training."""

from __future__ import annotations

import math

import pytest
import torch
from groups import Alone

from reference_models.training.health import PATIENCE, Averages, Health, what_to_try

CPU = torch.device("cpu")
ALIVE = {"loss/D": 1.2, "signs/real": 0.4, "scores/real": 0.5, "scores/fake": -0.5}
SURE = {"loss/D": 1e-6, "signs/real": 1.0, "scores/real": 30.0, "scores/fake": -30.0}
BLIND = {"loss/D": 1.3, "signs/real": 0.0, "scores/real": 0.25, "scores/fake": 0.25}


def test_means_are_over_the_iterations_that_reported_a_value():
    averages = Averages(CPU)
    averages.add({"loss/D": torch.tensor(1.0), "loss/R1": 5.0})
    averages.add({"loss/D": 2.0})
    assert averages.means(Alone()) == {"loss/D": 1.5, "loss/R1": 5.0}
    assert averages.means(Alone()) == {}


def test_an_interrupted_mean_is_the_same_to_the_last_bit():
    values = [0.1, 0.7, 1e-9, 3.3]
    whole, first, second = Averages(CPU), Averages(CPU), Averages(CPU)
    for value in values:
        whole.add({"loss": torch.tensor(value)})
    for value in values[:2]:
        first.add({"loss": torch.tensor(value)})
    second.restore(first.state(Alone()))
    for value in values[2:]:
        second.add({"loss": torch.tensor(value)})
    assert second.means(Alone()) == whole.means(Alone())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_named_at_once(value):
    assert Health().diagnose({**ALIVE, "loss/G": value}) == f"loss/G is {value}"


@pytest.mark.parametrize(("values", "words"), [(SURE, "told every real"), (BLIND, "the same score")])
def test_a_discriminator_of_no_use_is_noticed_after_a_while_without_interruption(values, words):
    health = Health()
    for _ in range(PATIENCE - 1):
        assert health.diagnose(values) is None
    assert health.diagnose(ALIVE) is None
    for _ in range(PATIENCE - 1):
        assert health.diagnose(values) is None
    assert words in health.diagnose(values)


def test_a_living_training_is_left_alone():
    health = Health()
    assert {health.diagnose(ALIVE) for _ in range(3 * PATIENCE)} == {None}


def test_advice_names_the_recipes_own_options():
    phased = {"recipe": {"G_lrate": 0.002, "D_lrate": 0.004, "r1_gamma": 0.1, "augment": "none"}}
    advice = what_to_try(phased)
    for words in (
        "--set G_lrate=0.001",
        "--set D_lrate=0.002",
        "--set r1_gamma=0.4",
        "--set augment=bgc",
    ):
        assert words in advice
    growing = {"recipe": {"schedule": {"G_lrate_base": 0.001, "D_lrate_base": 0.001}}}
    assert "--set schedule.G_lrate_base=0.0005" in what_to_try(growing)
    assert "r1_gamma" not in what_to_try(growing)
