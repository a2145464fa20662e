"""Callables of seeds: an image depends on its seed alone, and a callable's faults are said in its words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from evalkit.errors import SourceError, UsageError
from evalkit.sources.generated import CHUNK, GeneratedSource, load_callable
from evalkit.sources.subset import select


def good(seeds: np.ndarray) -> np.ndarray:
    return np.stack(
        [np.random.default_rng(int(s)).integers(0, 256, (6, 5, 3), dtype=np.uint8) for s in seeds]
    )


def test_the_callable_sees_the_same_chunks_whatever_is_asked_for():
    calls: list[list[int]] = []

    def record(seeds: np.ndarray) -> np.ndarray:
        calls.append(seeds.tolist())
        return good(seeds)

    source = GeneratedSource(record, 80, first_seed=100)
    source.load([70])
    source.load([3, 4])
    source.load([5])
    assert calls == [list(range(164, 180)), list(range(100, 100 + CHUNK))]


def test_seeds_start_where_asked():
    np.testing.assert_array_equal(
        GeneratedSource(good, 3, first_seed=7).load([1])[0], good(np.array([8]))[0].transpose(2, 0, 1)
    )


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("kind", ["numpy", "torch", "bfloat16"])
def test_floats_are_rounded_by_the_one_rule(layout: str, kind: str):
    def floats(seeds: np.ndarray) -> object:
        images = good(seeds).astype(np.float32) / 127.5 - 1
        images = images if layout == "NHWC" else images.transpose(0, 3, 1, 2)
        if kind == "numpy":
            return images
        tensor = torch.from_numpy(images.copy()).requires_grad_()
        return tensor if kind == "torch" else torch.zeros_like(tensor, dtype=torch.bfloat16)

    image = GeneratedSource(floats, 3).load([1])[0]
    assert image.dtype == np.uint8
    assert image.shape == (3, 6, 5)
    if kind == "bfloat16":
        assert (image == 128).all()


def test_a_declared_range_is_used():
    def unit(seeds: np.ndarray) -> np.ndarray:
        return np.full((len(seeds), 4, 4, 3), 0.5, np.float32)

    assert GeneratedSource(unit, 2).load([0])[0].max() == int(0.5 * 127.5 + 128)
    unit.evalkit_range = "unit"
    assert GeneratedSource(unit, 2).load([0])[0].max() == 127
    unit.evalkit_range = "units"
    with pytest.raises(UsageError, match=r"evalkit_range = 'units' \(nearest: unit\)"):
        GeneratedSource(unit, 2)


def test_the_fingerprint_covers_seeds_count_and_pixels():
    def other(seeds: np.ndarray) -> np.ndarray:
        return good(seeds) ^ 1

    other.__qualname__ = good.__qualname__
    prints = {
        GeneratedSource(function, num, first).fingerprint
        for function, num, first in ((good, 40, 0), (good, 41, 0), (good, 40, 1), (other, 40, 0))
    }
    assert len(prints) == 4
    assert GeneratedSource(good, 40).fingerprint in prints
    assert "fingerprint covers" in GeneratedSource(good, 40).notes[0]


def test_a_callable_that_ignores_its_seeds_is_found():
    def careless(seeds: np.ndarray) -> np.ndarray:
        return np.random.default_rng().integers(0, 256, (len(seeds), 4, 4, 3), dtype=np.uint8)

    with pytest.raises(SourceError, match="different images for the same seeds .* np.random.default_rng"):
        _ = GeneratedSource(careless, 4).fingerprint


def test_a_selection_of_a_callable_generates_the_probes_alone():
    made: list[int] = []

    def count(seeds: np.ndarray) -> np.ndarray:
        made.extend(seeds.tolist())
        return good(seeds)

    source = GeneratedSource(count, 10 * CHUNK)
    part = select(source, 8 * CHUNK, None)
    assert part.fingerprint != source.fingerprint
    assert len(made) == 3 * CHUNK
    assert part.fingerprint == select(GeneratedSource(count, 10 * CHUNK), 8 * CHUNK, None).fingerprint
    assert part.fingerprint != select(GeneratedSource(count, 10 * CHUNK, 1), 8 * CHUNK, None).fingerprint


@pytest.mark.parametrize(("low", "noted"), [(0.0, True), (-1.0, False)])
def test_floats_that_look_like_another_range_are_noted(low: float, noted: bool):
    def floats(seeds: np.ndarray) -> np.ndarray:
        return (good(seeds) / 255.0) * (1 - low) + low

    source = GeneratedSource(floats, 5)
    assert any('evalkit_range = "unit"' in note for note in source.notes) == noted
    floats.evalkit_range = "unit"
    if noted:
        assert len(GeneratedSource(floats, 5).notes) == 1
    else:
        with pytest.raises(SourceError, match="declares evalkit_range = 'unit', .* many negative ones"):
            _ = GeneratedSource(floats, 5).notes


def raises(seeds: np.ndarray) -> np.ndarray:
    raise RuntimeError("CUDA out of memory")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (raises, r"raises \(seeds 0 to 3\) raised RuntimeError: CUDA out of memory"),
        (lambda seeds: good(seeds)[1:], r"returned shape \(3, 6, 5, 3\) for 4 seeds"),
        (lambda seeds: np.zeros((4, 7), np.uint8), r"returned shape \(4, 7\) for 4 seeds"),
        (lambda seeds: [1, 2], "returned list; expected is a NumPy array or a torch tensor"),
        (lambda seeds: good(seeds) * 1.0, r"floats up to \d+; expected are floats in \[-1, 1\]"),
        (lambda seeds: np.full((4, 4, 4, 3), np.nan), "NaN or infinite"),
        (lambda seeds: good(seeds).astype(np.int64), "holds int64"),
    ],
)
def test_what_a_callable_does_wrong_is_said(function: Callable, message: str):
    with pytest.raises(SourceError, match=message):
        GeneratedSource(function, 4).load([0])


@pytest.mark.parametrize(("num", "first"), [(0, 0), (-1, 0), (3, -1)])
def test_counts_and_seeds_that_cannot_be(num: int, first: int):
    with pytest.raises(UsageError, match="or more"):
        GeneratedSource(good, num, first)


def test_callables_are_imported_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name = "evalkit_test_generators"
    (tmp_path / f"{name}.py").write_text(
        "class Model:\n    @staticmethod\n    def sample(seeds):\n        return seeds\n"
    )
    (tmp_path / "evalkit_test_raises.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    assert callable(load_callable(name, "Model.sample"))
    with pytest.raises(SourceError, match=r"Modle does not exist \(nearest: Model\)"):
        load_callable(name, "Modle")
    with pytest.raises(SourceError, match="importing evalkit_test_raises raised ZeroDivisionError"):
        load_callable("evalkit_test_raises", "f")
    with pytest.raises(SourceError, match="no module 'evalkit_test_nowhere'"):
        load_callable("evalkit_test_nowhere", "f")
