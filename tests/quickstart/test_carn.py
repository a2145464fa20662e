"""The example of a super-resolution network that nobody here wrote: its published number comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evalkit.adapters.resolve import open_restorer
from evalkit.errors import SourceError, UsageError
from evalkit.imaging.colour import luma
from evalkit.imaging.quantise import to_uint8
from evalkit.metrics.restoration.psnr import psnr, shave
from evalkit.sources.pairs import open_pairs

EXAMPLE = str(Path(__file__).resolve().parents[2] / "docs" / "examples" / "carn.py") + ":carn_m"


@pytest.fixture
def weights(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = data_dir / "weights" / "carn_m.pth"
    if not path.is_file():
        pytest.skip(f"no {path}; set $EVALKIT_DATA to run this test")
    monkeypatch.setenv("CARN_WEIGHTS", str(path))
    return path


@pytest.mark.slow
def test_set5_by_the_network_s_own_number(weights: Path, data_dir: Path):
    model = open_restorer(EXAMPLE, None, scale=4)
    assert (model.stochastic, model.scale) == (False, 4)
    bicubic = open_restorer("bicubic", None, scale=4)
    pairs = open_pairs(data_dir / "set5", scale=4, lr=data_dir / "set5_LRx4")
    found: dict[str, list[float]] = {"network": [], "bicubic": []}
    for index in range(len(pairs)):
        low = torch.from_numpy(pairs.lr(index))
        original = shave(luma(pairs.hr(index)), 4)
        for name, each in (("network", model), ("bicubic", bicubic)):
            made = each.restore(low, seeds=np.zeros(1, np.int64))[0]
            levels = made if made.dtype == torch.uint8 else to_uint8(made, "unit")
            found[name].append(psnr(shave(luma(levels.numpy()), 4), original))
    assert np.mean(found["network"]) == pytest.approx(31.9, abs=0.1)
    assert np.mean(found["bicubic"]) == pytest.approx(28.42, abs=0.02)


def test_every_tensor_has_its_place_and_another_scale_is_refused(weights: Path):
    state = torch.load(weights, map_location="cpu", weights_only=True)
    model = open_restorer(EXAMPLE, None, scale=4)
    network = model._function  # type: ignore[attr-defined]
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }
    assert model.identity is not None
    with pytest.raises(UsageError, match="enlarges 4 times, and the scale is 2; give --scale 4"):
        open_restorer(EXAMPLE, None, scale=2)


def test_missing_weights_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CARN_WEIGHTS", str(tmp_path / "none.pth"))
    with pytest.raises(
        SourceError, match="no weights at .*none.pth; get them from https://github.com/nmhkahn"
    ):
        open_restorer(EXAMPLE, None, scale=4)
