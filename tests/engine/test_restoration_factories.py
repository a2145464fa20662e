"""Factories that restore: a file may hold several, and what one makes may change though the file does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evalkit

MODULE = """
from pathlib import Path
from torch.nn.functional import interpolate

def bright(): return lambda image: interpolate(image, scale_factor=2)
def dark(): return lambda image: interpolate(image, scale_factor=2) / 2

def stored():
    factor = float((Path(__file__).parent / "factor.txt").read_text())
    return lambda image: interpolate(image, scale_factor=2) * factor
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "hr").mkdir()
    for index in range(2):
        pixels = np.random.default_rng(index).integers(60, 200, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "hr" / f"{index}.png")
    return tmp_path


def measured(place: Path, factory: str, temperature: float | None = None) -> float | None:
    (record,) = evalkit.evaluate_restoration(
        sr_model=f"{place}/mine.py:{factory}", hr=place / "hr", scale=2, metrics="psnr_rgb_srflow",
        cache_dir=place / "cache", output=None, baselines=False, device="cpu", temperature=temperature,
    )  # fmt: skip
    return record.value


def test_factories_of_one_file_have_restorations_of_their_own(place: Path):
    bright, dark = measured(place, "bright"), measured(place, "dark")
    assert bright != dark
    assert measured(place, "bright") == bright


def test_weights_that_a_factory_reads_and_hides_make_another_model(place: Path):
    (place / "factor.txt").write_text("1.0")
    first = measured(place, "stored")
    assert first == measured(place, "bright")
    (place / "factor.txt").write_text("0.5")
    assert measured(place, "stored") == measured(place, "dark") != first


@pytest.mark.parametrize("factory", ["warm", "warmer"])
def test_a_parameter_without_a_number_has_the_temperature_that_is_asked_for_or_1(place: Path, factory: str):
    (place / "mine.py").write_text(
        MODULE + "\ndef warm(): return lambda image, temperature: bright()(image) * temperature"
        "\ndef warmer(): return lambda image, temperature=None: bright()(image) * temperature"
    )
    assert measured(place, factory) == measured(place, "bright")
    assert measured(place, factory, temperature=0.5) == measured(place, "dark")
