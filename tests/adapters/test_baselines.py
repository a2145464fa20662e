"""The baselines of tables of restorations: what they are, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evalkit.adapters.baselines import BASELINES, Baseline
from evalkit.adapters.resolve import open_restorer
from evalkit.errors import UsageError
from evalkit.imaging.resize_matlab import imresize

IMAGE = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (3, 6, 5), dtype=np.uint8))
SEEDS = np.array([11, 4, 11, 2**62], np.int64)


@pytest.mark.parametrize("name", list(BASELINES))
@pytest.mark.parametrize("scale", [1, 2, 3, 8])
def test_baselines_are_matlab_s(name: str, scale: int):
    model = open_restorer(name, None, scale=scale)
    made = model.restore(IMAGE, seeds=SEEDS)
    pixels = IMAGE.numpy()
    expected = {
        "nearest": lambda: pixels.repeat(scale, 1).repeat(scale, 2),
        "bicubic": lambda: imresize(pixels, scale),
        "lanczos": lambda: imresize(pixels, scale, kernel="lanczos3"),
    }[name]()
    assert made.dtype == torch.uint8
    assert made.shape == (4, 3, 6 * scale, 5 * scale)
    assert all(np.array_equal(each, expected) for each in made.numpy())
    assert (model.stochastic, model.temperature, model.scale) == (False, None, scale)
    assert scale > 1 or np.array_equal(made[0], pixels)


def test_baselines_are_told_apart():
    identities = {Baseline(name, scale).identity for name in BASELINES for scale in (2, 4)}
    assert len(identities) == 2 * len(BASELINES)
    with pytest.raises(UsageError, match="bicubic has no temperature; leave --temperature 0.5 out"):
        Baseline("bicubic", 2).restore(IMAGE, seeds=SEEDS, temperature=0.5)
    with pytest.raises(UsageError, match=r"unknown baseline 'bicubc' \(nearest: bicubic\)"):
        Baseline("bicubc", 2)
    with pytest.raises(UsageError, match="the scale is 0; give a whole number from 1 up"):
        Baseline("bicubic", 0)
