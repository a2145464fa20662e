"""The growing schedule: what it is in words, what it refuses; images by level of detail."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from evalkit.errors import UsageError
from reference_models.convert.configs import config_from_json, config_to_json
from reference_models.training.schedules import GrowingSchedule, process_reals, pyramid, resets

GROWS = GrowingSchedule(
    lod_training_kimg=2, lod_transition_kimg=3, minibatch_dict={4: 32, 8: 16}, G_lrate_dict={8: 0.5}
)


def test_it_stays_fades_and_ends_at_full_resolution():
    lods = [GROWS.at(1000 * kimg, resolution_log2=4).lod for kimg in range(13)]
    assert lods == pytest.approx([2, 2, 2, 5 / 3, 4 / 3, 1, 1, 1, 2 / 3, 1 / 3, 0, 0, 0])


def test_minibatch_and_rate_follow_the_finer_level_from_the_start_of_a_fade():
    before, after = (GROWS.at(images, resolution_log2=4) for images in (2000, 2001))
    assert (before.resolution, before.minibatch, before.G_lrate, before.tick_kimg) == (4, 32, 0.001, 160)
    assert (after.resolution, after.minibatch, after.G_lrate, after.tick_kimg) == (8, 16, 0.5, 140)
    assert before.D_lrate == after.D_lrate == 0.001


def test_levels_are_passed_from_coarse_to_fine_whatever_the_step():
    lods = [GROWS.at(images, resolution_log2=6).lod for images in range(0, 30000, 37)]
    assert lods == sorted(lods, reverse=True)
    assert (lods[0], lods[-1]) == (4, 0)


def test_processes_share_a_minibatch_evenly_and_cap_it():
    schedule = GrowingSchedule(minibatch_base=30, max_minibatch_per_gpu={8: 3})
    assert schedule.at(0, resolution_log2=2, num_gpus=4).minibatch == 28
    assert schedule.at(0, resolution_log2=3, num_gpus=4).minibatch == 28
    capped = GrowingSchedule(lod_initial_resolution=8, minibatch_base=30, max_minibatch_per_gpu={8: 3})
    assert capped.at(0, resolution_log2=3, num_gpus=4).minibatch == 12
    with pytest.raises(UsageError, match=r"minibatch at resolution 4 is 30, and 31 processes share it"):
        schedule.at(0, resolution_log2=2, num_gpus=31)


def test_rates_rise_from_nothing():
    schedule = GrowingSchedule(lrate_rampup_kimg=4)
    rates = [schedule.at(images, resolution_log2=3).D_lrate for images in (0, 1000, 4000, 9000)]
    assert rates == pytest.approx([0, 0.00025, 0.001, 0.001])


def test_a_training_that_never_grows():
    still = GrowingSchedule(lod_initial_resolution=32, lod_training_kimg=0, lod_transition_kimg=0)
    assert {still.at(images, resolution_log2=5).lod for images in (0, 10**6)} == {0.0}
    finer = GrowingSchedule(lod_initial_resolution=64)
    assert finer.at(0, resolution_log2=5).resolution == 32


def test_it_comes_back_from_json_and_can_be_hashed():
    text = json.dumps(config_to_json(GROWS))
    back = config_from_json(GrowingSchedule, json.loads(text), "a file")
    assert back == GROWS
    assert hash(back) == hash(GROWS)
    assert GROWS.largest_minibatch == 32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"minibatch_base": 0}, r"minibatch_base is 0; give a whole number from 1"),
        ({"lod_initial_resolution": 2}, r"lod_initial_resolution is 2; give a whole number from 4"),
        ({"lod_training_kimg": -1}, r"lod_training_kimg is -1; give a number above 0"),
        ({"lod_transition_kimg": math.nan}, r"lod_transition_kimg is nan; give a number"),
        ({"lrate_rampup_kimg": False}, r"lrate_rampup_kimg is False; give a number"),
        ({"D_lrate_base": 0}, r"D_lrate_base is 0; give a number above 0"),
        ({"minibatch_dict": {4: 1.5}}, r"minibatch_dict\[4\] is 1.5; give a whole number"),
        ({"max_minibatch_per_gpu": {4: 0}}, r"max_minibatch_per_gpu\[4\] is 0; give a whole number"),
        ({"G_lrate_dict": {6: 0.1}}, r"G_lrate_dict has the resolution 6; give powers of two from 4"),
        ({"G_lrate_dict": {"8": 0.1}}, r"G_lrate_dict has the resolution '8'; give powers of two"),
        ({"G_lrate_dict": {8: "fast"}}, r"G_lrate_dict\[8\] is 'fast'; give a number above 0"),
        ({"tick_kimg_dict": 3}, r"tick_kimg_dict is 3; give a value by resolution, such as \{64: 32"),
    ],
)
def test_what_no_schedule_can_be(fields: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        GrowingSchedule(**fields)


def test_moments_start_anew_at_the_beginning_and_the_end_of_a_fade():
    lods = [2.0, 2.0, 1.9, 1.2, 1.0, 1.0, 0.5, 0.0, 0.0]
    found = [resets(before, now) for before, now in zip([None, *lods], lods, strict=False)]
    assert found == [True, False, True, False, True, False, True, True, False]


# ------------------------------------------------------------------------------------- levels of images


def test_levels_keep_the_mean_and_round_halves_to_even_only_when_stored():
    image = torch.tensor([[1, 2], [2, 1]], dtype=torch.uint8).repeat(1, 8, 8)  # means are 1.5
    assert [level.shape[-1] for level in pyramid(image)] == [16, 8, 4]
    assert {int(value) for value in pyramid(image)[1].unique()} == {2}
    # Requantised in between, 2.5 would have become 2 and then stayed there: 0.5 of 0 and 3, 2 ... differ.
    column = torch.tensor([2, 3, 3, 3] * 4, dtype=torch.uint8)
    levels = pyramid(column.repeat(1, 16, 1))
    assert levels[1][0, 0].tolist() == [2, 3] * 4  # 2.5 rounds to 2
    assert levels[2][0, 0].tolist() == [3] * 4  # 2.75, not the mean of 2 and 3


def test_a_batch_has_the_levels_of_its_images():
    images = torch.randint(
        0, 256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    for level, batch in enumerate(pyramid(images)):
        assert batch.dtype == torch.uint8
        assert torch.equal(batch[3], pyramid(images[3])[level])


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(3, 16, 16),
        torch.zeros(3, 16, 8, dtype=torch.uint8),
        torch.zeros(3, 12, 12, dtype=torch.uint8),
        torch.zeros(3, 2, 2, dtype=torch.uint8),
        torch.zeros(16, 16, dtype=torch.uint8),
        torch.tensor(0, dtype=torch.uint8),
    ],
)
def test_what_has_no_levels(image: torch.Tensor):
    with pytest.raises(UsageError, match=r"s a power of two from 4; given is torch\.\w+ \(.*\); resize"):
        pyramid(image)


def test_reals_are_blended_toward_the_coarser_level_and_enlarged():
    images = torch.randint(
        0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    full = process_reals(images, 0.0)
    assert torch.equal(full, images.float() / 127.5 - 1)
    almost = process_reals(images, 0.999999)
    coarse = process_reals(pyramid(images)[1], 1.0)
    assert coarse.shape == full.shape
    assert (almost - coarse).abs().max() < 0.5 / 127.5 + 1e-4  # but for the rounding of the stored level
    assert process_reals(images, 2.25).shape == (3, 1, 32, 32)


def test_reals_are_mirrored_from_a_half_on():
    images = torch.arange(2 * 16, dtype=torch.uint8).reshape(2, 1, 4, 4)
    found = process_reals(images, 0.0, torch.tensor([0.49999, 0.5]))
    assert torch.equal(found[0], process_reals(images, 0.0)[0])
    assert torch.equal(found[1], process_reals(images, 0.0)[1].flip(2))
