"""A short run of a small network, for tests of training."""

from __future__ import annotations

import numpy as np
import pytest
from small_tasks import STYLEGAN2

from reference_models.training.config import RunConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npz"
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    np.savez(path, images=images)
    return str(path)


@pytest.fixture
def run(tmp_path, data):
    return RunConfig(
        model="stylegan2", data=data, output=str(tmp_path / "run"), kimg=0.064, overrides=STYLEGAN2,
        snapshot_kimg=0.032, grid=4,
    )  # fmt: skip
