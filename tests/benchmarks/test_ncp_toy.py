"""A ring of latents under a normal prior: reweighting closes the hole, and both samplers follow it."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
from scripts import load_script

from reference_models.ncp_vae.classifier import Classifier

NUM = 4000


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("ncp_toy")


@pytest.fixture(scope="module")
def classifier(script: ModuleType) -> Classifier:
    found: Classifier = script.train(600, batch=256).classifier
    return found


def test_the_grid_knows_its_densities(script: ModuleType, classifier: Classifier):
    known = script.densities(classifier)
    area = (2 * script.EDGE / script.CELLS) ** 2
    for log_density in (known.ring, known.base, known.ncp):
        assert float(log_density.exp().sum()) * area == pytest.approx(1, abs=1e-4)
    assert 0 < script.smallest_loss(known) < 2 * math.log(2)
    assert script.divergence(known.ring, known.ring) == 0


def test_reweighting_closes_the_hole(script: ModuleType, classifier: Classifier):
    known = script.densities(classifier)
    before = script.divergence(known.ring, known.base)
    after = script.divergence(known.ring, known.ncp)
    assert before > 1
    assert after < before / 10
    # The hole itself: less than a tenth of the base prior's mass remains about the origin.
    inside = (script.grid() ** 2).sum(1) < 0.7**2
    assert float(known.ncp.exp()[inside].sum()) < 0.1 * float(known.base.exp()[inside].sum())


def test_more_proposals_come_nearer(script: ModuleType, classifier: Classifier):
    target = script.coarse(script.densities(classifier).ring)
    found = [
        script.divergence_of_draws(target, script.resampled(classifier, NUM, proposals))
        for proposals in (1, 4, 32)
    ]
    assert found[0] > 3 * found[1] > 6 * found[2]


def test_langevin_dynamics_come_nearer_with_steps(script: ModuleType, classifier: Classifier):
    target = script.coarse(script.densities(classifier).ring)
    found = [
        script.divergence_of_draws(target, script.walked(classifier, NUM, steps)) for steps in (1, 10, 100)
    ]
    assert found[0] > 1.5 * found[1] > 3 * found[2]
