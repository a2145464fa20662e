"""Weight files of the networks under test, and pictures of several sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import networks


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.inception_file(tmp_path_factory)


@pytest.fixture(scope="session")
def vgg16_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.vgg16_file(tmp_path_factory)


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """Ten images, of equal and of different sizes: more than one micro-batch, the second one partial."""
    rng = np.random.default_rng(0)
    sizes = [
        (40, 40),
        (40, 40),
        (32, 32),
        (64, 48),
        (40, 40),
        (40, 40),
        (40, 40),
        (32, 32),
        (32, 32),
        (120, 90),
    ]
    return [rng.integers(0, 256, (3, *size), dtype=np.uint8) for size in sizes]
