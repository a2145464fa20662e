"""The controller of adaptive augmentation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from groups import Alone

from evalkit.errors import UsageError
from reference_models.training.augmentation.ada import AdaController


def run(controller: AdaController, means: list[float], *, batch: int = 32) -> None:
    for mean in means:
        logits = torch.ones(100)
        logits[: round(50 * (1 - mean))] = -1.0
        controller.observe(logits)
        controller.adjust(batch, Alone())


class Pair:
    """Two processes in one: the mean with what the other one brings."""

    rank, size = 0, 2

    def __init__(self, other: torch.Tensor) -> None:
        self.other = other

    def average_gradients(self, parameters: object) -> None:
        """Leaves gradients as they are."""

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        return (value + self.other) / 2


def test_it_moves_only_at_the_end_of_an_interval_and_by_a_fixed_step():
    controller = AdaController(target=0.6, interval=4, kimg=1.0)
    seen = []
    for _ in range(8):
        run(controller, [0.9])
        seen.append(controller.p)
    assert seen == pytest.approx([0, 0, 0, 0.128, 0.128, 0.128, 0.128, 0.256], rel=1e-6)


def test_all_logits_since_the_last_adjustment_count_and_no_others():
    controller = AdaController(target=0.6, interval=2, kimg=1.0)
    run(controller, [1.0, 0.3])  # 0.65
    assert controller.p > 0
    run(controller, [1.0, 0.1])  # 0.55
    assert controller.p == 0.0
    controller.observe(torch.ones(3, 1))
    controller.observe(-torch.ones(97, 1))  # one iteration, two passes
    controller.adjust(32, Alone())
    run(controller, [0.9])
    assert controller.p == 0.0


def test_it_stays_at_the_target_at_zero_and_without_logits():
    controller = AdaController(target=0.6, interval=1, kimg=1.0)
    run(controller, [0.2, -1.0])
    assert controller.p == 0.0
    run(controller, [0.9, 0.6])
    assert controller.p == pytest.approx(0.032)
    controller.adjust(32, Alone())
    assert controller.p == pytest.approx(0.032)


def test_it_goes_from_nothing_to_all_in_its_kimg():
    controller = AdaController(target=0.6, interval=4, kimg=3.2)
    run(controller, [1.0] * 100)
    assert controller.p == pytest.approx(1.0, rel=1e-5)
    run(controller, [1.0] * 4)
    assert controller.p > 1  # no upper limit
    assert np.float32(controller.p) == controller.p


def test_processes_count_by_their_logits():
    controller = AdaController(target=0.0, interval=1, kimg=1.0)
    controller.observe(torch.ones(10))
    controller.adjust(32, Pair(torch.tensor([-9.0, 90.0], dtype=torch.float64)))  # 1 of 100 too many
    assert controller.p > 0
    controller.observe(torch.ones(10))
    controller.adjust(32, Pair(torch.tensor([-11.0, 90.0], dtype=torch.float64)))
    assert controller.p == 0.0


def test_its_state_comes_back_through_json_in_the_middle_of_an_interval():
    one = AdaController(p=0.1, interval=4, kimg=7.7)
    run(one, [0.9, 0.3, 0.7, 0.5, 0.9, 0.8])
    two = AdaController(interval=4, kimg=7.7)
    two.restore_numbers(json.loads(json.dumps(one.numbers())))
    assert two.p == one.p
    for controller in (one, two):
        run(controller, [0.3, 0.5])
    assert one.numbers() == two.numbers()
    assert one.numbers()["logits"] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"p": -0.1}, r"p is -0.1; give 0 or more"),
        ({"p": float("nan")}, r"p is nan; give 0 or more"),
        ({"target": 1.5}, r"target is 1.5; give a mean sign from -1 to 1"),
        ({"interval": 0}, r"interval is 0; give a whole number from 1"),
        ({"kimg": 0}, r"kimg is 0; give a number above 0"),
    ],
)
def test_what_it_cannot_be(given: dict[str, float], message: str):
    with pytest.raises(UsageError, match=message):
        AdaController(**given)
