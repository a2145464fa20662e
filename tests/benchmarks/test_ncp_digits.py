"""The noise contrastive prior on digits: its samples are nearer to real ones, by more than chance."""

from __future__ import annotations

import numpy as np
import pytest
from scripts import load_script

import evalkit
import reference_models


def test_the_reference_s_prior_beats_its_vae_s_own():
    script = load_script("ncp_digits")
    base, better = script.measure(reference_models.load_checkpoint(script.NETWORK), script.NUM, quick=True)
    assert base["improvement_ci95"] is None
    assert better["prior"] == "resampling, 50 proposals"
    assert better["improvement_ci95"][0] > 0
    assert better["improvement"] == pytest.approx(base["fd_mini"] - better["fd_mini"])


def test_its_distance_is_that_of_the_protocol():
    script = load_script("ncp_digits")
    rng = np.random.default_rng(0)
    fake = rng.integers(0, 256, (300, 3, 32, 32), dtype=np.uint8)
    real = np.stack(evalkit.resolve(script.TEST).load(range(898)))
    found = script.distance(script.features(fake), script.features(real))
    (record,) = evalkit.evaluate(samples=fake, data=script.TEST, metrics="fd_mini", output=None)
    assert found.value == pytest.approx(record.value, rel=1e-6)
    assert found.error.standard_error == pytest.approx(record.standard_error, rel=1e-6)
