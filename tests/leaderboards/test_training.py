"""How long a model was trained stands in tables where its records say so, and nowhere else."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest

from leaderboards.build import leaderboard, leaderboard_tables
from leaderboards.load import read_frame
from leaderboards.tables import render


def test_the_moments_of_one_training_are_rows_that_can_be_told_apart(make, file):
    folder = file(
        make(value=30.0, images="early", kimg=20.0),
        make(value=20.0, images="late", kimg=40.5),
        make(metric="kid", value=0.1, images="late", kimg=40.5),
        make(value=25.0, model="vae"),
    )
    frame = leaderboard(folder)
    assert frame["model"].tolist() == ["gan [40.5 kimg]", "vae", "gan [20 kimg]"]
    assert frame["kimg"].tolist() == pytest.approx([40.5, float("nan"), 20.0], nan_ok=True)
    back = pd.read_csv(io.StringIO(render(leaderboard_tables(folder), "csv")))
    assert back["kimg"].tolist() == pytest.approx([40.5, float("nan"), 20.0], nan_ok=True)
    rows = json.loads(render(leaderboard_tables(folder), "json"))[0]["rows"]
    assert [row.get("kimg", "none") for row in rows] == [40.5, "none", 20.0]
    assert sorted(read_frame(folder)["kimg"].dropna()) == [20.0, 40.5, 40.5]


def test_namesakes_trained_equally_long_are_told_apart_by_their_images(make, file):
    folder = file(
        make(value=1.0, images="aaaaaaaa1", kimg=20.0),
        make(value=2.0, images="bbbbbbbb2", kimg=20.0),
        make(value=3.0, images="cccccccc3"),
    )
    assert leaderboard(folder)["model"].tolist() == ["gan [aaaaaaaa]", "gan [bbbbbbbb]", "gan [cccccccc]"]


def test_without_training_there_is_no_such_column(make, file):
    folder = file(make())
    assert "kimg" not in leaderboard(folder).columns
    assert "kimg" not in render(leaderboard_tables(folder), "json")
    assert read_frame(folder)["kimg"].isna().all()
