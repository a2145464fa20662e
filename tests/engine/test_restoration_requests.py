"""Requests for restorations that cannot be: what is said of numbers, folders and sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evalkit
from evalkit.engine.judges import readiness
from evalkit.engine.restoration.sweep import sweep_temperature
from evalkit.errors import MetricError, UsageError
from evalkit.protocols.catalog import PROTOCOLS
from evalkit.records.schema import Record
from reference_models.srflow.config import PRESETS
from reference_models.srflow.evaluate import Restoration
from reference_models.srflow.model import Network


def measure(cache: Path, side: int = 32, **options: Any) -> list[Record]:
    given = {"sr_model": "bicubic", "metrics": "psnr_rgb"} | options
    return evalkit.evaluate_restoration(
        hr=np.full((1, side, side, 3), 90, np.uint8), scale=4, output=None, baselines=False,
        cache_dir=cache, device="cpu", **given,
    )  # fmt: skip


@pytest.mark.parametrize("samples", [1.5, True, "3", 0, 1001])
def test_samples_are_a_whole_number(samples: object, tmp_path: Path):
    with pytest.raises(UsageError, match=f"--samples is {samples!r}; give how many restorations of each"):
        measure(tmp_path, samples=samples)


def test_a_folder_restores_nothing(tmp_path: Path):
    with pytest.raises(UsageError, match=r"is a folder; restorations that are there are given with --sr$"):
        measure(tmp_path, sr_model=tmp_path)


def test_a_likelihood_is_one_of_originals_cropped_to_what_the_model_needs(tmp_path: Path):
    model = Restoration(Network(PRESETS["tiny"].network), name="tiny")
    (cropped,) = measure(tmp_path, side=36, sr_model=model, metrics="sr_bpd")
    (whole,) = measure(tmp_path, side=32, sr_model=model, metrics="sr_bpd")
    # The image is one colour, and so is its low-resolution image.
    assert cropped.value == pytest.approx(whole.value, rel=1e-6)
    assert whole.notes == cropped.notes[:-1]
    assert cropped.notes[-1] == (
        "the likelihood is one of originals cropped at the bottom and the right to multiples of 8, which the "
        "model needs: 1 of 1, such as 00000 from 36x36 to 32x32"
    )


def test_an_original_that_has_no_likelihood_is_named(tmp_path: Path):
    model = Restoration(Network(PRESETS["tiny"].network), name="tiny")
    with pytest.raises(MetricError, match="00000: the image is 4x4 and its sides are cropped to multiples"):
        measure(tmp_path, side=4, sr_model=model, metrics="sr_bpd")


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_the_first_alone_ends_in_an_error(
    rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "2")
    hr = np.full((1, 32, 32, 3), 90, np.uint8)
    model = Restoration(Network(PRESETS["tiny"].network), name="tiny")
    asked: Any = {"sr_model": model, "hr": hr, "scale": 4, "metrics": "psnr_rgb", "cache_dir": tmp_path,
                  "device": "cpu", "output": None}  # fmt: skip
    if rank:
        assert evalkit.evaluate_restoration(temperature=1e38, baselines=False, **asked) == []
        assert not any(sweep_temperature([1e37, 1e38], **asked).records)
        return
    with pytest.raises(MetricError, match="not finite"):
        evalkit.evaluate_restoration(temperature=1e38, baselines=False, **asked)
    with pytest.raises(MetricError, match="not finite"):
        sweep_temperature([1e37, 1e38], **asked)


def test_a_package_that_lacks_is_said_before_a_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = readiness(PROTOCOLS["dists"])
    assert not found.ok
    assert found.detail == (
        "dists takes its learned weights from the package torchmetrics, which is not installed; pip install "
        "'evalkit[iqa]'"
    )
