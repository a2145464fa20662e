"""Luma: its range, its weights, and grey images."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.errors import UsageError
from evalkit.imaging.colour import grey_level, luma


def test_luma_of_grey_is_linear_from_16_to_235():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    got = luma(np.stack([levels] * 3))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, 16 + levels * (219 / 255), rtol=1e-15)


def test_luma_of_primaries():
    image = np.zeros((3, 1, 3), np.uint8)
    image[0, 0, 0] = image[1, 0, 1] = image[2, 0, 2] = 255
    np.testing.assert_allclose(luma(image), [[81.481, 144.553, 40.966]])
    np.testing.assert_array_equal(luma(image.astype(np.float32)), luma(image))


def test_an_image_stored_grey_keeps_its_levels():
    levels = np.random.default_rng(0).integers(0, 256, (5, 4), dtype=np.uint8)
    np.testing.assert_allclose(grey_level(np.stack([levels] * 3)), levels, rtol=1e-14)
    coloured = np.random.default_rng(1).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    np.testing.assert_allclose(grey_level(coloured) * 219 / 255 + 16, luma(coloured), rtol=1e-14)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (2, 3, 4, 4)])
def test_other_axes_are_refused(shape):
    for of in (luma, grey_level):
        with pytest.raises(UsageError, match="luma is of an RGB image .3, height, width."):
            of(np.zeros(shape, np.uint8))
