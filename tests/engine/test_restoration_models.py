"""Restorations of a model: made once, the same however the work is cut, and beside the baselines."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from restorers import SCALE, Drawing, picture, write

import evalkit
from evalkit.adapters.baselines import BASELINES
from evalkit.engine.distributed import World
from evalkit.engine.probes import draw_seeds
from evalkit.engine.restoration.request import prepare
from evalkit.engine.restoration.run import Evaluation, run_restoration
from evalkit.errors import CheckpointError, UsageError
from evalkit.imaging.quantise import to_uint8
from evalkit.records.schema import Record

ROOT = Path(__file__).resolve().parents[2]
METRICS = "psnr_rgb,ssim_y,lpips_mini,lr_psnr,sr_diversity_mini,sr_pixel_std"
IMAGES = "abcd"


class Steady(Drawing):
    """The enlargement without noise."""

    stochastic, temperature, identity = False, None, "steady"


class Stopping(Drawing):
    """Fails at its third image."""

    def restore(self, image, *, seeds, temperature=None):
        made = super().restore(image, seeds=seeds, temperature=temperature)
        if len(self.asked) == 3:
            raise RuntimeError("out of luck\nand more")
        return made


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    return write(tmp_path / "hr", {f"{name}.png": picture(24, 32, seed) for seed, name in enumerate(IMAGES)})


def run(
    hr: Path, model: Any, *, rank: int = 0, size: int = 1, baselines: bool = False, **more: Any
) -> Evaluation:
    output = more.pop("output", None)
    given = {"metrics": METRICS, "samples": 3, **more}
    request = prepare(hr=hr, scale=SCALE, sr_model=model, **given)
    request = dataclasses.replace(request, world=World(rank, size, rank))
    found = run_restoration(request, output, baselines=baselines)
    found.check(output)
    return found


def bodies(records: list[Record]) -> list[dict]:
    return [record.body for record in records]


def pixels(found: Evaluation) -> np.ndarray:
    """All restorations, ``(images, samples, 3, h, w)``."""
    made = found.restorations
    return np.array([[made.get(i, k) for k in range(made.num)] for i in range(len(found.request.pairs))])


def order(model: Drawing, hr: Path) -> str:
    """The names of the images that a model was asked for."""
    pairs = prepare(hr=hr, scale=SCALE, sr_model="nearest", metrics="psnr_rgb").pairs
    lows = [pairs.lr(i) for i in range(len(pairs))]
    return "".join(
        IMAGES[next(i for i, low in enumerate(lows) if np.array_equal(low, a))] for a, _ in model.asked
    )


def test_a_second_run_asks_for_nothing_and_files_nothing(hr: Path, tmp_path: Path):
    first, again = Drawing(), Drawing()
    records = run(hr, first, output=tmp_path / "results").records
    assert first.drawn == 4 * 3
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("*.json")}
    assert len(files) == 6
    assert [r.record_id for r in run(hr, again, output=tmp_path / "results").records] == [
        record.record_id for record in records
    ]
    assert again.asked == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("*.json")} == files
    assert {r.record_id: r.per_image for r in evalkit.read_records(tmp_path / "results")} == {
        r.record_id: r.per_image for r in records
    }


def test_the_samples_are_the_model_s_answers_to_seeds_of_their_own(hr: Path):
    found = run(hr, Drawing())
    seen = set()
    for image in range(4):
        for k in range(3):
            low = torch.from_numpy(found.request.pairs.lr(image))
            made = found.restorations.get(image, k)
            seeds = draw_seeds(0, f"restore{k}", range(image, image + 1))
            alone = Drawing().restore(low, seeds=seeds, temperature=0.5)
            assert np.array_equal(made, to_uint8(alone[0], "unit").numpy())
            seen |= set(seeds.tolist())
    assert len(seen) == 4 * 3


def test_more_samples_are_added_to_those_that_are_there(hr: Path):
    first = run(hr, Drawing(), samples=2)
    kept = {path: path.stat().st_mtime_ns for path in first.request.restored.rglob("*.png")}
    assert len(kept) == 4 * 2
    model = Drawing()
    more = run(hr, model, samples=5)
    assert [num for _, num in model.asked] == [3, 3, 3, 3]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(more.request.restored.rglob("*.png"))) == 4 * 5
    assert np.array_equal(pixels(more)[:, :2], pixels(first))
    # Those of five samples are other numbers than those of two, also where the rows of two are on file.
    assert {r.samples.fingerprint for r in first.records} != {r.samples.fingerprint for r in more.records}
    direct = run(hr, Drawing(), samples=5, cache_dir=hr.parent / "other")
    assert bodies(direct.records) == bodies(more.records)
    assert bodies(run(hr, model, samples=2).records) == bodies(first.records)


def test_a_run_that_stopped_goes_on(hr: Path, tmp_path: Path):
    expected = run(hr, Drawing(), cache_dir=tmp_path / "expected")
    with pytest.raises(
        CheckpointError, match="drawing, asked to restore c, raised RuntimeError: out of luck$"
    ):
        run(hr, Stopping(), output=tmp_path / "results")
    assert list((tmp_path / "results").rglob("*.json")) == []
    model = Drawing()
    assert bodies(run(hr, model).records) == bodies(expected.records)
    assert order(model, hr) == "cd"


def test_a_sample_depends_on_neither_limit_nor_number(hr: Path):
    whole = pixels(run(hr, Drawing()))
    assert np.array_equal(pixels(run(hr, Drawing(), data_limit=2, samples=2)), whole[:2, :2])
    model = Drawing()
    assert np.array_equal(pixels(run(hr, model, data_limit=3, samples=1, metrics="psnr_rgb")), whole[:3, :1])
    assert model.drawn == 3


def test_each_process_begins_with_its_share_and_all_give_the_same_numbers(hr: Path, tmp_path: Path):
    expected = run(hr, Drawing(), cache_dir=tmp_path / "expected")
    first, second, third = Stopping(), Drawing(), Drawing()
    with pytest.raises(CheckpointError, match="asked to restore b"):
        run(hr, first, rank=0, size=2)
    assert order(first, hr) == "acb"
    helper = run(hr, second, rank=1, size=2, output=tmp_path / "results")
    assert order(second, hr) == "bd"
    assert (helper.records, helper.baselines) == ([], [])
    assert not (tmp_path / "results").exists()
    main = run(hr, third, rank=0, size=2)
    assert third.asked == []
    assert bodies(main.records) == bodies(expected.records)


def test_a_process_whose_partner_died_makes_the_rest(hr: Path):
    model = Drawing()
    run(hr, model, rank=1, size=2, baselines=True)
    assert order(model, hr) == "bdac"


def test_what_another_process_finished_meanwhile_is_not_made_again(hr: Path):
    helper = Drawing()

    class Watched(Drawing):
        def restore(self, image, *, seeds, temperature=None):
            if not helper.asked:
                run(hr, helper, rank=1, size=2)
            return super().restore(image, seeds=seeds, temperature=temperature)

    model = Watched()
    run(hr, model, rank=0, size=2)
    assert (order(helper, hr), order(model, hr)) == ("bdac", "a")


def test_two_processes_give_the_same_records(hr: Path, tmp_path: Path):
    factory = f"{ROOT / 'tests' / 'support' / 'restorers.py'}:Drawing"
    words = [
        "run", "--sr-model", factory, "--hr", str(hr), "--scale", "4", "--samples", "2", "--metrics",
        "psnr_rgb,sr_pixel_std", "--pictures", "1",
    ]  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, "run_eval.py", *words, "-o", str(tmp_path / "results")],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
        )
        for rank in (0, 1)
    ]  # fmt: skip
    said = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert "filed in" in said[0][1]
    assert "filed in" not in said[1][1]
    assert len(list((tmp_path / "results" / "pictures").iterdir())) == 1
    alone = evalkit.evaluate_restoration(
        sr_model=factory, hr=str(hr), scale=4, samples=2, metrics="psnr_rgb,sr_pixel_std", output=None,
        cache_dir=tmp_path / "alone",
    )  # fmt: skip
    filed = {record.record_id for record in evalkit.read_records(tmp_path / "results")}
    assert filed == {record.record_id for record in alone}
    assert len(filed) == 2 * 4


def test_another_seed_and_temperature_are_other_samples(hr: Path):
    first = run(hr, Drawing())
    others = [run(hr, Drawing(), **each) for each in ({"seed": 1}, {"temperature": 0.9}, {"seed": 2**32})]
    images = [pixels(each) for each in (first, *others)]
    for one in range(4):
        for other in range(one):
            assert not any(np.array_equal(a, b) for a, b in zip(
                images[one].reshape(12, -1), images[other].reshape(12, -1), strict=True))  # fmt: skip
    names = [found.records[0].samples.name for found in (first, *others)]
    assert names == [f"drawing at temperature {heat}" for heat in ("0.5", "0.5", "0.9", "0.5")]
    assert [found.records[0].seed for found in (first, *others)] == [0, 1, 0, 2**32]
    assert [found.records[0].extractor["temperature"] for found in (first, others[1])] == [0.5, 0.9]
    assert len({found.records[0].samples.fingerprint for found in (first, *others)}) == 4
    # The usual temperature and the same one by name are the same.
    assert bodies(run(hr, Drawing(), temperature=0.5).records) == bodies(first.records)
    named = run(hr, Drawing(), temperature=0.9, name="mine", data_name="photographs").records[0]
    assert (named.samples.name, named.samples.spec, named.data.name) == ("mine", "drawing", "photographs x4")


def test_at_temperature_zero_samples_agree(hr: Path):
    found = {record.metric: record.value for record in run(hr, Drawing(), temperature=0).records}
    assert found["sr_pixel_std"] == found["sr_diversity_mini"] == 0
    assert found["lr_psnr"] > 20


def test_what_draws_nothing_is_asked_once_for_all_samples(hr: Path):
    model = Steady()
    found = run(hr, model, samples=5)
    assert [num for _, num in model.asked] == [1] * 4
    records = {record.metric: record for record in found.records}
    for name in ("sr_pixel_std", "sr_diversity_mini"):
        assert set(records[name].per_image.values()) == {0.0}
    assert records["psnr_rgb"].samples.num == 4 * 5
    assert records["psnr_rgb"].extractor["samples_per_image"] == 5
    assert records["psnr_rgb"].samples.name == "drawing"
    assert records["psnr_rgb"].extras["std_of_samples"] == 0
    assert records["psnr_rgb"].extras["best_of_n"] == records["psnr_rgb"].value
    (note,) = records["psnr_rgb"].samples.notes
    assert note.endswith("one of each image, which stands for all its samples")
    assert "seed" not in note
    # No seed decides anything, and one sample has the numbers of all.
    again = Steady()
    assert bodies(run(hr, again, samples=5, seed=7).records) == bodies(found.records)
    single = {record.metric: record for record in run(hr, again, samples=1).records}
    assert again.asked == []
    assert single["psnr_rgb"].per_image == records["psnr_rgb"].per_image
    assert single["sr_pixel_std"].value is None
    with pytest.raises(UsageError, match=r"drawing has no temperature; leave --temperature 0\.5 out"):
        run(hr, Steady(), temperature=0.5)


def test_a_model_without_an_identity_is_known_by_its_answer(hr: Path):
    class Darker(Drawing):
        def restore(self, image, *, seeds, temperature=None):
            return super().restore(image, seeds=seeds, temperature=temperature) * 0.9

    first = run(hr, Drawing(identity=None))
    alike, other = Drawing(identity=None), Darker(identity=None)
    assert bodies(run(hr, alike).records) == bodies(first.records)
    assert alike.drawn == 1
    changed = run(hr, other)
    assert other.drawn == 1 + 4 * 3
    assert changed.records[0].value != first.records[0].value


def test_levels_are_kept_and_floats_are_truncated(hr: Path):
    class Flat(Steady):
        values: Any = None

        def restore(self, image, *, seeds, temperature=None):
            return self.values.expand(len(seeds), 3, 24, 32)

    for values, level in (
        (torch.tensor(0.5), 127), (torch.tensor(-0.2), 0), (torch.tensor(1.7), 255),
        (torch.tensor(200, dtype=torch.uint8), 200), (torch.tensor(0.5, dtype=torch.float64), 127),
    ):  # fmt: skip
        found = run(hr, Flat(values=values, identity=None), metrics="psnr_rgb", samples=1)
        assert np.unique(pixels(found)).tolist() == [level]


def test_given_restorations_have_the_numbers_of_the_model_that_made_them(hr: Path, tmp_path: Path):
    found = run(hr, Drawing())
    folder = write(tmp_path / "sr", {
        f"{name}_{k}.png": each.transpose(1, 2, 0)
        for name, samples in zip(IMAGES, pixels(found), strict=True) for k, each in enumerate(samples)
    })  # fmt: skip
    given = evalkit.evaluate_restoration(
        hr=hr, sr=folder, scale=SCALE, metrics=METRICS, output=None, baselines=False
    )
    for ours, theirs in zip(found.records, given, strict=True):
        assert ours.per_image == theirs.per_image
        assert (ours.value, ours.ci95, ours.extras) == (theirs.value, theirs.ci95, theirs.extras)
        assert (ours.seed, theirs.seed) == (0, None)


def test_the_baselines_follow_with_the_numbers_of_their_own(hr: Path, tmp_path: Path):
    found = run(
        hr, Drawing(), metrics="psnr_y,sr_pixel_std,sr_bpd", baselines=True, output=tmp_path / "results"
    )
    assert [[record.samples.name for record in each] for each in found.baselines] == [
        [name, name] for name in ("nearest", "bicubic", "lanczos")
    ]
    assert len(evalkit.read_records(tmp_path / "results")) == 3 + 2 * 3
    for name, records in zip(BASELINES, found.baselines, strict=True):
        # A likelihood is nothing they could have.
        assert [record.metric for record in records] == ["psnr_y", "sr_pixel_std"]
        alone = run(hr, name, metrics="psnr_y,sr_pixel_std")
        assert bodies(alone.records) == bodies(records)
        assert records[1].value == 0
        assert "temperature" not in records[0].extractor
    itself = run(hr, "bicubic", metrics="psnr_y,sr_pixel_std", baselines=True)
    assert [each[0].samples.name for each in itself.baselines] == ["nearest", "lanczos"]
    assert bodies(itself.records) == bodies(found.baselines[1])


def test_baselines_stand_beside_given_restorations_unless_they_are_not_wanted(hr: Path):
    sr = write(hr.parent / "sr", {f"{name}.png": picture(24, 32, 9) for name in IMAGES})
    given = {"hr": hr, "sr": sr, "scale": SCALE, "metrics": "psnr_rgb", "output": None}
    names = [record.samples.name for record in evalkit.evaluate_restoration(**given)]
    assert names == [str(sr), "nearest", "bicubic", "lanczos"]
    assert len(evalkit.evaluate_restoration(**given, baselines=False)) == 1


def test_low_resolution_files_are_what_is_restored(hr: Path, tmp_path: Path):
    dark = write(tmp_path / "lr", {f"{name}x4.png": np.full((6, 8, 3), 9, np.uint8) for name in IMAGES})
    found = run(hr, "nearest", lr=dark, metrics="lr_psnr,psnr_rgb", samples=1)
    assert np.unique(pixels(found)).tolist() == [9]
    assert found.records[0].value is None  # it shrinks to just what it was made from
    assert found.records[0].reason.startswith("lr_psnr is infinite: 4 of 4 images equal")
    assert found.records[1].extractor["low_resolution"] == "files"
    assert found.records[1].data.name == f"{hr} with {dark} x4"
    made = run(hr, "nearest", metrics="psnr_rgb", samples=1)
    assert made.records[0].extractor["low_resolution"] == "matlab-bicubic"
    assert made.records[0].value > found.records[1].value
