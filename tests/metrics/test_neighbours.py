"""Precision, recall, density, coverage and realism: exact counts, ties, laws, bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from evalkit.errors import MetricError
from evalkit.metrics.distribution.prdc import KEPT, neighbours, radii
from evalkit.metrics.distribution.realism import realism


def rows(n: int, seed: int, shift: float = 0.0, d: int = 6) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


def by_hand(real: np.ndarray, fake: np.ndarray, k: int, inside: str) -> tuple[float, ...]:
    r, f = real.astype(np.float64), fake.astype(np.float64)
    radius_r = np.sort(cdist(r, r, "sqeuclidean"), axis=1)[:, k]
    radius_f = np.sort(cdist(f, f, "sqeuclidean"), axis=1)[:, k]
    across = cdist(f, r, "sqeuclidean")
    in_real = across <= radius_r if inside == "<=" else across < radius_r
    in_fake = across <= radius_f[:, None] if inside == "<=" else across < radius_f[:, None]
    return in_real.any(1).mean(), in_fake.any(0).mean(), in_real.sum() / (k * len(f)), in_real.any(0).mean()


def values(real: np.ndarray, fake: np.ndarray, k: int = 3, inside: str = "<=", **more) -> tuple[float, ...]:
    found = neighbours(real, fake, k=k, inside=inside, **more)
    return found.precision, found.recall, found.density, found.coverage


@pytest.mark.parametrize("inside", ["<=", "<"])
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("kind", ["continuous", "integers", "duplicates", "far from 0", "tiny"])
def test_counts_are_exact(kind: str, k: int, inside: str):
    rng = np.random.default_rng(7)
    real, fake = rows(130, 1), rows(110, 2, 0.5)
    if kind == "integers":
        real, fake = (rng.integers(0, 4, (n, 3)).astype(np.float32) for n in (130, 110))
    elif kind == "duplicates":
        real, fake = real[rng.integers(0, 30, 130)], np.concatenate([real[:40], fake[:70]])
    elif kind == "far from 0":
        real, fake = real + 4096, fake + 4096
    elif kind == "tiny":
        real, fake = real * np.float32(1e-20), fake * np.float32(1e-20)
    np.testing.assert_allclose(
        values(real, fake, k, inside), by_hand(real, fake, k, inside), rtol=0, atol=1e-12
    )


def test_blocks_do_not_change_a_count():
    real, fake = rows(300, 1), rows(250, 2, 0.3)
    whole = values(real, fake)
    assert values(real, fake, block=7) == values(real, fake, block=64) == whole


def test_the_order_of_the_rows_does_not_change_a_count():
    rng = np.random.default_rng(0)
    real, fake = rows(200, 1), rows(150, 2, 0.3)
    assert values(real[rng.permutation(200)], fake[rng.permutation(150)]) == values(real, fake)


def test_laws():
    real, fake = rows(200, 1), rows(200, 2, 0.7)
    precision, recall, *_ = values(real, fake)
    swapped = values(fake, real)
    assert (swapped[0], swapped[1]) == (recall, precision)
    assert values(real, real)[:2] == (1.0, 1.0)
    assert values(real, real + 100) == (0.0, 0.0, 0.0, 0.0)
    narrow = values(real, real * np.float32(0.1))
    assert narrow[0] > 0.99
    assert narrow[1] < 0.7


def test_the_graph_lists_who_lies_in_whose_ball():
    real, fake = rows(60, 1), rows(50, 2, 0.2)
    graph = neighbours(real, fake, k=3, inside="<").graph
    r, f = real.astype(np.float64), fake.astype(np.float64)
    inside = cdist(f, r) < np.sort(cdist(r, r), axis=1)[:, 3]
    for i in range(50):
        listed = graph.fake_in_real.first[i]
        assert listed[listed >= 0].tolist() == np.flatnonzero(inside[i])[:KEPT].tolist()
    np.testing.assert_array_equal(graph.fake_in_real.counts, inside.sum(1))
    np.testing.assert_array_equal(graph.real_holding.counts, inside.sum(0))


def test_radii_are_distances_to_the_kth_neighbour():
    x = rows(90, 3)
    np.testing.assert_allclose(radii(x, k=4), np.sort(cdist(x, x), axis=1)[:, 4], rtol=1e-6)


def test_no_matrix_of_all_pairs_is_held():
    real, fake = rows(12_000, 1, d=4), rows(12_000, 2, d=4)
    tracemalloc.start()
    neighbours(real, fake, k=3, inside="<=")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000 * 12_000 * 4 / 4  # a quarter of one float32 matrix


def test_realism_is_one_on_the_rim_and_more_inside():
    real = rows(200, 1)
    deep = realism(real + np.float32(1e-3), real, k=3)
    far = realism(real + np.float32(50), real, k=3)
    assert deep.min() > 1 or np.median(deep) > 1
    assert far.max() < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: values(rows(3, 1), rows(9, 2)),
            r"k = 3 neighbours need at least k \+ 1 = 4 real images and there are 3",
        ),
        (lambda: values(rows(9, 1), rows(3, 2)), "4 samples and there are 3"),
        (lambda: values(rows(9, 1), rows(9, 2), k=0), "k of 1 or more"),
        (lambda: values(rows(9, 1), rows(9, 2, d=3)), "two sets of features of one width"),
        (lambda: realism(rows(9, 1), rows(9, 1), k=3), "equals a real image"),
        (lambda: realism(rows(9, 1), np.tile(rows(1, 1), (9, 1)), k=3), "all radii are equal"),
    ],
)
def test_what_has_no_neighbours(call, message: str):
    with pytest.raises(MetricError, match=message):
        call()
