"""Plans of restorations: what is to do and what is on file, while nothing is made or written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from restorers import SCALE, Drawing, picture, write

import evalkit
from evalkit.engine.restoration.plan import RestorationPlan, plan_restoration
from evalkit.errors import CheckpointError, UsageError

METRICS = "psnr_rgb,ssim_y,lpips_mini,sr_diversity_mini,sr_pixel_std"


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    hr = write(tmp_path / "hr", {f"{name}.png": picture(24, 32, seed) for seed, name in enumerate("abcd")})
    cache = {"cache_dir": tmp_path / "cache"}
    return {"hr": hr, "scale": SCALE, "metrics": METRICS, "samples": 3, "sr_model": Drawing(), **cache}


def counts(plan: RestorationPlan) -> list[tuple[str, str, int, int]]:
    return [(step.of, step.step, step.num, step.num_stored) for step in plan.steps]


HEATED = "drawing at temperature 0.5"
STEPS = [
    ("restore", 12), ("restorations through pixels", 12), ("restorations through lpips-mini", 12),
    ("images through lpips-mini", 4), ("images through pixels", 4),
]  # fmt: skip


def test_counts_are_right_before_and_after(given: dict[str, Any], tmp_path: Path):
    before = plan_restoration(**given, baselines=False)
    assert counts(before) == [(HEATED, step, num, 0) for step, num in STEPS]
    assert not (tmp_path / "cache").exists()
    assert given["sr_model"].drawn == 2  # one to time it by, once before that to warm up
    evalkit.evaluate_restoration(**given, output=None, baselines=False)
    given["sr_model"] = Drawing()
    after = plan_restoration(**given, baselines=False)
    assert counts(after) == [(HEATED, step, num, num) for step, num in STEPS]
    assert after.steps[0].seconds == 0
    assert given["sr_model"].asked == []
    # The best sample needs no row that the mean over samples has not; another network needs its own.
    more = plan_restoration(**{**given, "metrics": "psnr_rgb_best,lpips_mini_worst,psnr_y"}, baselines=False)
    assert [each[2:] for each in counts(more)] == [(12, 12), (12, 0), (12, 12)]
    five = plan_restoration(**{**given, "samples": 5}, baselines=False)
    assert counts(five)[:2] == [
        (HEATED, "restore", 20, 12), (HEATED, "restorations through pixels", 20, 0),
    ]  # fmt: skip
    assert five.steps[0].seconds > 0


def test_a_stopped_run_is_seen(given: dict[str, Any], tmp_path: Path):
    class Stopping(Drawing):
        def restore(self, image, *, seeds, temperature=None):
            if len(self.asked) == 3:
                raise RuntimeError("out of luck")
            return super().restore(image, seeds=seeds, temperature=temperature)

    with pytest.raises(CheckpointError, match="out of luck"):
        evalkit.evaluate_restoration(**{**given, "sr_model": Stopping()}, output=None, baselines=False)
    plan = plan_restoration(**given, baselines=False)
    assert [each[2:] for each in counts(plan)] == [(12, 9), (12, 0), (12, 0), (4, 0), (4, 0)]


def test_baselines_are_part_of_it_and_are_made_once(given: dict[str, Any]):
    plan = plan_restoration(**{**given, "metrics": "psnr_rgb,sr_bpd"})
    assert counts(plan) == [
        (of, step, num * 3 if of == HEATED else num, 0)
        for of in (HEATED, "nearest", "bicubic", "lanczos")
        for step, num in (("restore", 4), ("restorations through pixels", 4))
    ]
    assert plan.inapplicable == {
        "sr_bpd": "this needs a model with a likelihood of originals given their low-resolution images; "
        "drawing has none"
    }
    assert plan.protocols == ("psnr_rgb",)


def test_a_likelihood_is_asked_once_an_image(given: dict[str, Any]):
    class Likely(Drawing):
        def conditional_nats(self, hr, lr):
            raise RuntimeError("a plan does not ask for it")

    asked = {**given, "metrics": "psnr_rgb,sr_bpd,sr_pixel_std", "sr_model": Likely()}
    assert counts(plan_restoration(**asked, baselines=False)) == [
        (HEATED, step, num, 0)
        for step, num in (
            ("restore", 12), ("restorations through pixels", 12), ("originals through the model", 4),
            ("images through pixels", 4),
        )
    ]  # fmt: skip


def test_given_restorations_are_compared_alone(given: dict[str, Any], tmp_path: Path):
    sr = write(tmp_path / "sr", {f"{name}.png": picture(24, 32, 9) for name in "abcd"})
    asked = {**given, "sr": sr, "sr_model": None, "samples": None, "metrics": "psnr_rgb"}
    plan = plan_restoration(**asked, baselines=False)
    assert counts(plan) == [(str(sr), "restorations through pixels", 4, 0)]
    assert plan.samples_per_image == 1


def test_a_sweep_has_the_steps_of_every_temperature(given: dict[str, Any]):
    asked = {**given, "metrics": "psnr_rgb"}
    evalkit.evaluate_restoration(**asked, temperature=0.5, output=None, baselines=False)
    plan = plan_restoration(**asked, temperatures=[0.25, 0.5])
    assert counts(plan) == [
        (f"drawing at temperature {heat}", step, 12, stored)
        for heat, stored in (("0.25", 0), ("0.5", 12))
        for step in ("restore", "restorations through pixels")
    ]
    named = plan_restoration(**asked, temperatures=[0.25, 0.5], name="mine")
    assert {step.of for step in named.steps} == {"mine at temperature 0.25", "mine at temperature 0.5"}
    for other, message in (
        ({"sr_model": None, "sr": given["hr"].parent / "sr"}, "a sweep over temperatures asks a model"),
        ({"sr_model": "bicubic"}, "bicubic has no temperature"),
    ):
        write(given["hr"].parent / "sr", {f"{name}.png": picture(24, 32, 9) for name in "abcd"})
        with pytest.raises(UsageError, match=message):
            plan_restoration(**{**asked, "samples": None, **other}, temperatures=[0.25, 0.5])


def test_weights_that_lack_are_problems_of_the_plan(given: dict[str, Any]):
    plan = plan_restoration(**{**given, "metrics": "psnr_rgb,lpips_alex,sr_diversity,lpips_squeeze"})
    assert len(plan.problems) == 2
    assert all("evalkit weights fetch" in problem for problem in plan.problems)
    assert ["alexnet" in plan.problems[0], "squeezenet" in plan.problems[1]] == [True, True]
    assert {step.step for step in plan.steps} == {"restore", "restorations through pixels"}


def test_sentences_and_json_say_the_same(given: dict[str, Any], tmp_path: Path):
    given["hr"] = write(tmp_path / "odd", {"a.png": picture(25, 32), "b.png": picture(24, 32)[..., 0]})
    plan = plan_restoration(**{**given, "metrics": "psnr_rgb,sr_bpd"})
    assert plan.sentences[0] == (f"will measure psnr_rgb: {given['hr']} x4, 2 images, 3 restorations of each")
    assert "such as a from 32x25 to 32x24" in plan.notes[0]
    assert plan.sentences[1].startswith("not applicable: sr_bpd: this needs a model with a likelihood")
    told = json.loads(json.dumps(plan.to_dict(), allow_nan=False))
    assert told["num_images"] == 2
    assert [step["num"] for step in told["steps"]] == [step.num for step in plan.steps]
    assert [row["to do"] for row in plan.rows()] == ["6", "6", *["2"] * 6]
    single = plan_restoration(**{**given, "metrics": "psnr_rgb", "samples": 1}, baselines=False)
    assert single.sentences[0].endswith("2 images, 1 restoration of each")


def test_a_model_that_fails_says_so_in_the_plan(given: dict[str, Any]):
    class Failing(Drawing):
        def restore(self, image, *, seeds, temperature=None):
            raise RuntimeError("out of luck")

    with pytest.raises(
        CheckpointError, match="drawing, asked to restore a, raised RuntimeError: out of luck"
    ):
        plan_restoration(**{**given, "sr_model": Failing()})
