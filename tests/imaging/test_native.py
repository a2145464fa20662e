"""Reducing what was enlarged, without loss, and refusing what was not."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.errors import SourceError
from evalkit.imaging.native import from_native, native_block, to_native


def noise(num=3, channels=3, height=8, width=8, seed=0):
    shape = (num, channels, height, width)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("enlarge", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 16)])
def test_what_was_enlarged_is_reduced_without_loss(enlarge, channels, height, width):
    small = noise(3, channels, height, width)
    large = from_native(small, enlarge)
    assert large.shape == (3, 3, height * enlarge, width * enlarge)
    assert np.array_equal(to_native(large, enlarge, channels), small)
    assert np.array_equal(large[:, :, enlarge - 1 :: enlarge, ::enlarge], np.broadcast_to(
        small, (3, 3, height, width)))  # fmt: skip


def test_the_block_is_the_largest_that_all_images_allow():
    assert native_block(noise()) == 1
    assert native_block(from_native(noise(), 4)) == 4
    mixed = [*from_native(noise(1), 4), *from_native(noise(1, 3, 16, 16, seed=1), 2)]
    assert native_block(mixed) == 2
    assert native_block(reversed(mixed)) == 2
    # Not a power of two, sides of unequal length, and flat images, of which 8 pixels remain.
    assert native_block(from_native(noise(), 3)) == 1
    assert native_block(from_native(noise(2, 1, 8, 24), 2)) == 2
    assert native_block(np.zeros((2, 3, 64, 128), np.uint8)) == 8
    assert native_block(np.zeros((2, 3, 12, 12), np.uint8)) == 1
    assert native_block([]) == 1


def test_one_changed_pixel_is_found_and_its_image_named():
    images = from_native(noise(), 2)
    images[1, 2, 15, 15] ^= 1
    assert native_block(images) == 1
    with pytest.raises(SourceError, match=r"picture 1, 16x16 pixels, does not consist of 2x2 squares"):
        to_native(images, 2, 3, name="picture {}".format)


@pytest.mark.parametrize(
    ("images", "enlarge", "channels", "words"),
    [
        (noise(), 3, 3, "image 0 has 8x8 pixels, which cannot be squares of 3x3"),
        (noise(), 1, 1, "image 0 has colour, and a model of one channel knows grey images alone"),
        (noise(channels=1), 1, 3, "image 0 has 1 channel, and 3 are wanted; give RGB"),
    ],
)
def test_what_cannot_be_reduced_is_refused(images, enlarge, channels, words):
    with pytest.raises(SourceError, match=words):
        to_native(images, enlarge, channels)
