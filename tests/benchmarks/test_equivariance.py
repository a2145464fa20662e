"""What equivariance rests on: the ablations of the StyleGAN3 paper, on random networks and trained ones."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scripts import load_script

import evalkit
import reference_models

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ROOT / "leaderboards" / "references"
METRICS = ("eqt_int", "eqt_frac", "eqr")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("equivariance")


def decibels(model: Any, folder: Path, num: int = 16, metrics: tuple[str, ...] = METRICS) -> dict[str, float]:
    records = evalkit.evaluate(model=model, metrics=metrics, num=num, output=None, cache_dir=folder)
    return {record.metric: record.value for record in records if record.value is not None}


@pytest.mark.parametrize("seed", [0, 1])
def test_translations_of_random_networks(seed: int, tmp_path: Path):
    second = decibels(reference_models.build("stylegan2", seed=seed), tmp_path)
    translating = decibels(reference_models.build("stylegan3", seed=seed), tmp_path)
    rotating = decibels(reference_models.build("stylegan3", preset="tiny-r", seed=seed), tmp_path)
    for metric in ("eqt_int", "eqt_frac"):
        assert translating[metric] > second[metric] + 20
        assert rotating[metric] > second[metric] + 20
    # Rotations are only R's: the others are far below what would pass for equivariance.
    assert rotating["eqr"] > 50
    assert rotating["eqr"] > max(second["eqr"], translating["eqr"]) + 30


def test_every_ingredient_counts(script: ModuleType, tmp_path: Path):
    rows = {row.title: row for row in script.ROWS}
    found = {
        title: decibels(script.build(rows[title], 0), tmp_path, num=8)
        for title in rows
        if title.startswith(("…", "StyleGAN3-T"))
    }
    whole = found.pop("StyleGAN3-T")
    assert set(found) == {
        "… with noise inputs", "… without filtered nonlinearities", "… without margins",
        "… with narrow transition bands", "… with short filters",
    }  # fmt: skip
    for title, less in found.items():
        assert less["eqt_int"] < whole["eqt_int"] - 6, title
    for title in ("… with noise inputs", "… without filtered nonlinearities", "… without margins"):
        assert found[title]["eqt_frac"] < whole["eqt_frac"] - 6, title
    assert found["… with noise inputs"]["eqt_int"] < 45


def test_more_noise_costs_twenty_decibels_a_decade(script: ModuleType, tmp_path: Path):
    found = []
    for strength in (0.003, 0.03):
        model = reference_models.build("stylegan3", **script.WIDE)
        script.add_noise(model, strength)
        found.append(decibels(model, tmp_path, num=8)["eqt_int"])
    assert found[0] - found[1] == pytest.approx(20, abs=2)


def trained(name: str) -> Any:
    path = NETWORKS / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"no trained network at {path}; `make references` trains it")
    return reference_models.load_checkpoint(path)


def test_trained_networks_keep_the_order(tmp_path: Path):
    second, translating, rotating = (
        decibels(trained(f"digits32/{name}-32"), tmp_path, num=16)
        for name in ("stylegan2", "stylegan3-t", "stylegan3-r")
    )
    for metric in ("eqt_int", "eqt_frac"):
        assert translating[metric] > second[metric] + 20
        assert rotating[metric] > second[metric] + 20
    assert rotating["eqr"] > max(second["eqr"], translating["eqr"]) + 20


def test_trained_networks_of_eight_pixels_translate_too(tmp_path: Path):
    second, translating, rotating = (
        decibels(trained(f"digits/{name}"), tmp_path, num=64, metrics=("eqt_int",))["eqt_int"]
        for name in ("stylegan2", "stylegan3-t", "stylegan3-r")
    )
    assert translating > second + 20
    assert rotating > second + 20


@pytest.mark.parametrize(
    ("name", "preset"), [("stylegan", "tiny"), ("stylegan2", "tiny"), ("stylegan3", "tiny")]
)
def test_the_identity_moves_nothing(name: str, preset: str):
    import torch

    model = reference_models.build(name, preset=preset)
    w = model.map(model.latents(np.arange(4)))
    assert torch.equal(model.synthesise(w), model.synthesise(w, transform=torch.eye(3)))
