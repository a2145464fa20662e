"""Sweeps over temperature and pictures side by side: plain evaluations, filed, drawn, and what they show."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from restorers import SCALE, Drawing, picture, write

import evalkit
import reference_models
from evalkit.engine.restoration.pictures import draw_side_by_side
from evalkit.engine.restoration.request import prepare
from evalkit.engine.restoration.run import run_restoration
from evalkit.engine.restoration.sweep import (
    TemperatureSweep,
    parse_temperatures,
    sweep_temperature,
    write_temperature_sweep,
)
from evalkit.errors import MetricError, UsageError, WeightsError

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "leaderboards" / "references" / "digits32" / "srflow.safetensors"
METRICS = "psnr_rgb,lpips_mini,sr_pixel_std"


class Overflowing(Drawing):
    """Gives nothing finite for the second sample of an image above a temperature of 0.7."""

    limit = 0.7

    def restore(self, image, *, seeds, temperature=None):
        made = super().restore(image, seeds=seeds, temperature=temperature)
        if temperature > self.limit:
            made[1] = math.inf
        return made


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    hr = write(tmp_path / "hr", {f"{name}.png": picture(24, 32, seed) for seed, name in enumerate("abc")})
    return {"hr": hr, "scale": SCALE, "metrics": METRICS, "samples": 3, "sr_model": Drawing()}


def at(result: TemperatureSweep, metric: str) -> list[float]:
    return [record.value for _, record in result.curves()[metric]]


@pytest.mark.parametrize(
    ("words", "temperatures"),
    [("0:1:6", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]), ("1:0:2", [0.0, 1.0]), ("0.9, 0,0.5", [0.0, 0.5, 0.9])],
)
def test_temperatures_are_read_to_the_last_bit_of_what_one_would_type(words: str, temperatures: list[float]):
    assert list(parse_temperatures(words)) == temperatures


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("0:1", "--temperature '0:1': write start:stop:count, such as 0:1:6, or a list, such as 0,0.5,0.9"),
        ("warm", "--temperature 'warm': write start:stop:count"),
        ("0.5", "a sweep has 2 to 100 points, and 1 was given"),
        ("0,nan", "temperature is nan; a sweep takes finite numbers from 0 on"),
        ("-1:1:3", "temperature is -1.0; a sweep takes finite numbers from 0 on"),
        ("0.5,0.5", "temperature 0.5 was given twice; every point of a sweep is another temperature"),
        ("0:1:1", "--temperature 0:1:1: 1 is no number of points"),
        ("0:1:101", "more than 100 points"),
    ],
)
def test_temperatures_that_cannot_be(words: str, message: str):
    with pytest.raises(UsageError) as caught:
        parse_temperatures(words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("temperatures", "more", "message"),
    [
        ([], {}, "a sweep has 2 to 100 points, and 0 were given"),
        ([0.5], {}, "a sweep has 2 to 100 points, and 1 was given"),
        ([0.5, "1"], {}, "temperature is '1'"),
        ([0.5, math.inf], {}, "temperature is inf"),
        ([0, 1], {"sr_model": None}, "asks a model for restorations; name it with --sr-model"),
        ([0, 1], {"sr": "folder", "sr_model": None}, "asks a model for restorations"),
        ([0, 1], {"temperature": 0.5}, "a sweep sets the temperature itself; leave the single"),
        ([0, 1], {"sr_model": "bicubic"}, "bicubic has no temperature to sweep over"),
        ([0, 1], {"metrics": "fid"}, "fid is no metric of restorations"),
    ],
)  # fmt: skip
def test_sweeps_that_cannot_be(temperatures: list, more: dict, message: str, given: dict[str, Any]):
    with pytest.raises(UsageError, match=message):
        sweep_temperature(temperatures, output=None, **{**given, **more})


def test_points_are_plain_evaluations_filed_under_their_temperature(given: dict[str, Any], tmp_path: Path):
    result = sweep_temperature([0.9, 0.25], output=tmp_path / "records", name="mine", seed=3, **given)
    assert (result.temperatures, result.model, result.num_samples) == ((0.25, 0.9), "mine", 3)
    for heat, records in zip(result.temperatures, result.records, strict=True):
        alone = evalkit.evaluate_restoration(
            **given, temperature=heat, name=f"mine at temperature {heat:g}", seed=3, output=None,
            baselines=False,
        )  # fmt: skip
        assert [record.record_id for record in records] == [record.record_id for record in alone]
    filed = evalkit.read_records(tmp_path / "records")
    # No baselines: they have no temperature.
    assert {record.samples.name for record in filed} == {
        "mine at temperature 0.25", "mine at temperature 0.9",
    }  # fmt: skip
    assert len(filed) == 2 * 3
    assert sweep_temperature([0, 1], output=None, **given).model == "drawing"


def test_a_second_sweep_makes_what_is_missing_alone(given: dict[str, Any]):
    first = sweep_temperature([0.5, 1], output=None, **given)
    assert given["sr_model"].drawn == 2 * 9
    given["sr_model"] = Drawing()
    again = sweep_temperature([0.5, 0.75, 1], output=None, **given)
    assert given["sr_model"].drawn == 9
    ids = [[record.record_id for record in records] for records in (*first.records, *again.records)]
    assert (ids[2], ids[4]) == (ids[0], ids[1])


def test_samples_of_all_temperatures_have_the_same_seeds(given: dict[str, Any]):
    seen = []

    class Watched(Drawing):
        def restore(self, image, *, seeds, temperature=None):
            seen.append((seeds.tolist(), temperature))
            return super().restore(image, seeds=seeds, temperature=temperature)

    sweep_temperature([0.5, 1], output=None, **{**given, "sr_model": Watched()})
    assert [heat for _, heat in seen] == [0.5] * 3 + [1.0] * 3
    assert [seeds for seeds, _ in seen[:3]] == [seeds for seeds, _ in seen[3:]]


def test_a_temperature_without_finite_images_has_a_reason_and_stops_nothing(
    given: dict[str, Any], tmp_path: Path
):
    given["sr_model"] = Overflowing()
    result = sweep_temperature([0, 0.5, 1], output=tmp_path / "records", **given)
    assert list(result.failures) == [1.0]
    assert result.failures[1.0].startswith(
        "3 of 9 restorations of drawing at temperature 1 hold values that are not finite"
    )
    assert [len(records) for records in result.records] == [3, 3, 0]
    assert len(evalkit.read_records(tmp_path / "records")) == 6
    lost = [row for row in result.rows() if row["temperature"] == 1.0]
    assert [row["metric"] for row in lost] == METRICS.split(",")
    assert all(row["value"] is row["record_id"] is None for row in lost)
    assert {row["reason"] for row in lost} == {result.failures[1.0]}
    assert result.table()[2] == {"temperature": "1", **dict.fromkeys(METRICS.split(","), "—")}
    assert [len(points) for points in result.curves().values()] == [2, 2, 2]
    paths = write_temperature_sweep(result, tmp_path / "out")
    assert json.loads(paths[1].read_text(encoding="utf-8"))["points"] == result.rows()
    given["sr_model"] = Overflowing(limit=-1)
    with pytest.raises(MetricError, match="3 of 9 restorations of drawing at temperature 2 hold values"):
        sweep_temperature([2, 3], output=None, **given)


def test_what_is_written_holds_the_records(given: dict[str, Any], tmp_path: Path):
    given["metrics"] += ",sr_bpd"
    result = sweep_temperature([0.5, 0.8], output=None, name="mine $x$_{", **given)
    paths = write_temperature_sweep(result, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "sweep.csv",
        "sweep.json",
        "sweep.png",
    ]
    told = json.loads(paths[1].read_text(encoding="utf-8"))
    assert told == result.to_dict()
    assert (told["format"], told["parameter"]) == ("evalkit-temperature-sweep-1", "temperature")
    assert (told["samples_per_image"], told["seed"], told["data"]) == (3, 0, f"{given['hr']} x4")
    for record in result.records[0]:
        how = told["metrics"][record.metric]
        assert how["digest"] == evalkit.PROTOCOLS[record.metric].digest
        assert (how["higher_is_better"], how["ci_method"]) == (record.higher_is_better, record.ci_method)
    with paths[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    records = [record for point in result.records for record in point]
    assert len(rows) == len(told["points"]) == len(records) == 2 * 4
    for row, point, record in zip(rows, told["points"], records, strict=True):
        assert row["record_id"] == point["record_id"] == record.record_id
        assert row["metric"] == record.metric
        if record.metric == "sr_bpd":
            assert (row["value"], point["value"], row["low"]) == ("", None, "")
            assert row["reason"].startswith("not applicable: this needs a model with a likelihood")
        else:
            assert float(row["value"]) == point["value"] == record.value
            assert (float(row["low"]), float(row["high"])) == record.ci95
            assert int(row["num"]) == 9
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_temperature_sweep(result, tmp_path / "again")] == first
    with Image.open(paths[2]) as drawn:
        assert np.asarray(drawn.convert("L")).std() > 5


def test_a_sweep_without_a_value_is_not_drawn(given: dict[str, Any], tmp_path: Path):
    result = sweep_temperature([0.5, 0.8], output=None, **{**given, "metrics": "sr_bpd"})
    with pytest.raises(MetricError, match="the sweep has no value to draw: no metric applies, or none is"):
        write_temperature_sweep(result, tmp_path)


def test_diversity_rises_and_fidelity_falls_with_the_temperature_of_a_trained_network():
    result = sweep_temperature(
        [0, 0.5, 1], sr_model=reference_models.load_checkpoint(REFERENCE), hr="bundled:digits:test",
        data_limit=6, scale=4, samples=3, metrics="psnr_rgb,sr_pixel_std,sr_diversity_mini", output=None,
    )  # fmt: skip
    spread, fidelity = at(result, "sr_pixel_std"), at(result, "psnr_rgb")
    assert spread[0] == at(result, "sr_diversity_mini")[0] == 0
    assert spread == sorted(set(spread))
    assert fidelity == sorted(set(fidelity), reverse=True)
    # Of the same originals, so that differences are paired: each image, not the mean alone.
    first, last = (result.curves()["psnr_rgb"][place][1].per_image for place in (0, -1))
    assert all(first[name] > last[name] for name in first)


# -- pictures


class Green(Drawing):
    """Green, but for one pixel, by which samples differ."""

    def restore(self, image, *, seeds, temperature=None):
        made = torch.zeros(len(seeds), 3, *(side * SCALE for side in image.shape[1:]), dtype=torch.uint8)
        made[:, 1] = 200
        if self.stochastic:
            made[:, 1, 0, 0] = torch.arange(len(seeds), dtype=torch.uint8)
        return made


def drawn(
    folder: Path, side: int = 32, *, images: int = 2, **more: Any
) -> tuple[np.ndarray, tuple[int, int]]:
    """The PNG of some pictures, with its size."""
    colours = {"hr": (0, 0, 200), "lr": (200, 0, 0)}
    for kind, colour in colours.items():
        length = side if kind == "hr" else side // SCALE
        write(folder / kind, {f"{k}.png": np.full((length, length, 3), colour, np.uint8) for k in range(3)})
    given = {"metrics": "psnr_rgb", "scale": SCALE, **more}
    request = prepare(hr=folder / "hr", lr=folder / "lr", cache_dir=folder / "cache", **given)
    found = run_restoration(request, None, baselines=False)
    path = draw_side_by_side(request.pairs, found.restorations, folder / "p" / "x.png", images=images)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int), picture.size


def area(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(image - colour).max(axis=2) < 3).sum())


def test_a_row_shows_input_samples_original_and_spread(tmp_path: Path):
    image, (width, height) = drawn(tmp_path, sr_model=Green(stochastic=False, temperature=None))
    red, green, blue = (area(image, colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200)))
    assert red == blue == green > 2 * 10_000
    one, (same, lower) = drawn(tmp_path, sr_model=Green(stochastic=False, temperature=None), images=1)
    all_three, (_, highest) = drawn(tmp_path, sr_model=Green(stochastic=False, temperature=None), images=6)
    assert (same, highest - height) == (width, height - lower)
    assert [area(each, (0, 0, 200)) for each in (one, all_three)] == pytest.approx(
        [blue / 2, 1.5 * blue], rel=0.1
    )
    several, (wider, _) = drawn(tmp_path, sr_model=Green(name="mine $x$_{"), samples=6)
    # Four samples of the six, and the map of how all six differ.
    assert wider == pytest.approx(width * 7 / 3, abs=2)
    panel = area(several, (0, 0, 200))
    assert area(several, (200, 0, 0)) == panel
    assert area(several, (0, 200, 0)) == pytest.approx(4 * panel, rel=0.02)
    darkest = area(several, (0, 0, 4))  # of the map, which is 0 but in a corner
    assert darkest == pytest.approx(panel, rel=0.05)


def test_the_middle_of_a_large_image_is_shown(tmp_path: Path):
    image, _ = drawn(tmp_path, side=320, images=1, sr_model=Green(stochastic=False, temperature=None))
    small, _ = drawn(tmp_path / "small", images=1, sr_model=Green(stochastic=False, temperature=None))
    assert area(image, (0, 200, 0)) == pytest.approx(area(small, (0, 200, 0)), rel=0.02)


def test_a_metric_that_fails_leaves_the_others_their_points(given: dict[str, Any], tmp_path: Path):
    small = {"hr": write(tmp_path / "small", {"a.png": picture(16, 16), "b.png": picture(16, 16, 1)})}
    result = sweep_temperature(
        [0.2, 0.4], output=tmp_path / "s", **{**given, **small, "metrics": "psnr_rgb,ssim_rgb"}
    )
    assert len(at(result, "psnr_rgb")) == 2
    assert "ssim_rgb" not in result.curves()
    reasons = {row["metric"]: row["reason"] for row in result.rows()}
    assert reasons["psnr_rgb"] is None
    assert "needs images (c, h, w) or (h, w) of 11 by 11 pixels or more" in reasons["ssim_rgb"]
    write_temperature_sweep(result, tmp_path / "s")


def test_weights_that_lack_end_a_sweep_before_the_model_is_asked(given: dict[str, Any]):
    with pytest.raises(WeightsError, match="evalkit weights fetch"):
        sweep_temperature([0.2, 0.4], output=None, **{**given, "metrics": "psnr_rgb,lpips_alex"})
    assert given["sr_model"].asked == []
