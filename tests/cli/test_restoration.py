"""``run`` and ``sweep`` of restorations: what is filed, printed and drawn agrees; plans write nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evalkit

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "leaderboards" / "references" / "digits32" / "srflow.safetensors"
Cli = Callable[..., tuple[str, str]]


GIVEN = ("run", "--sr", "sr", "--hr", "hr", "--scale", 4)
BICUBIC = ("run", "--sr-model", "bicubic", "--hr", "hr", "--scale", 4)
MODEL = ("run", "--sr-model", "mine.py:draws", "--hr", "hr", "--scale", 4)


def test_a_run_prints_files_and_draws(sr_cli: Cli):
    out, err = sr_cli(*GIVEN, "--metrics", "psnr_rgb,ssim_y,sr_pixel_std", "-o", "out")
    assert out == ""
    filed = evalkit.read_records("out")
    assert len(filed) == 3 * 4
    assert {record.data.name for record in filed} == {"hr x4"}
    table, beside = err.split("beside the baselines")
    (record,) = [r for r in filed if (r.samples.name, r.metric) == ("sr", "psnr_rgb")]
    for words in (
        "sr against hr x4",
        "psnr_rgb ↑",
        f"{record.value:.2f}",
        "Student's interval",
        "filed in out",
    ):
        assert words in table
    headings = next(line for line in beside.splitlines() if "metric" in line)
    assert [word for word in headings.split() if word.isalpha()] == [
        "metric",
        "sr",
        "nearest",
        "bicubic",
        "lanczos",
    ]
    (baseline,) = [r for r in filed if (r.samples.name, r.metric) == ("bicubic", "psnr_rgb")]
    assert f"{baseline.value:.3f}" in next(line for line in beside.splitlines() if "psnr_rgb" in line)
    assert "drawn in out/pictures/sr-hr-x4.png" in err
    with Image.open("out/pictures/sr-hr-x4.png") as drawn:
        assert np.asarray(drawn.convert("L")).std() > 5
    before = {path: path.read_bytes() for path in Path("out").rglob("*.json")}
    sr_cli(*GIVEN, "--metrics", "psnr_rgb,ssim_y,sr_pixel_std", "-o", "out")
    assert {path: path.read_bytes() for path in Path("out").rglob("*.json")} == before


def test_json_is_all_that_standard_output_holds(sr_cli: Cli):
    words = (*MODEL, "--metrics", "psnr_rgb,sr_pixel_std", "--samples", 2, "--temperature", 0.25)
    out, err = sr_cli(*words, "-o", "out", "--json")
    told = json.loads(out)
    assert [(each["samples"]["name"], each["metric"]) for each in told] == [
        (name, metric)
        for name in ("mine.py:draws at temperature 0.25", "nearest", "bicubic", "lanczos")
        for metric in ("psnr_rgb", "sr_pixel_std")
    ]
    assert {each["record_id"] for each in told} == {r.record_id for r in evalkit.read_records("out")}
    assert list(told[0]["per_image"]) == ["a", "b", "c"]
    assert told[0]["extractor"] == {
        "name": "none", "layer": "pixels", "weights_sha256": "", "scale": 4, "samples_per_image": 2,
        "low_resolution": "matlab-bicubic", "temperature": 0.25,
    }  # fmt: skip
    assert (told[0]["samples"]["num"], told[0]["data"]["num"], told[0]["seed"]) == (6, 3, 0)
    # What the model prints goes where progress goes.
    for word in ("imported", "built", "restoring"):
        assert word in err
    again = json.loads(sr_cli(*words, "-o", "out", "--json", "--no-baselines", "--pictures", 0)[0])
    assert [each["record_id"] for each in again] == [each["record_id"] for each in told[:2]]
    other = json.loads(sr_cli(*words, "--seed", 1, "--no-baselines", "-o", "out", "--json")[0])
    assert other[0]["value"] != told[0]["value"]


def test_pictures_are_drawn_as_many_as_are_wanted(sr_cli: Cli):
    words = (*BICUBIC, "--metrics", "psnr_rgb", "--no-baselines")
    _, err = sr_cli(*words, "-o", "none", "--pictures", 0)
    assert "drawn in" not in err
    assert not Path("none/pictures").exists()
    heights = {}
    for num in (1, 2, 3, 6):
        sr_cli(*words, "-o", f"out{num}", "--pictures", num, "--name", "mine", "--data-name", "test")
        with Image.open(f"out{num}/pictures/mine-test-x4.png") as drawn:
            heights[num] = drawn.size[1]
    # A row each, and there are three images.
    assert heights[6] == heights[3]
    assert abs((heights[3] - heights[2]) - (heights[2] - heights[1])) <= 1
    assert heights[2] > heights[1]


def test_a_helper_process_prints_and_draws_nothing(sr_cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    out, err = sr_cli(*MODEL, "--metrics", "psnr_rgb", "-o", "out")
    assert out == ""
    assert "filed in" not in err
    assert json.loads(sr_cli(*MODEL, "--metrics", "psnr_rgb", "-o", "out", "--json")[0]) == []
    out, _ = sr_cli(
        "sweep", *MODEL[1:], "--temperature", "0,0.5", "--metrics", "psnr_rgb", "-o", "out", "--json"
    )  # fmt: skip
    assert out == ""
    assert not Path("out").exists()


def test_one_sample_has_no_diversity_and_the_command_succeeds(sr_cli: Cli):
    words = (*BICUBIC, "--samples", 1, "--no-baselines", "-o", "out")
    _, err = sr_cli(*words, "--metrics", "sr_diversity_mini,sr_pixel_std,sr_bpd,psnr_rgb")
    rows = {line.split("│")[1].split()[0]: line for line in err.splitlines() if line.startswith("│")}
    assert [name for name, line in rows.items() if "n/a" in line] == [
        "sr_diversity_mini",
        "sr_pixel_std",
        "sr_bpd",
    ]
    said = " ".join(err.split())
    assert (
        "sr_diversity_mini, sr_pixel_std: not applicable: this looks at several restorations of an image "
        "together, and there is 1 of each" in said
    )
    assert "sr_bpd: not applicable: this needs a model with a likelihood" in said


def test_samples_without_finite_values_end_in_a_message(sr_cli: Cli):
    out, err = sr_cli(
        *MODEL, "--metrics", "psnr_rgb", "--samples", 3, "--temperature", 9, "--no-baselines", "-o", "out",
        "--json", code=2,
    )  # fmt: skip
    assert out == ""
    assert (
        "evalkit: 3 of 9 restorations of mine.py:draws at temperature 9 hold values that are not finite and "
        "have no grey level; the first is sample 0 of b: take a lower temperature than 9. The other 6" in err
    )
    assert not Path("out/pictures").exists()
    _, err = sr_cli(*MODEL[:2], "mine.py:cropped", *MODEL[3:], "--metrics", "psnr_rgb", "-o", "out", code=2)
    assert "mine.py:cropped returned 31x24 for a 8x6 image at scale 4; expected 32x24: check the scale" in err


def test_a_model_of_signed_images_is_given_signed_images(sr_cli: Cli):
    words = (*MODEL[:2], "mine.py:signed", *MODEL[3:], "--metrics", "psnr_rgb", "-o", "out")
    _, err = sr_cli(*words, code=2)
    assert "raised ValueError: images from 0." in err
    out, _ = sr_cli(*words, "--range", "signed", "--json")
    signed, nearest = json.loads(out)[:2]
    assert signed["value"] == nearest["value"]  # the same enlargement


def test_a_reference_network_has_bits_and_says_how_long_it_was_trained(sr_cli: Cli):
    words = ("run", "--sr-model", REFERENCE, "--hr", "bundled:digits:test", "--data-limit", 2, "--scale", 4)
    out, _ = sr_cli(
        *words, "--metrics", "sr_mini,sr_bpd", "--samples", 2, "--no-baselines", "-o", "out", "--json"
    )
    told = {each["metric"]: each for each in json.loads(out)}
    assert len(told) == 7
    assert all(each["value"] is not None for each in told.values())
    assert 0 < told["sr_bpd"]["value"] < 8
    assert told["psnr_rgb"]["extractor"]["temperature"] == 0.9
    assert told["psnr_rgb"]["samples"]["training"]["kimg"] > 0
    assert list(told["psnr_rgb"]["per_image"]) == ["00000", "00001"]


def test_a_dry_run_counts_and_writes_nothing(sr_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVALKIT_CACHE", "cache")
    monkeypatch.setenv("COLUMNS", "160")  # a row is a line
    words = (*MODEL, "--metrics", "psnr_rgb,sr_bpd,lpips_alex", "--samples", 3, "--no-baselines", "-o", "out")
    out, err = sr_cli(*words, "--dry-run")
    assert out == ""
    assert "will measure psnr_rgb, lpips_alex: hr x4, 3 images, 3 restorations of each" in err
    assert "not applicable: sr_bpd: this needs a model with a likelihood" in err
    assert err.count("evalkit weights fetch") == 1
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in err.splitlines() if line.startswith("│")
    ]
    assert [row[2:4] for row in rows] == [["9", "0"]] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr", "mine.py", "sr"]
    # Weights that lack end a run, and what needs none is done.
    sr_cli(*words, code=2)
    told = json.loads(sr_cli(*words, "--dry-run", "--json")[0])
    assert [(step["num"], step["num_stored"]) for step in told["steps"]] == [(9, 9)] * 2
    assert told["protocols"] == ["psnr_rgb", "lpips_alex"]
    beside = json.loads(sr_cli(*GIVEN, "--metrics", "psnr_rgb", "--dry-run", "--json")[0])
    assert list(dict.fromkeys(step["of"] for step in beside["steps"])) == [
        "sr",
        "nearest",
        "bicubic",
        "lanczos",
    ]


def test_a_sweep_prints_what_it_files(sr_cli: Cli):
    words = ("sweep", *MODEL[1:], "--metrics", "psnr_rgb,sr_pixel_std", "--samples", 2, "-o", "out")
    out, err = sr_cli(*words, "--temperature", "0:9:3", "--json")
    told = json.loads(out)
    assert told == json.loads(Path("out/sweep.json").read_text(encoding="utf-8"))
    assert (told["model"], told["samples_per_image"]) == ("mine.py:draws", 2)
    filed = {record.record_id for record in evalkit.read_records("out/records")}
    assert {p["record_id"] for p in told["points"] if p["temperature"] < 9} == filed
    lost = [point for point in told["points"] if point["temperature"] == 9]
    assert [point["value"] for point in lost] == [None, None]
    assert lost[0]["reason"].startswith("2 of 6 restorations of mine.py:draws at temperature 9 hold values")
    assert lost[0]["reason"] in err
    assert Path("out/sweep.png").read_bytes().startswith(b"\x89PNG")
    for name in ("sweep.csv", "sweep.json", "sweep.png"):
        assert f"written to out/{name}" in err
    out, err = sr_cli(*words, "--temperature", "0,4.5")
    assert out == ""
    rows = [line.split("│")[1:-1] for line in err.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == ["0", "4.5"]
    assert "± " in rows[1][1]


def test_a_sweep_has_usual_metrics_and_a_plan(sr_cli: Cli, tmp_path: Path):
    words = ("sweep", *MODEL[1:], "--temperature", "0,0.5", "-o", "out", "--dry-run", "--name", "mine")
    out, err = sr_cli(*words)
    assert out == ""
    assert (
        "will measure psnr_rgb, ssim_rgb, lpips_mini, lr_psnr, sr_diversity_mini, sr_pixel_std: hr x4" in err
    )
    assert "10 restorations of each" in err
    told = json.loads(sr_cli(*words, "--json", "--metrics", "psnr_rgb")[0])
    assert list(dict.fromkeys(step["of"] for step in told["steps"])) == [
        "mine at temperature 0", "mine at temperature 0.5",
    ]  # fmt: skip
    assert [step["num"] for step in told["steps"]] == [3] * 4
    assert not (tmp_path / "out").exists()


def test_protocols_of_restoration_are_told(sr_cli: Cli):
    out, _ = sr_cli("show", "psnr_y_best", "--json")
    told = json.loads(out)
    assert (told["of_samples"], told["border"], told["channels"]) == ("best", "scale", "y")
    assert told["title"].endswith(": the best sample of every image")
    assert told["digest"] not in {
        json.loads(sr_cli("show", name, "--json")[0])["digest"] for name in ("psnr_y", "psnr_y_worst")
    }
    assert json.loads(sr_cli("show", "sr_bpd", "--json")[0])["needs"] == (
        "originals, and a model that Restores and has conditional_nats"
    )
    _, err = sr_cli("show", "sr_pixel_std_best", code=2)
    assert "sr_pixel_std is one number an image, of all its samples together or of none" in err
    _, err = sr_cli("show", "psnr_y_beste", code=2)
    assert "unknown protocol 'psnr_y_beste'" in err
    names = {row["name"] for row in json.loads(sr_cli("list", "protocols", "--json")[0])}
    assert {"psnr_y", "sr_diversity", "sr_bpd", "sr", "sr_mini", "srflow", "ntire21"} <= names


def test_set5_has_the_published_numbers_of_the_interpolations(sr_cli: Cli, data_dir: Path):
    words = (
        "run",
        "--sr-model",
        "bicubic",
        "--hr",
        data_dir / "set5",
        "--lr",
        data_dir / "set5_LRx4",
        "--scale",
        4,
    )
    out, _ = sr_cli(*words, "--metrics", "psnr_y,ssim_y", "--pictures", 0, "-o", "out", "--json")
    told = {(each["samples"]["name"], each["metric"]): each["value"] for each in json.loads(out)}
    assert told["bicubic", "psnr_y"] == pytest.approx(28.43, abs=0.01)
    assert told["bicubic", "ssim_y"] == pytest.approx(0.811, abs=0.002)
    assert told["nearest", "psnr_y"] < told["bicubic", "psnr_y"] < told["lanczos", "psnr_y"]
