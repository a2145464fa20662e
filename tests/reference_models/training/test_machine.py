"""The device of training: its choice, its flags, and what is said when memory runs out."""

from __future__ import annotations

import pytest
import torch

from evalkit.errors import TrainingError, UsageError
from reference_models.training.machine import (
    batch_that_fits,
    describe,
    explain_memory,
    memory,
    numerics,
    pick_device,
)

CPU = torch.device("cpu")


def test_devices_that_are_not_there_are_refused():
    assert pick_device("cpu") == CPU
    with pytest.raises(UsageError, match="unknown device 'gpu'; use auto, cpu, cuda or cuda:N"):
        pick_device("gpu")
    with pytest.raises(UsageError, match="torch sees"):
        pick_device("cuda:77")


def test_deterministic_mode_ends_with_the_run_even_where_it_fails():
    assert not torch.are_deterministic_algorithms_enabled()
    seen = []

    def fail():
        with numerics(CPU, deterministic=True):
            seen.append(torch.are_deterministic_algorithms_enabled())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_batch_that_fits_leaves_room():
    # 2 bytes held, 1 byte an image: 0.9 * 20 - 2 = 16 images fit into 20 bytes.
    assert batch_that_fits(held=2, peak=66, total=20, batch=64) == 16
    assert batch_that_fits(held=2, peak=66, total=10**9, batch=64) == 32  # 64 did not fit
    assert batch_that_fits(held=30, peak=66, total=20, batch=64) == 1
    assert batch_that_fits(held=2, peak=66, total=14, batch=64) == 8  # a power of two


@pytest.mark.parametrize(
    ("recipe", "batch", "advice"),
    [
        ({"batch": 64, "batch_gpu": None}, 64, "with 64 images at once; 32 should fit: .*--set batch_gpu=32"),
        ({"batch": 64, "batch_gpu": 8}, 64, "with 8 images at once; 4 should fit"),
        ({"schedule": {}}, 16, "--set schedule.minibatch_base=8"),
        ({"batch": 4}, 4, "--set batch=2"),
        ({"batch": 4, "batch_gpu": 1}, 4, "not even one image fits"),
    ],
)
def test_memory_that_runs_out_names_the_option_and_the_batch(recipe, batch, advice):
    with pytest.raises(TrainingError, match=advice), explain_memory(CPU, {"recipe": recipe}, batch, 0):
        torch.empty(2**50)


def test_other_errors_of_torch_pass():
    with pytest.raises(RuntimeError, match="shape"), explain_memory(CPU, {}, 1, 0):
        torch.zeros(2, 3).view(7).reshape(3)


def test_a_machine_is_described_by_what_bits_depend_on():
    assert describe(CPU, 2) == {
        "torch": torch.__version__,
        "device": "cpu",
        "processes": 2,
        "threads": torch.get_num_threads(),
    }
    assert memory(CPU)["memory/rss_mib"] > 10
