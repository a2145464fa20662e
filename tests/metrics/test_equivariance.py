"""Laws of warps and of equivariance: closed forms, inverses, what masks promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from closed_form import Waves

from evalkit.errors import MetricError
from evalkit.metrics.equivariance import warps
from evalkit.metrics.equivariance.eq import OPERATIONS, Operation, compare, draw_move, psnr


def smooth(height: int, width: int, frequency: float = 3.0) -> torch.Tensor:
    """Waves well below the limit of the pixels: what a filter must pass as they are."""
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    parts = [
        torch.sin(2 * math.pi * frequency * (x * math.cos(a) + y * math.sin(a)) / width + a)
        for a in (0.3, 1.4, 2.2)
    ]
    return torch.stack(parts)[None]


def wave_at(x: torch.Tensor, y: torch.Tensor, width: int, frequency: float = 3.0) -> torch.Tensor:
    parts = [
        torch.sin(2 * math.pi * frequency * (x * math.cos(a) + y * math.sin(a)) / width + a)
        for a in (0.3, 1.4, 2.2)
    ]
    return torch.stack(parts)[None]


@pytest.mark.parametrize(("tx", "ty"), [(0.25, -0.125), (-0.1, 0.0), (0.0, 0.0), (0.47, 0.33)])
def test_a_shift_by_whole_pixels_copies(tx: float, ty: float):
    x = torch.randn(2, 3, 24, 40)
    moved, mask = warps.integer_shift(x, tx, ty)
    ix, iy = round(tx * 40), round(ty * 24)
    rolled = torch.roll(x, (iy, ix), dims=(2, 3))
    assert torch.equal(moved, rolled * mask)
    assert int(mask.sum()) == (24 - abs(iy)) * (40 - abs(ix))
    assert warps.snap(tx, ty, 24, 40) == (ix / 40, iy / 24)


@pytest.mark.parametrize(("tx", "ty"), [(1.0, 0.0), (-1.2, 0.1), (0.0, 2.0)])
def test_a_shift_out_of_the_image_leaves_nothing(tx: float, ty: float):
    for warp in (warps.integer_shift, warps.fractional_shift):
        moved, mask = warp(torch.randn(1, 3, 16, 16), tx, ty)
        assert not mask.any()
        assert moved.shape == (1, 3, 16, 16)


@pytest.mark.parametrize(("tx", "ty"), [(0.113, -0.047), (-0.09, 0.12), (0.0, 0.031)])
def test_a_shift_by_fractions_of_a_smooth_wave_is_the_wave_elsewhere(tx: float, ty: float):
    height, width = 48, 64
    moved, mask = warps.fractional_shift(smooth(height, width), tx, ty)
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    there = wave_at(x - tx * width, y - ty * height, width)
    assert float(((moved - there) * mask).abs().max()) < 0.02
    assert float(mask.mean()) > 0.5


def test_a_shift_by_fractions_that_is_whole_is_that_shift():
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    moved, mask = warps.fractional_shift(x, 4 / 32, -2 / 32)
    whole, _ = warps.integer_shift(x, 4 / 32, -2 / 32)
    torch.testing.assert_close(moved * mask, whole * mask, atol=1e-12, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 0.4, -1.2, math.pi / 2, 2.9])
def test_a_rotation_of_a_smooth_wave_is_the_wave_turned(angle: float):
    side = 64
    moved, mask = warps.fractional_rotation(smooth(side, side), angle)
    kept, inside = warps.fractional_pseudo_rotation(turned := wave_at(*centred(side, angle), side), angle)
    both = mask * inside
    assert float(both.mean()) > 0.3
    # The filter passes a wave of 3 periods nearly whole, and the same share of both.
    assert float(((moved - kept) * both).abs().max()) < 0.02
    assert float(((moved - turned) * both).abs().max()) < 0.02


def centred(side: int, angle: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the pixels of a picture that was turned about its centre come from."""
    place = torch.arange(side).double() - (side - 1) / 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    c, s = math.cos(angle), math.sin(angle)
    return c * x - s * y + (side - 1) / 2, s * x + c * y + (side - 1) / 2


@pytest.mark.parametrize("up", [1, 4])
@pytest.mark.parametrize("angle", [0.0, 0.7, -2.1])
def test_the_filter_of_rotations_is_even_and_passes_flat_colours(up: int, angle: float):
    kernel = warps.bandlimit_filter(warps.rotation(angle), up=up)
    assert kernel.shape == (2 * warps.FILTER_REACH * up - 1,) * 2
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-9)
    padded = np.pad(kernel, ((0, 1), (0, 1)))
    phases = padded.reshape(2 * warps.FILTER_REACH, up, 2 * warps.FILTER_REACH, up).sum(axis=(0, 2))
    np.testing.assert_allclose(phases, 1 / up**2, rtol=1e-12)
    np.testing.assert_allclose(
        kernel, warps.bandlimit_filter(warps.rotation(angle + math.pi), up=up), atol=1e-9
    )


def test_flat_colours_stay_under_every_warp():
    x = torch.full((1, 3, 40, 40), 0.6)
    for moved, mask in (
        warps.integer_shift(x, 0.1, 0.1),
        warps.fractional_shift(x, 0.113, -0.07),
        warps.fractional_rotation(x, 0.8),
        warps.fractional_pseudo_rotation(x, 0.8),
    ):
        assert mask.any()
        assert float(((moved - 0.6) * mask).abs().max()) < 1e-5


def decibels(sticking: float, operation: Operation, side: int = 64) -> float:
    generate, total = Waves(sticking, side), np.zeros(2)
    draws = np.random.default_rng(1).random((6, 2))
    for place, uniform in enumerate(draws):
        z = torch.randn(4, 6, generator=torch.Generator().manual_seed(place))
        move = draw_move(operation, uniform)
        total += compare(lambda m, z=z: generate(z, m), generate(z), operation, move).sums().sum(axis=0)
    return psnr(*total)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_ten_times_the_pattern_that_sticks_costs_twenty_decibels(operation: Operation):
    weak, strong = decibels(0.01, operation), decibels(0.1, operation)
    assert weak - strong == pytest.approx(20, abs=1.0)
    if operation == "int":
        # The pattern is k cos(0.9 i); shifted by s it differs by 2 k sin(0.45 s) sin(...): mean square at
        # most 2 k², of white to black 4.
        assert strong > 10 * math.log10(4 / (2 * 0.1**2))


def test_the_psnr_is_that_of_the_pooled_error():
    assert psnr(4.0, 1.0) == pytest.approx(0.0)
    assert psnr(1.0, 100.0) == pytest.approx(20 * math.log10(2) + 20)
    with pytest.raises(MetricError, match="no pixel of any image could be compared"):
        psnr(0.0, 0.0)
    with pytest.raises(MetricError, match="the PSNR is infinite, and no number can be filed"):
        psnr(0.0, 10.0)


def test_moves_fill_their_range():
    assert draw_move("frac", np.array([0.0, 0.5])) == (-0.125, 0.0, 0.0)
    assert draw_move("rot", np.array([0.75, 0.0])).angle == pytest.approx(math.pi / 2)
    assert draw_move("int", np.array([1.0, 0.0]), translate_max=0.5)[:2] == (0.5, -0.5)
    assert draw_move("rot", np.array([0.0]), rotate_max=0.25).angle == pytest.approx(-math.pi / 4)
