"""VDVAE's sizes and recipes: what is refused, and what the numbers mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evalkit.errors import UsageError
from reference_models.catalog import make_task
from reference_models.vdvae.config import PRESETS, NetworkConfig, parse_blocks
from reference_models.vdvae.recipe import RECIPES, Recipe

SMALL = NetworkConfig(img_resolution=8, enc_blocks="8x1,8d2,4d4,1x1", dec_blocks="1x1,4m1,8m4", width=8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"img_channels": 2}, r"img_channels is '2' \(nearest: .*accepted are 1, 3"),
        ({"width": 0}, "width is 0; give a whole number from 1 to 65536"),
        ({"bottleneck_multiple": 0.0}, "bottleneck_multiple is 0.0; give a number above 0"),
        ({"bottleneck_multiple": 0.01}, "the inner width at resolution 8 is 0"),
        ({"input_scale": -1.0}, "input_scale is -1.0; give a number above 0"),
        ({"input_shift": float("nan")}, "the size of input_shift is nan; give 0 or more"),
        ({"img_resolution": 16}, "block at resolution 8 where the image has become 16x16.*such as 16x2,16d2"),
        ({"enc_blocks": "8x1,4x1"}, "a block at resolution 4 where the image has become 8x8"),
        ({"enc_blocks": "8d3"}, "pools 8x8 by 3; give a rate that divides the side"),
        ({"enc_blocks": "8d0"}, "pools 8x8 by 0"),
        ({"enc_blocks": "8m4"}, "has '8m4', which mixes in, which decoders do"),
        ({"enc_blocks": "8x1,8q2"}, "have '8q2'; write RxN"),
        ({"enc_blocks": "8x99999999"}, "number of blocks in '8x99999999' is 99999999"),
        ({"dec_blocks": "1x1,8d2"}, "has '8d2', which pools, which encoders do"),
        ({"dec_blocks": "1x1,2m1,8m2"}, "at resolution 2, which the encoder never comes to; it has 1, 4, 8"),
        ({"dec_blocks": "8m4"}, "mixes resolution 4 into 8; give one that divides it and has blocks before"),
        ({"dec_blocks": "1x1,8m3"}, "mixes resolution 3 into 8"),
        ({"dec_blocks": "1x1,4m1"}, "never comes to the image's side, img_resolution 8; end with"),
        ({"custom_width_str": "8:16"}, "the width at resolution 4 is 8, below the 16 before it"),
        ({"custom_width_str": "8-16"}, "the widths '8-16' have '8-16'; write RESOLUTION:WIDTH"),
        ({"custom_width_str": "1:4"}, "the width at resolution 1 is 4, below the 8 before it"),
    ],
)  # fmt: skip
def test_sizes_that_no_network_has(changes: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=words):
        replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"lr": 0.0}, "lr is 0.0; give a number above 0"),
        ({"warmup_iters": -1}, "warmup_iters is -1"),
        ({"skip_threshold": 0.0}, r"\(-1 skips nothing\): skip_threshold is 0.0; give a number above 0"),
        ({"ema_rate": 1.5}, "ema_rate is 1.5; give 0 to 1"),
        ({"adam_beta2": 1.0}, "betas is"),
    ],
)
def test_numbers_that_no_training_has(changes: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=words):
        Recipe(**changes)


def test_batches_that_processes_cannot_share():
    with pytest.raises(UsageError, match=r"a batch of 32 images cannot be shared evenly by 3 processes"):
        make_task("vdvae", "tiny", num_gpus=3)


def test_labels_are_refused():
    with pytest.raises(UsageError, match="vdvae learns no labels; leave --cond out"):
        make_task("vdvae", "tiny", c_dim=10)


def test_the_rate_rises_from_nothing():
    recipe = Recipe(lr=0.1, warmup_iters=4)
    assert [recipe.lr_at(index) for index in (0, 1, 4, 5, 1000)] == pytest.approx([0, 0.025, 0.1, 0.1, 0.1])
    assert Recipe(lr=0.1, warmup_iters=0).lr_at(0) == 0.1


def test_a_width_of_its_own_reaches_every_block_of_a_resolution():
    config = replace(SMALL, custom_width_str="4:16,1:16")
    assert [config.width_at(side) for side in (8, 4, 1)] == [8, 16, 16]
    assert [config.middle_width_at(side) for side in (8, 4)] == [2, 4]


def test_pictures_are_learned_for_small_resolutions_alone():
    assert replace(SMALL, no_bias_above=4).bias_sides == (1, 4)
    assert replace(SMALL, no_bias_above=0).bias_sides == ()


def test_blocks_are_read_in_order():
    assert parse_blocks("8x2,8d2,4")[1:] == ((8, None), (8, 2), (4, None))
    assert parse_blocks("8x0") == ()


def test_the_eight_bit_twin_differs_in_bits_alone():
    five, eight = PRESETS["ffhq256"].network, PRESETS["ffhq256-8bit"].network
    assert replace(five, low_bit=False) == eight
    assert (five.bits, eight.bits) == (5, 8)
    assert RECIPES["ffhq256"] == RECIPES["ffhq256-8bit"]
