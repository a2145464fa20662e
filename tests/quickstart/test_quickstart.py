"""The quickstart's models are what it says of them, and its leaderboard comes out in a sensible order."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

import evalkit
import reference_models

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def quickstart() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "docs" / "examples" / "quickstart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def train(quickstart: ModuleType) -> np.ndarray:
    source = evalkit.resolve(quickstart.TRAIN)
    return np.stack(source.load(range(len(source))))


@pytest.fixture(scope="module")
def models(quickstart: ModuleType, train: np.ndarray) -> dict:
    return quickstart.fit_models(train)


def test_models_make_images_like_those_of_the_source(models: dict, train: np.ndarray):
    levels = set(np.unique(train))
    for name, sample in models.items():
        images = sample(range(100))
        assert images.shape == (100, *train.shape[1:]), name
        assert images.dtype == np.uint8
        assert set(np.unique(images)) <= levels, f"{name} has grey levels that no digit can have"
        assert np.array_equal(images[:, 0], images[:, 2])
        squares = images.reshape(100, 3, 8, 4, 8, 4)
        assert np.array_equal(squares, np.broadcast_to(squares[:, :, :, :1, :, :1], squares.shape))
        assert len(np.unique(images.reshape(100, -1), axis=0)) == 100


def test_an_image_depends_on_its_seed_alone(models: dict):
    for name, sample in models.items():
        together = sample(range(20))
        assert np.array_equal(together[::-1], sample(range(19, -1, -1))), name
        assert all(np.array_equal(sample([seed])[0], together[seed]) for seed in range(20)), name


def test_no_image_is_in_both_halves(quickstart: ModuleType, train: np.ndarray):
    source = evalkit.resolve(quickstart.TEST)
    test = np.stack(source.load(range(len(source))))
    rows = [{image.tobytes() for image in half} for half in (train, test)]
    assert not rows[0] & rows[1]


def test_fitting_twice_gives_the_same_models(quickstart: ModuleType, train: np.ndarray, models: dict):
    again = quickstart.fit_models(train)
    for name, sample in models.items():
        assert np.array_equal(sample(range(20)), again[name](range(20))), name


def readme_table(metric: str) -> dict[str, str]:
    """A column of the leaderboard in the README, by model."""
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|")]
    table = [[cell.strip(" *≈") for cell in line.strip("|").split("|")] for line in lines]
    place = next(i for i, name in enumerate(table[0]) if name.startswith(metric))
    length = next((i for i, row in enumerate(table[2:]) if not row[0].isdigit()), len(table) - 2)
    return {row[1]: row[place] for row in table[2 : 2 + length]}


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """Two untrained networks and the other files that lie beside them."""
    for name, model in (("stylegan2", "stylegan2"), ("another", "progan")):
        built = reference_models.build(model, seed=1)
        built.training = {"kimg": 3.0, "checkpoint_sha256": "of the weights"}
        reference_models.save_checkpoint(built, tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.run.json").write_text("{}")
    return tmp_path


def test_references_are_whatever_checkpoints_lie_in_the_folder(quickstart: ModuleType, references: Path):
    assert quickstart.load_references(references / "nowhere") == {}
    found = quickstart.load_references(references)
    assert list(found) == ["StyleGAN2 (reference)", "another (reference)"]
    model = found["StyleGAN2 (reference)"]
    assert model.name == "stylegan2.safetensors"  # and not where they lie on this machine
    assert model.sample(np.arange(2)).shape == (2, 3, 32, 32)


def test_a_reference_is_measured_like_any_model(quickstart: ModuleType, references: Path, tmp_path: Path):
    model = quickstart.load_references(references)["StyleGAN2 (reference)"]
    (record,) = evalkit.evaluate(
        model=model, num=70, data=quickstart.TEST, metrics="fd_mini", output=None, cache_dir=tmp_path
    )
    assert record.samples.training is not None
    assert record.samples.training.kimg == 3.0
    assert str(tmp_path) not in json.dumps(record.body)


@pytest.mark.slow
def test_the_leaderboard_comes_out_in_order_and_twice_alike(
    quickstart: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    quickstart.main(["--output", str(tmp_path / "out")])
    first = sorted((tmp_path / "out").rglob("*"))
    said = capsys.readouterr()
    assert "**" in said.out
    frame = pd.read_csv(tmp_path / "out" / "leaderboard.csv").set_index("model")
    likelihoods = frame[frame["data"] == "digits (8x8 grey)"]
    assert {"VDVAE (reference)", "NVAE (reference)", "NCP-VAE (reference)"} == set(likelihoods.index)
    frame = frame[frame["data"] == "digits"]
    assert frame.index[0] == "real images"
    assert frame.index[-1] == "uniform noise"
    references = quickstart.load_references(quickstart.REFERENCES)
    assert len(frame) == 5 + len(references)
    assert set(references) <= set(frame.index)
    assert frame["rank"].tolist() == list(range(1, len(frame) + 1))
    for metric, best in {
        "fd_mini": min, "kd_mini": min, "prdc_mini_precision": max, "prdc_mini_coverage": max,
    }.items():  # fmt: skip
        values = frame[metric].to_dict()
        worst = max if best is min else min
        assert best(values, key=values.__getitem__) == "real images", metric
        assert worst(values, key=values.__getitem__) == "uniform noise", metric
    for model, shown in readme_table("fd_mini").items():
        assert float(shown.split(" ± ")[0]) == pytest.approx(
            frame.loc[model, "fd_mini"], abs=0.1 * frame.loc[model, "fd_mini_se"]
        ), f"the README shows another value of {model}"
    quickstart.main(["--output", str(tmp_path / "out")])
    assert "were on file" in capsys.readouterr().err
    assert sorted((tmp_path / "out").rglob("*")) == first
