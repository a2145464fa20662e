"""Shared by all tests: where the optional data lie, and a cache of its own for every test."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Tests run in two processes, whose threads would mostly wait for each other. Set before torch starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has an empty cache and no weights but those it names."""
    folder = tmp_path_factory.mktemp("evalkit")
    monkeypatch.setenv("EVALKIT_CACHE", str(folder / "cache"))
    monkeypatch.setenv("EVALKIT_WEIGHTS", str(folder / "weights"))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """What draws from torch's own generator draws the same in every run; torch is not loaded for it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The small real data sets that some tests hold numbers against; those are skipped without."""
    folder = Path(os.environ.get("EVALKIT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set $EVALKIT_DATA to run this test")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves the tests marked `gpu` out where torch sees no GPU."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="torch sees no GPU"))
