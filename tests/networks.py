"""Weight files for tests: full-size networks with random weights, and a small entry of the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.features.weights import WeightsEntry

CONTENT = bytes(range(256)) * 4096  # 1 MiB


def _once(tmp_path_factory: pytest.TempPathFactory, name: str, write: Callable[[Path], Path]) -> Path:
    path = tmp_path_factory.getbasetemp() / name
    return path if path.exists() else write(path)


def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The FID Inception network in torch-fidelity's format."""
    weights = pytest.importorskip("benchmarks.random_weights")
    return _once(tmp_path_factory, "random-inception.pth", weights.write_inception)


def vgg16_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VGG16 in torchvision's format."""
    weights = pytest.importorskip("benchmarks.random_weights")
    return _once(tmp_path_factory, "random-vgg16.pth", weights.write_vgg16)


def entry_for(url: str | None, content: bytes = CONTENT) -> WeightsEntry:
    """An entry whose file is ``content``."""
    return WeightsEntry(
        name="net", filename="net-file.pth", aliases=("other-name.pth",), url=url,
        sha256=hashlib.sha256(content).hexdigest()[:8], licence="none", what="a test",
    )  # fmt: skip
