"""What a user asks of a training run: how words are read, and what may change when it goes on."""

from __future__ import annotations

import dataclasses
import json
import shlex

import pytest

from evalkit.errors import UsageError
from reference_models.training.config import EvalSpec, RunConfig, differences, parse_overrides

RUN = RunConfig(
    model="stylegan2", data="bundled:digits", output="out dir", kimg=100.0, mirror=True, fit="native",
    overrides={"batch": 16, "betas": (0.0, 0.9), "augment": "bgc"}, seed=3, snapshot_kimg=5.0,
    evals=(EvalSpec.parse("fd_mini@20kimg"), EvalSpec.parse("kid_mini")),
)  # fmt: skip


def test_it_survives_json():
    assert RunConfig.from_json(json.loads(json.dumps(RUN.as_json()))) == RUN


def test_the_command_to_resume_names_every_setting():
    words = shlex.split(RUN.command())
    assert words[:3] == ["evalkit", "train", "stylegan2"]
    assert words[-2:] == ["--resume", "auto"]
    for pair in (
        ["--output", "out dir"],
        ["--snapshot", "5.0"],
        ["--eval", "fd_mini@20kimg"],
        ["--eval", "kid_mini"],
        ["--set", "batch=16"],
        ["--set", "betas=(0.0, 0.9)"],
        ["--seed", "3"],
        ["--fit", "native"],
    ):
        assert any(words[at : at + 2] == pair for at in range(len(words))), pair
    assert "--mirror" in words
    assert "--cond" not in words


@pytest.mark.parametrize(
    ("text", "metric", "period"),
    [("fd_mini@20kimg", "fd_mini", 20.0), ("fd_mini@0.5", "fd_mini", 0.5), ("fd_mini", "fd_mini", None)],
)
def test_evaluations_are_read(text, metric, period):
    assert EvalSpec.parse(text) == EvalSpec(metric=metric, every_kimg=period)


@pytest.mark.parametrize(
    "text", ["", "@20kimg", "fd_mini@", "fd_mini@often", "fd_mini@-1kimg", "a,b", "a@nan"]
)
def test_what_is_no_evaluation_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="fd_mini@20kimg"):
        EvalSpec.parse(text)


def test_values_of_set_are_pythons_and_bare_words_are_text():
    words = ["batch=16", "augment=bgc", "betas=(0, .9)", "ada_target=None", "schedule.lod_training_kimg=5.5"]
    assert parse_overrides(words) == {
        "batch": 16,
        "augment": "bgc",
        "betas": (0, 0.9),
        "ada_target": None,
        "schedule.lod_training_kimg": 5.5,
    }


@pytest.mark.parametrize("word", ["batch", "=3", "batch="])
def test_what_is_no_assignment_is_refused(word):
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parse_overrides([word])


def test_a_name_that_is_set_twice_is_refused():
    with pytest.raises(UsageError, match="given twice"):
        parse_overrides(["batch=1", "batch=2"])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("kimg", 0, "number above 0"),
        ("kimg", float("nan"), "number above 0"),
        ("seed", -1, "whole number"),
        ("keep", 0, "whole number from 1"),
        ("fit", "crpo", "nearest: crop"),
        ("precision", "fp61", "nearest: fp16"),
        ("resolution", 48, "power of two"),
        ("snapshot_kimg", -2.0, "number above 0"),
        ("eval_num", 0, "whole number from 1"),
    ],
)
def test_values_that_cannot_be_are_refused(field, value, words):
    with pytest.raises(UsageError, match=words):
        dataclasses.replace(RUN, **{field: value})


def test_patches_have_any_side_from_4():
    assert dataclasses.replace(RUN, fit="patches", resolution=48).resolution == 48
    with pytest.raises(UsageError, match="resolution is 3; give a whole number from 4"):
        dataclasses.replace(RUN, fit="patches", resolution=3)


def test_json_of_something_else_is_refused():
    with pytest.raises(UsageError, match="no config of a training run"):
        RunConfig.from_json({**RUN.as_json(), "colour": "red"})


def test_periods_follow_the_length_of_training():
    assert RUN.snapshot_images == 5000
    assert dataclasses.replace(RUN, snapshot_kimg=None).snapshot_images == 10_000
    assert dataclasses.replace(RUN, snapshot_kimg=None, kimg=25_000.0).snapshot_images == 200_000
    assert dataclasses.replace(RUN, kimg=0.0015).total_images == 2


def facts(run: RunConfig = RUN, data: str = "f00", **recipe: object) -> dict[str, object]:
    return {"run": run.as_json(), "task": {"recipe": {"lr": 0.1, "batch_gpu": None, **recipe}}, "data": data}


def test_nothing_differs_from_itself():
    assert differences(facts(), facts()) == ([], [])


def test_what_changes_no_number_may_change():
    other = dataclasses.replace(RUN, kimg=200.0, keep=5, output="elsewhere", data="copy", evals=())
    found = differences(facts(), facts(other, batch_gpu=4))
    assert not found.unsafe
    assert "kimg: 100.0 -> 200.0" in found.safe
    assert "recipe.batch_gpu: None -> 4" in found.safe
    assert len(found.safe) == 6


def test_what_changes_numbers_is_listed_as_unsafe():
    other = dataclasses.replace(RUN, seed=4, precision="bf16", mirror=False)
    found = differences(facts(), facts(other, data="f01", lr=0.2))
    assert not found.safe
    assert found.unsafe == [
        "mirror: True -> False",
        "precision: 'float32' -> 'bf16'",
        "seed: 3 -> 4",
        "recipe.lr: 0.1 -> 0.2",
        "data: 'f00' -> 'f01'",
    ]


@pytest.mark.parametrize("given", [{"eval_data": "a.npz"}, {"eval_num": 10}])
def test_how_to_measure_needs_something_to_measure(given):
    with pytest.raises(UsageError, match="--eval-data and --eval-num say how --eval measures, and there"):
        RunConfig(model="progan", data="x", output="y", kimg=1.0, **given)
