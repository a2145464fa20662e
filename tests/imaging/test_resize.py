"""Resizes against the golden values and against the installed torch-fidelity and clean-fid."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evalkit.imaging.resize_pil import antialiased_bilinear, clean_bicubic
from evalkit.imaging.resize_tf import half_pixel_bilinear, tf1_bilinear

GOLDEN = Path(os.environ.get("EVALKIT_GOLDEN") or Path(__file__).parents[3] / "shared" / "golden")
SIZES = [(32, 32), (299, 299), (300, 301), (64, 48), (17, 9), (1, 1), (1, 40), (256, 256), (640, 355)]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """uint8 noise images."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize(
    ("case", "resize", "up"),
    [
        ("torch_fidelity__tf1_bilinear", tf1_bilinear, ""),
        ("clean_fid__clean_pil_bicubic", clean_bicubic, "_up"),
        ("clean_fid__pytorch_bilinear", half_pixel_bilinear, "_up"),
    ],
)
def test_golden_resizes(case, resize, up):
    file = GOLDEN / "metrics" / "inception_resize.npz"
    if not file.is_file():
        pytest.skip(f"no golden values at {file}; set $EVALKIT_GOLDEN")
    data = np.load(file, allow_pickle=False)
    image = torch.from_numpy(data["img"]).permute(2, 0, 1)[None]
    for suffix in (up, "_down"):
        want = data[f"out__{case}{suffix}"]
        got = resize(image, want.shape[:2])[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("out", [(299, 299), (224, 224), (32, 50)])
def test_tf1_bilinear_is_bit_equal_to_torch_fidelity(size, out):
    peer = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = noise(3, 3, *size)
    want = peer.interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=out, align_corners=False)
    assert torch.equal(tf1_bilinear(images, out), want)
    assert torch.equal(tf1_bilinear(images.float(), out), want)


def test_tf1_bilinear_of_float_images_is_bit_equal_to_torch_fidelity():
    peer = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = torch.randn(2, 3, 61, 37, generator=torch.Generator().manual_seed(1))
    want = peer.interpolate_bilinear_2d_like_tensorflow1x(images, size=(299, 299), align_corners=False)
    assert torch.equal(tf1_bilinear(images, (299, 299)), want)


def test_tf1_bilinear_is_channels_last_and_works_after_inference_mode():
    with torch.inference_mode():
        inside = tf1_bilinear(noise(1, 3, 21, 23), (31, 29))
    outside = tf1_bilinear(noise(1, 3, 21, 23).float(), (31, 29))
    assert inside.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("size", SIZES)
def test_clean_bicubic_equals_clean_fid_to_one_rounding(size):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clean-fid's modules warn on import
        resizer = pytest.importorskip("cleanfid.resize").build_resizer("clean")
    images = noise(2, 3, *size)
    got = clean_bicubic(images, (299, 299)).permute(0, 2, 3, 1).numpy()
    want = np.stack([resizer(image) for image in images.permute(0, 2, 3, 1).numpy()])
    np.testing.assert_allclose(got, want, atol=2e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_antialiased_bilinear_equals_pillow_to_one_rounding(size):
    image = noise(1, 1, *size)
    pillow = Image.fromarray(image[0, 0].numpy().astype(np.float32)).resize(
        (32, 24), Image.Resampling.BILINEAR
    )
    got = antialiased_bilinear(image, (24, 32))[0, 0].numpy()
    np.testing.assert_allclose(got, np.asarray(pillow), atol=2e-5, rtol=0)


@pytest.mark.parametrize("resize", [tf1_bilinear, clean_bicubic, half_pixel_bilinear, antialiased_bilinear])
@pytest.mark.parametrize("size", [(32, 32), (150, 90), (320, 299)])
def test_an_image_is_resized_alike_alone_and_among_others(resize, size):
    images = noise(4, 3, *size, seed=3)
    together = resize(images, (75, 64))
    for i in range(4):
        assert torch.equal(resize(images[i : i + 1], (75, 64))[0], together[i])
    strided = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(resize(strided, (75, 64)), together)


@pytest.mark.parametrize("resize", [tf1_bilinear, clean_bicubic, half_pixel_bilinear, antialiased_bilinear])
def test_constant_images_stay_constant_and_own_size_is_the_identity(resize):
    flat = torch.full((1, 3, 20, 31), 201, dtype=torch.uint8)
    torch.testing.assert_close(resize(flat, (45, 12)), torch.full((1, 3, 45, 12), 201.0), atol=1e-4, rtol=0)
    images = noise(2, 3, 32, 32)
    torch.testing.assert_close(resize(images, (32, 32)), images.float(), atol=1e-4, rtol=0)


def test_antialiasing_removes_a_checkerboard_and_tf1_keeps_it():
    board = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    board[:, :, ::2, ::2] = board[:, :, 1::2, 1::2] = 255
    for resize in (clean_bicubic, antialiased_bilinear):
        assert float(resize(board, (16, 16))[:, :, 2:-2, 2:-2].std()) < 1.0
    assert float(tf1_bilinear(board, (16, 16)).std()) == 0.0
    assert float(tf1_bilinear(board, (16, 16)).mean()) == 255.0
