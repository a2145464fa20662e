"""Before training: what is built of a run's settings, what cannot be, and what it would cost."""

from __future__ import annotations

import dataclasses
import os

import pytest

from evalkit.errors import EvalkitError, UsageError
from reference_models.training.estimate import describe, estimate
from reference_models.training.loop import train
from reference_models.training.start import prepare

pytestmark = pytest.mark.slow


def test_images_of_another_side_than_the_networks_are_refused(run):
    task, _ = prepare(run)
    _, larger = prepare(dataclasses.replace(run, fit="resize", resolution=16))
    with pytest.raises(UsageError, match="has images of 16x16, and stylegan2 was built for 8x8"):
        train(task, larger, run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "stylegan9"}, "unknown model 'stylegan9' .nearest: stylegan"),
        ({"preset": "tyni"}, "no preset 'tyni' .nearest: tiny"),
        ({"overrides": {"G_lrat": 1}}, "no field 'G_lrat' .nearest: G_lrate"),
        ({"overrides": {"G_lrate": "fast"}}, "G_lrate is 'fast'"),
        ({"overrides": {"betas": 3}}, "betas is 3; give two numbers from 0 to below 1"),
        ({"overrides": {"generator.w_dimm": 3}}, "w_dimm"),
        ({"cond": True}, "label"),
        ({"data": "/absent.npz"}, "absent"),
    ],
)
def test_what_cannot_be_built_is_said(run, change, words):
    with pytest.raises(EvalkitError, match=words):
        prepare(dataclasses.replace(run, **change))


def test_images_are_fitted_to_the_preset_or_to_a_given_side(run):
    assert prepare(dataclasses.replace(run, fit="crop")).data.resolution == 32
    task, data = prepare(dataclasses.replace(run, fit="crop", resolution=16))
    assert (task.img_resolution, data.resolution) == (16, 16)


def test_mirroring_is_the_feeds_or_the_recipes(run):
    progan = dataclasses.replace(run, model="progan", overrides={}, mirror=True)
    assert prepare(progan).task.config()["recipe"]["mirror"] is True
    assert prepare(dataclasses.replace(run, mirror=True)).task.mirror_doubles


@pytest.mark.parametrize(("patience", "steps"), [(600, 25), (0, 10)])
def test_an_estimate_of_slow_steps_takes_one_a_place_after_the_first(run, monkeypatch, patience, steps):
    monkeypatch.setattr("reference_models.training.estimate._PATIENCE", patience)
    task, data = prepare(run)
    made, iterate = [], task.iterate

    def counted(iteration):
        made.append(iteration.index)
        return iterate(iteration)

    task.iterate = counted
    assert len(estimate(task, data, run).s_per_kimg) == 5
    assert made == list(range(steps))


def test_an_estimate_measures_and_writes_nothing(run):
    task, data = prepare(run)
    found = estimate(task, data, run)
    assert found.parameters["G"] == sum(p.numel() for p in task.networks["G"].parameters())
    assert found.weights_bytes >= 4 * sum(found.parameters.values())
    assert found.optimiser_bytes >= 8 * (found.parameters["G"] + found.parameters["D"])
    assert len(found.s_per_kimg) == 5
    assert found.seconds > 0
    text = describe(found, task, data, run)
    for words in ("parameters", "s/kimg", '"G_lrate"', "40 images of 8x8", "for 0.064 kimg"):
        assert words in text
    assert not os.path.exists(run.output)
