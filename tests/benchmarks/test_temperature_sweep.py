"""The committed sweep over temperature: what its page says of SRFlow is in its numbers."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import evalkit
from evalkit.records.store import read_records
from evalkit.uncertainty.format import with_error

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
RECORDS = ROOT / "leaderboards" / "references" / "digits32" / "records" / "digits-x4"
TEMPERATURES = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
METRICS = ["psnr_rgb", "ssim_rgb", "lpips_mini", "lr_psnr", "sr_diversity_mini", "sr_pixel_std"]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (RESULTS / "temperature_sweep.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return json.loads((RESULTS / "temperature_sweep.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def curves(rows: list[dict[str, str]]) -> dict[str, list[float]]:
    found = {name: {float(r["temperature"]): float(r["value"]) for r in rows if r["metric"] == name}
             for name in METRICS}  # fmt: skip
    assert all(list(values) == TEMPERATURES for values in found.values())
    return {name: list(values.values()) for name, values in found.items()}


def test_diversity_rises_and_fidelity_falls_at_every_step(curves: dict[str, list[float]]):
    for name in ("sr_diversity_mini", "sr_pixel_std", "lpips_mini"):
        assert all(low < high for low, high in itertools.pairwise(curves[name])), name
    for name in ("psnr_rgb", "ssim_rgb", "lr_psnr"):
        assert all(high > low for high, low in itertools.pairwise(curves[name])), name


def test_without_temperature_and_without_draws_diversity_is_exactly_nothing(curves: dict[str, list[float]]):
    rules = [
        record
        for record in read_records([RECORDS])
        if record.samples.name in ("nearest", "bicubic", "lanczos")
    ]
    for name in ("sr_diversity_mini", "sr_pixel_std"):
        assert curves[name][0] == 0.0
        values = [record.value for record in rules if record.metric == name]
        assert values == [0.0, 0.0, 0.0]
        images = [value for record in rules if record.metric == name for value in record.per_image.values()]
        assert len(images) == 3 * 898
        assert set(images) == {0.0}


def test_the_references_own_temperature_lies_where_it_belongs(curves: dict[str, list[float]]):
    own = {r.metric: r for r in read_records([RECORDS]) if r.samples.name == "SRFlow x4 (reference)"}
    for name in METRICS:
        assert own[name].extractor["temperature"] == 0.9
        low, high = sorted(curves[name][-2:])
        assert low < own[name].value < high


def test_both_files_hold_the_same_numbers_of_todays_protocols(
    rows: list[dict[str, str]], told: dict[str, Any]
):
    assert (ROOT / told["model"]).is_file()
    assert (told["format"], told["parameter"]) == ("evalkit-temperature-sweep-1", "temperature")
    assert (told["data"], told["samples_per_image"], told["seed"]) == ("bundled:digits:test x4", 10, 0)
    assert len(rows) == len(told["points"]) == len(TEMPERATURES) * len(METRICS)
    for row, point in zip(rows, told["points"], strict=True):
        assert (float(row["value"]), row["metric"], row["record_id"]) == (
            point["value"], point["metric"], point["record_id"],
        )  # fmt: skip
        assert int(row["num"]) == point["num"] == 8980
        assert math.isfinite(point["value"])
        assert point["low"] <= point["value"] <= point["high"]
    assert {name: how["digest"] for name, how in told["metrics"].items()} == {
        name: evalkit.PROTOCOLS[name].digest for name in METRICS
    }


def test_the_page_shows_these_numbers(told: dict[str, Any]):
    page = (RESULTS / "temperature_sweep.md").read_text(encoding="utf-8")
    for temperature in TEMPERATURES:
        shown = [
            with_error(point["value"], point["standard_error"], paired=True)
            for point in told["points"]
            if point["temperature"] == temperature
        ]
        assert f"| {temperature:g} | {' | '.join(shown)} |" in page


def test_the_picture_is_there_and_is_one():
    with Image.open(RESULTS / "temperature_sweep.png") as picture:
        assert picture.width > 1000
        assert picture.convert("L").getextrema()[0] < 64
