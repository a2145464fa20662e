"""Models that were judged on the same images are compared image by image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from leaderboards.board import Cell, marked

SPREAD = np.random.default_rng(0).normal(30, 5, 20)  # of images: far more than models differ by


def cell(values: np.ndarray, names: str = "image") -> Cell:
    per_image = {f"{names}{place}": float(value) for place, value in enumerate(values)}
    return Cell(
        value=float(values.mean()),
        standard_error=float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None,
        ci95=None,
        num=len(values),
        record_id="",
        per_image=per_image,
    )


def test_a_small_difference_on_every_image_is_told():
    leader = cell(SPREAD)
    worse = cell(SPREAD - 0.2 + np.random.default_rng(1).normal(0, 0.1, 20))
    assert not marked(worse, leader).level
    # Of other images nobody can say: the errors count as independent, and they are large.
    assert marked(cell(SPREAD - 0.2, "other"), leader).level


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.03, 0.05, 0.08, 0.2])
def test_level_is_what_the_paired_test_of_student_cannot_tell(shift: float):
    other = SPREAD - shift + np.random.default_rng(2).normal(0, 0.1, 20)
    untold = stats.ttest_rel(other, SPREAD).pvalue >= 0.05
    assert marked(cell(other), cell(SPREAD)).level == untold


def test_the_order_of_images_is_of_no_matter():
    leader, other = cell(SPREAD), cell(SPREAD - 0.2)
    assert other.per_image is not None
    turned = dict(reversed(list(other.per_image.items())))
    assert not marked(Cell(**{**_fields(other), "per_image": turned}), leader).level


def test_one_image_has_no_error_and_no_mark():
    assert not marked(cell(np.array([29.0])), cell(np.array([30.0]))).level


def test_such_numbers_are_shown_with_a_digit_more():
    shown = cell(SPREAD)
    assert len(shown.text.split(" ± ")[1]) == 1 + len(
        Cell(**{**_fields(shown), "per_image": None}).text.split(" ± ")[1]
    )


def _fields(given: Cell) -> dict:
    return {name: getattr(given, name) for name in Cell.__slots__}
