"""Grids and curves of a training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from evalkit.errors import UsageError
from reference_models.training.pictures import panels, save_curves, save_grid

ROWS = [
    {
        "images": 8 * at, "kimg": 0.008 * at, "iteration": at, "loss/G": 1.0 + at, "loss/D": 2.0,
        "loss/R1": 0.1, "scores/real": 0.5, "augment/p": 0.01 * at, "time/s_per_kimg": 3.0,
        "memory/rss_mib": 400.0, "note": "word",
    }
    for at in range(1, 5)
]  # fmt: skip
ROWS[1] |= {"metrics/fd_mini": 9.0, "metrics/fd_mini/low": 8.0, "metrics/fd_mini/high": 10.0}
ROWS[3] |= {"metrics/fd_mini": 7.0, "metrics/fd_mini/low": 6.0, "metrics/fd_mini/high": 8.0, "loss/G": None}


def test_a_grid_is_row_by_row_and_the_rest_is_black(tmp_path):
    images = torch.randint(1, 256, (5, 3, 4, 6), generator=torch.Generator().manual_seed(0)).byte()
    save_grid(tmp_path / "deep" / "grid.png", images, 3)
    grid = np.asarray(Image.open(tmp_path / "deep" / "grid.png")).transpose(2, 0, 1)
    assert grid.shape == (3, 8, 18)
    for at in range(5):
        row, column = divmod(at, 3)
        cell = grid[:, 4 * row : 4 * row + 4, 6 * column : 6 * column + 6]
        assert np.array_equal(cell, images[at].numpy())
    assert not grid[:, 4:, 12:].any()


@pytest.mark.parametrize(
    ("images", "columns"),
    [
        (torch.zeros(2, 3, 4, 4), 2),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), 2),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), 2),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), 0),
    ],
)
def test_what_is_no_grid_is_refused(tmp_path, images, columns):
    with pytest.raises(UsageError, match=r"give uint8 images \(n, 3, h, w\) and one column or more"):
        save_grid(tmp_path / "grid.png", images, columns)
    assert not list(tmp_path.iterdir())


def test_curves_are_sorted_into_plots():
    found = panels(ROWS)
    assert {title: list(curves) for title, curves in found.items()} == {
        "losses": ["loss/G", "loss/D"],
        "scores": ["scores/real"],
        "metrics/fd_mini": ["metrics/fd_mini"],
        "penalties": ["loss/R1"],
        "augment/p": ["augment/p"],
    }
    assert list(found)[:3] == ["losses", "scores", "metrics/fd_mini"]
    assert found["losses"]["loss/G"].kimg == [0.008, 0.016, 0.024]
    metric = found["metrics/fd_mini"]["metrics/fd_mini"]
    assert metric == ([0.016, 0.032], [9.0, 7.0], [8.0, 6.0], [10.0, 8.0])
    assert found["losses"]["loss/D"].low is None


def test_a_metric_of_which_one_value_lacks_an_interval_has_no_band():
    rows = [*ROWS, {"kimg": 0.04, "metrics/fd_mini": 6.0}]
    assert panels(rows)["metrics/fd_mini"]["metrics/fd_mini"].low is None


def test_curves_are_drawn_and_repeat(tmp_path):
    for name in ("a.png", "b.png"):
        save_curves(tmp_path / name, ROWS)
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape[:2] == (600, 1260)
    assert picture[..., :3].std() > 5
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_log_without_numbers_has_no_curves(tmp_path):
    with pytest.raises(UsageError, match="no curves to draw: the log holds no losses"):
        save_curves(tmp_path / "curves.png", [{"images": 8, "kimg": 0.008, "note": "word"}])
