"""Networks trained at the images' own resolution: their samples are as large as the images were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import reference_models
from evalkit.errors import CheckpointError
from reference_models.catalog import part, wrap


def enlarged(name: str = "progan"):
    generator = reference_models.build(name, img_resolution=8).generator
    return wrap(name, generator, label="digits", enlarge=4), wrap(name, generator, label="digits")


def test_a_pixel_becomes_a_square():
    large, plain = enlarged()
    assert (large.resolution, plain.resolution) == (32, 8)
    seeds = np.arange(5)
    expected = plain.sample(seeds).numpy().repeat(4, axis=2).repeat(4, axis=3)
    np.testing.assert_array_equal(large.sample(seeds).numpy(), expected)
    assert large.sample(seeds[:0]).shape == (0, 3, 32, 32)
    assert large.identity != plain.identity


def test_a_checkpoint_keeps_the_factor_and_the_length_of_training(tmp_path: Path):
    large, plain = enlarged()
    large.training = {"kimg": 12.5, "checkpoint_sha256": "?"}
    read = reference_models.load_checkpoint(reference_models.save_checkpoint(large, tmp_path / "a"))
    assert (read.enlarge, read.resolution, read.training["kimg"]) == (4, 32, 12.5)
    assert len(read.training["checkpoint_sha256"]) == 64
    assert torch.equal(read.sample(np.arange(3)), large.sample(np.arange(3)))
    read = reference_models.load_checkpoint(reference_models.save_checkpoint(plain, tmp_path / "b"))
    assert (read.enlarge, read.training) == (1, None)


@pytest.mark.parametrize("factor", [0, 1000, "4", True, 2.0])
def test_a_factor_that_cannot_be_is_refused(tmp_path: Path, factor: object):
    numbers = reference_models.save_checkpoint(enlarged()[0], tmp_path / "a")
    facts = json.loads(numbers.with_suffix(".json").read_text())
    numbers.with_suffix(".json").write_text(json.dumps({**facts, "enlarge": factor}))
    with pytest.raises(CheckpointError, match=r"enlarge=.*, where a whole number from 1 to 64 can be"):
        reference_models.load_checkpoint(numbers)


def test_recipes_are_found_by_the_names_of_presets():
    assert part("stylegan3", "recipe").RECIPES["tiny-r"].blur_init_sigma > 0
