"""MATLAB's imresize: its laws, its rounding, and the low-resolution images that MATLAB itself made."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evalkit.errors import UsageError
from evalkit.imaging.colour import grey_level, luma
from evalkit.imaging.resize_matlab import downscale, imresize, upscale

SCALES = [1 / 4, 1 / 3, 0.3, 1 / 2, 0.77, 1.0, 1.5, 2.0, 4.0]
SETS = {"set5": 28.42, "set14": 26.00}  # PSNR-Y of bicubic x4 in the literature, dB
BORDER = 4


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos3"])
@pytest.mark.parametrize("scale", SCALES)
def test_laws_at_any_scale(kernel, scale):
    image = noise(3, 23, 31)
    got = imresize(image, scale, kernel=kernel)
    assert got.dtype == np.uint8
    assert got.shape == (3, math.ceil(23 * scale), math.ceil(31 * scale))
    assert np.array_equal(imresize(np.full((23, 31), 77, np.uint8), scale, kernel=kernel), got[0] * 0 + 77)
    floats = image / 255
    exact = imresize(floats, scale, kernel=kernel)
    assert exact.dtype == np.float64
    turned = imresize(floats.transpose(0, 2, 1), scale, kernel=kernel).transpose(0, 2, 1)
    np.testing.assert_allclose(turned, exact, atol=1e-14)
    flipped = imresize(floats[:, ::-1, ::-1], scale, kernel=kernel)[:, ::-1, ::-1]
    if (23 * scale).is_integer() and (31 * scale).is_integer():
        np.testing.assert_allclose(flipped, exact, atol=1e-13)
    np.testing.assert_allclose(imresize(2 * floats - 1, scale, kernel=kernel), 2 * exact - 1, atol=1e-13)
    np.testing.assert_array_equal(imresize(floats[1], scale, kernel=kernel), exact[1])


def test_scale_one_is_the_identity():
    image = noise(3, 9, 7)
    for kernel in ("bicubic", "lanczos3"):
        assert np.array_equal(imresize(image, 1, kernel=kernel), image)
    np.testing.assert_array_equal(imresize(image.astype(np.float32), 1), image)


def test_weights_by_hand():
    """A unit pulse enlarged twice shows the cubic at quarters; halved, the same cubic stretched twice."""
    pulse = np.zeros((1, 9))
    pulse[0, 4] = 1
    keys = [-0.0234375, -0.0703125, 0.2265625, 0.8671875]
    np.testing.assert_allclose(imresize(pulse, size=(1, 18))[0, 5:13], [*keys, *keys[::-1]])
    pulse = np.zeros((1, 12))
    pulse[0, 4] = 1
    np.testing.assert_allclose(
        imresize(pulse, size=(1, 6))[0, :4], [w / 2 for w in (keys[0], keys[2], keys[3], keys[1])]
    )


def test_beyond_the_border_the_image_is_mirrored():
    image = np.random.default_rng(3).random((12, 20))
    wide = np.pad(image, 8, mode="symmetric")
    np.testing.assert_allclose(imresize(wide, 1 / 4)[2:-2, 2:-2], imresize(image, 1 / 4), atol=1e-14)
    # An image of one pixel is mirrored again and again.
    assert np.array_equal(imresize(np.full((1, 1), 9, np.uint8), 5), np.full((5, 5), 9))


def test_uint8_is_rounded_and_clipped_after_each_pass():
    image = noise(60, 80)
    first = np.rint(imresize(image.astype(float), size=(15, 80))).clip(0, 255)
    both = np.rint(imresize(first, size=(15, 20))).clip(0, 255)
    once = np.rint(imresize(image.astype(float), 1 / 4)).clip(0, 255)
    got = downscale(image, 4)
    assert np.array_equal(got, both)
    assert (got != once).any()
    # Overshoots of a hard edge do not wrap.
    edge = np.zeros((8, 8), np.uint8)
    edge[:, 4:] = 255
    assert set(np.unique(upscale(edge, 4)[:, :12])) <= set(range(80))


def test_the_axis_that_shrinks_most_comes_first():
    image = noise(40, 40)
    width_first = imresize(imresize(image, size=(40, 10)), size=(20, 10))
    assert np.array_equal(imresize(image, size=(20, 10)), width_first)
    assert (imresize(imresize(image, size=(20, 40)), size=(20, 10)) != width_first).any()


def test_a_whole_factor_gives_whole_sizes():
    for factor in range(1, 50):
        assert downscale(np.zeros((factor * 7, factor)), factor).shape == (7, 1)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: imresize(x), "either a scale or a size.*scale None and size None"),
        (lambda x: imresize(x, 2, size=(4, 4)), "either a scale or a size"),
        (lambda x: imresize(x, 0), "by a scale of 0; give a positive number"),
        (lambda x: imresize(x, math.nan), "by a scale of nan"),
        (lambda x: imresize(x, size=(0, 4)), "to 0 by 4 pixels"),
        (lambda x: imresize(x, 2, kernel="cubic"), "unknown kernel 'cubic' .nearest: bicubic"),
        (lambda x: imresize(x.astype(int), 2), "type int64 cannot be resized.*uint8 levels or floats"),
        (lambda x: imresize(x[0, 0], 2), r"shape \(4,\) cannot be resized"),
        (lambda x: imresize(x[:, :0], 2), r"shape \(3, 0, 4\) cannot be resized"),
        (lambda x: downscale(x, 0), "a whole number from 1 on; got 0"),
        (lambda x: upscale(x, 1.5), "a whole number from 1 on; got 1.5"),
    ],
)
def test_what_cannot_be_resized(call, text):
    with pytest.raises(UsageError, match=text):
        call(noise(3, 4, 4))


def read(path: Path) -> tuple[np.ndarray, bool]:
    """``(3, h, w)``, cropped to multiples of four, and whether the file is stored grey."""
    with Image.open(path) as image:
        values = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
        return values[:, : values.shape[1] // 4 * 4, : values.shape[2] // 4 * 4], image.mode == "L"


def psnr_inside(a: np.ndarray, b: np.ndarray) -> float:
    inside = (a - b)[BORDER:-BORDER, BORDER:-BORDER]
    return float(20 * np.log10(255 / np.sqrt(np.mean(inside**2))))


@pytest.mark.parametrize("name", SETS)
def test_the_images_of_matlab_and_the_numbers_of_the_literature(name, data_dir):
    if not (data_dir / f"{name}_LRx4").is_dir():
        pytest.skip(f"no {name}_LRx4 in {data_dir}; set $EVALKIT_DATA to run this test")
    printed, measured = [], []
    for path in sorted((data_dir / name).glob("*.png")):
        high, grey = read(path)
        with Image.open(data_dir / f"{name}_LRx4" / path.name) as image:
            low = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
        to_y = grey_level if grey else luma
        ours = downscale(high, 4)
        apart = np.abs(ours.astype(int) - low)
        assert ours.shape == low.shape
        assert apart.max() <= 1, path.name
        assert (apart > 0).mean() <= 0.002, path.name
        measured.append(psnr_inside(to_y(upscale(low, 4)), to_y(high)))
        # Papers shrink and enlarge the luma itself, rounded to levels at both ends.
        levels = np.rint(to_y(high))
        again = np.rint(upscale(downscale(levels, 4), 4)).clip(0, 255)
        printed.append(psnr_inside(again, levels))
    assert np.mean(printed) == pytest.approx(SETS[name], abs=0.005)
    # The RGB image enlarged, and its luma not rounded, as BasicSR's evaluation has it.
    assert np.mean(measured) == pytest.approx({"set5": 28.4290, "set14": 25.9940}[name], abs=0.0001)
