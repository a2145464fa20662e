"""The example of a super-resolution network that nobody here wrote: its published number comes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import run_eval
from evalkit.adapters.resolve import open_restorer
from evalkit.errors import SourceError, UsageError

EXAMPLE = str(Path(__file__).resolve().parents[2] / "docs" / "examples" / "carn.py") + ":carn_m"


@pytest.fixture
def weights(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = data_dir / "weights" / "carn_m.pth"
    if not path.is_file():
        pytest.skip(f"no {path}; set $EVALKIT_DATA to run this test")
    monkeypatch.setenv("CARN_WEIGHTS", str(path))
    return path


@pytest.mark.slow
def test_set5_by_the_network_s_own_number(
    weights: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["run", "--sr-model", EXAMPLE, "--hr", data_dir / "set5", "--lr", data_dir / "set5_LRx4"]
    more = ["--scale", 4, "--metrics", "psnr_y,lr_psnr", "--pictures", 0, "-o", tmp_path, "--json"]
    assert run_eval.main([str(word) for word in (*words, *more)]) == 0
    records = json.loads(capsys.readouterr().out)
    found = {(each["samples"]["name"], each["metric"]): each for each in records}
    network, bicubic = (found[name, "psnr_y"] for name in (EXAMPLE, "bicubic"))
    assert network["value"] == pytest.approx(31.9, abs=0.1)
    assert bicubic["value"] == pytest.approx(28.43, abs=0.01)
    # The same five photographs, so that each is compared with itself.
    assert list(network["per_image"]) == ["baby", "bird", "butterfly", "head", "woman"]
    assert all(network["per_image"][name] > bicubic["per_image"][name] for name in network["per_image"])
    assert found[EXAMPLE, "lr_psnr"]["value"] > found["bicubic", "lr_psnr"]["value"]
    assert network["extractor"]["low_resolution"] == "files"
    assert "temperature" not in network["extractor"]


def test_every_tensor_has_its_place_and_another_scale_is_refused(weights: Path):
    state = torch.load(weights, map_location="cpu", weights_only=True)
    model = open_restorer(EXAMPLE, None, scale=4)
    network = model._function  # type: ignore[attr-defined]
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }
    assert model.identity is not None
    assert (model.stochastic, model.scale) == (False, 4)
    with pytest.raises(UsageError, match="enlarges 4 times, and the scale is 2; give --scale 4"):
        open_restorer(EXAMPLE, None, scale=2)


def test_missing_weights_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CARN_WEIGHTS", str(tmp_path / "none.pth"))
    with pytest.raises(
        SourceError, match="no weights at .*none.pth; get them from https://github.com/nmhkahn"
    ):
        open_restorer(EXAMPLE, None, scale=4)
