"""Diversity: bounds, closed forms, samples that are equal, and too few of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from evalkit.errors import MetricError
from evalkit.metrics.restoration.diversity import best_of_samples, pixel_std, pixel_std_map


def maps(num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((num, 37, 53)).astype(np.float32)


def test_best_of_samples_by_hand():
    found = best_of_samples(np.array([[[1.0, 3.0]], [[5.0, 1.0]]]))
    assert found == (2.0, 1.0, 50.0)
    assert best_of_samples(np.array([[[0.0, 4.0]], [[4.0, 0.0]]])).score == 100


def test_more_samples_are_never_worse():
    values = maps(8)
    found = [best_of_samples(values[:num]) for num in range(2, 9)]
    for fewer, more in itertools.pairwise(found):
        assert more.global_best <= fewer.global_best
        assert more.local_best < fewer.local_best
    assert all(0 < each.local_best < each.global_best and 0 < each.score < 100 for each in found)


def test_equal_samples_have_no_diversity_at_all():
    for seed in range(20):
        same = np.repeat(maps(1, seed), 7, axis=0)
        found = best_of_samples(same)
        assert found.global_best == found.local_best
        assert found.score == 0
        images = np.repeat(255 * maps(3, seed)[None], 7, axis=0)
        assert pixel_std(images, 1) == pixel_std(images.astype(np.uint8), 0) == 0
    assert best_of_samples(np.zeros((3, 4, 5))).score == 0


def test_the_score_knows_no_unit_and_no_order():
    values = maps(5)
    found = best_of_samples(values)
    assert best_of_samples(7 * values.astype(float)).score == pytest.approx(found.score)
    assert best_of_samples(values[::-1]) == found
    turned = best_of_samples(values.transpose(0, 2, 1)[:, ::-1])
    assert turned.score == pytest.approx(found.score)


def test_pixel_std_in_closed_form():
    image = np.random.default_rng(0).integers(20, 200, (3, 6, 5)).astype(np.uint8)
    two = np.stack([image, image + 10])
    assert pixel_std(two, 0) == pytest.approx(5)
    assert pixel_std(two, 1) == pytest.approx(10 / np.sqrt(2))
    steps = np.stack([image + step for step in range(9)])
    assert pixel_std(steps, 0) == pytest.approx(np.sqrt((9**2 - 1) / 12))
    assert pixel_std(steps, 1) == pytest.approx(np.sqrt((9**2 - 1) / 12 * 9 / 8))
    assert pixel_std(255 - steps, 1) == pytest.approx(pixel_std(steps, 1))


def test_the_map_is_a_mean_over_channels_and_the_number_its_mean():
    samples = np.random.default_rng(0).integers(0, 256, (6, 3, 7, 8)).astype(np.uint8)
    found = pixel_std_map(samples, 1)
    np.testing.assert_allclose(found, samples.std(axis=0, ddof=1).mean(axis=0), rtol=1e-12)
    assert pixel_std(samples, 1) == found.mean()
    still = samples.copy()
    still[:, :, 2, 3] = 9
    assert pixel_std_map(still, 1)[2, 3] == 0
    before = samples.copy()
    pixel_std_map(samples, 0)
    assert np.array_equal(samples, before)


def test_one_sample_has_no_diversity_to_speak_of():
    for call in (
        lambda: best_of_samples(maps(1)),
        lambda: pixel_std(np.zeros((1, 3, 4, 4)), 0),
        lambda: pixel_std_map(np.zeros((1, 3, 4, 4)), 1),
    ):
        with pytest.raises(MetricError, match="not applicable: it is of 2 samples.*there is 1.*--samples 10"):
            call()
    with pytest.raises(MetricError, match="it is of 4 samples"):
        pixel_std(np.zeros((3, 3, 4, 4)), 3)


def test_what_has_no_score():
    for bad in (np.nan, np.inf, -1e-3):
        values = maps(3)
        values[1, 2, 3] = bad
        with pytest.raises(MetricError, match="finite distances of 0 or more"):
            best_of_samples(values)
    with pytest.raises(MetricError, match=r"maps \(samples, h, w\); got the shape \(37, 53\)"):
        best_of_samples(maps(1)[0])
    with pytest.raises(MetricError, match=r"\(samples, c, h, w\); got the shape \(3, 4, 4\)"):
        pixel_std(np.zeros((3, 4, 4)), 0)
