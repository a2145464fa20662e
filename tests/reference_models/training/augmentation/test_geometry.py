"""Matrices of augmentations undo each other; lookups do what the matrices say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from augment_cases import drawn, noisy, pinned, smooth

from reference_models.training.augmentation import geometric, lookup
from reference_models.training.augmentation.config import SETS, AugmentConfig
from reference_models.training.augmentation.wavelets import SYM2, SYM6, band_filters

ONE = torch.ones(3, dtype=torch.float64)
EYE = torch.eye(3, dtype=torch.float64)
AMOUNT = torch.tensor([0.3, -1.2, 2.9], dtype=torch.float64)


@pytest.mark.parametrize("taps", [SYM2, SYM6])
def test_wavelets_are_orthogonal_and_have_as_many_vanishing_moments_as_they_can(taps: tuple[float, ...]):
    h, n = np.asarray(taps), len(taps)
    for shift in range(n // 2):
        assert (h[: n - 2 * shift] * h[2 * shift :]).sum() == pytest.approx(float(shift == 0), abs=1e-11)
    k = np.arange(n)
    for power in range(n // 2):
        moment = ((-1.0) ** k * (k / n) ** power * h).sum()
        assert moment == pytest.approx(0, abs=1e-11)


def test_the_bands_add_up_to_the_identity_and_each_has_its_octave():
    bank = band_filters()
    np.testing.assert_allclose(bank.sum(axis=0), np.eye(1, 43, 21)[0], atol=1e-14)
    np.testing.assert_allclose(bank, bank[:, ::-1], atol=1e-14)
    response = np.abs(np.fft.fft(bank, 512))
    for band, (low, high) in enumerate([(0, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2), (1 / 2, 1)]):
        assert response[:, round((low + high) / 2 * 256)].argmax() == band


@pytest.mark.parametrize(
    ("forth", "back"),
    [
        (geometric.translate2d(AMOUNT, 2 * AMOUNT), geometric.translate2d(-AMOUNT, -2 * AMOUNT)),
        (geometric.scale2d(AMOUNT.exp2(), -ONE), geometric.scale2d((-AMOUNT).exp2(), -ONE)),
        (geometric.rotate2d(AMOUNT), geometric.rotate2d(-AMOUNT)),
        (geometric.quarter_turn(ONE), geometric.quarter_turn(3 * ONE)),
    ],
    ids=["translate", "scale", "rotate", "quarter"],
)
def test_matrices_undo_each_other(forth: torch.Tensor, back: torch.Tensor):
    torch.testing.assert_close(forth @ back, EYE.expand(3, 3, 3), rtol=0, atol=1e-15)


def test_quarter_turns_are_rotations_of_whole_numbers():
    quarters = torch.arange(4, dtype=torch.float64)
    turned = geometric.quarter_turn(quarters)
    assert torch.equal(turned, turned.round())
    torch.testing.assert_close(turned, geometric.rotate2d(quarters * math.pi / 2), rtol=0, atol=1e-15)


def test_blits_are_whole_and_keep_areas():
    inverse = geometric.blit_inverse(SETS["blit"], drawn(500), 1.0, 16)
    assert torch.equal(inverse, inverse.round())
    assert set(torch.linalg.det(inverse).round().tolist()) == {-1.0, 1.0}
    assert inverse[:, :2, 2].abs().max() == 2  # an eighth of the side


def test_each_scale_changes_areas_as_it_should():
    draws = pinned(1, scale=1.0, aniso=2.0)
    scaled = geometric.general_inverse(AugmentConfig(scale=1, scale_std=0.5), draws, 1.0, 16)
    assert torch.linalg.det(scaled).item() == pytest.approx(0.5)  # sqrt(2) larger, so looked up closer
    stretched = geometric.general_inverse(AugmentConfig(aniso=1, aniso_std=0.5), draws, 1.0, 16)
    assert torch.linalg.det(stretched).item() == pytest.approx(1)
    assert (stretched[0, 0, 0] / stretched[0, 1, 1]).item() == pytest.approx(0.25)


def test_blits_copy_pixels():
    x = noisy(1, 5)
    minus, plus, none = -ONE[:1], ONE[:1], 0 * ONE[:1]
    assert torch.equal(lookup.blit(x, geometric.scale2d(minus, plus)), x.flip(3))
    for count in range(4):
        # Looking up a position turned from x to y turns the image the other way, which is rot90's.
        assert torch.equal(lookup.blit(x, geometric.quarter_turn(count * plus)), x.rot90(count, (2, 3)))
    shifted = lookup.blit(x, geometric.translate2d(-2 * plus, none))
    assert torch.equal(shifted[..., 2:], x[..., :-2])
    assert torch.equal(shifted[..., :2], x[..., [2, 1]])  # reflected, the edge once


@pytest.mark.parametrize("count", range(3))
def test_blits_are_undone_exactly(count: int):
    x, y = noisy(3, 9, seed=count), torch.tensor([2.0, -1.0, 0.0], dtype=torch.float64)
    inverse = geometric.quarter_turn(count * ONE) @ geometric.scale2d(-ONE, ONE)
    assert torch.equal(lookup.blit(lookup.blit(x, inverse), inverse.inverse()), x)
    back = lookup.blit(lookup.blit(x, geometric.translate2d(-y, y)), geometric.translate2d(y, -y))
    assert torch.equal(back[..., 2:-2, 2:-2], x[..., 2:-2, 2:-2])


@pytest.mark.parametrize("side", [16, 40])
def test_resampling_by_the_identity_or_whole_pixels_changes_nothing(side: int):
    x = noisy(3, side).double()
    torch.testing.assert_close(lookup.warp(x, EYE.expand(3, 3, 3), lookup.sym6()), x, rtol=0, atol=1e-6)
    shift = geometric.translate2d(torch.tensor([3.0, 0.0, -5.0], dtype=torch.float64), -ONE)
    warped = lookup.warp(x, shift, lookup.sym6())
    torch.testing.assert_close(warped, lookup.blit(x, shift), rtol=0, atol=1e-6)


def test_resampling_turns_and_flips_as_copying_does():
    # 0.2 where positions count from the middle of the taps: the half turn then shifts by 0.4 pixels.
    x = smooth(3, 32)
    for inverse in (geometric.scale2d(-ONE, ONE), *(geometric.quarter_turn(k * ONE) for k in (1, 2, 3))):
        error = lookup.warp(x, inverse, lookup.sym6()) - lookup.blit(x, inverse)
        assert error.abs().max() < 0.015


@pytest.mark.parametrize(
    "inverse",
    [
        geometric.rotate2d(AMOUNT),
        geometric.scale2d((0.1 * AMOUNT).exp2(), (-0.1 * AMOUNT).exp2()),
        geometric.translate2d(AMOUNT, 0.3 * AMOUNT),
    ],
    ids=["rotate", "scale", "translate"],
)
def test_resampling_is_undone_by_its_inverse(inverse: torch.Tensor):
    x = smooth(3, 32, cutoff=0.1)
    back = lookup.warp(lookup.warp(x, inverse, lookup.sym6()), inverse.inverse(), lookup.sym6())
    assert (back - x)[..., 6:-6, 6:-6].abs().max() < 0.02
    assert (lookup.warp(x, inverse, lookup.sym6()) - x).abs().max() > 0.1


def test_a_shift_moves_to_the_right_and_down():
    x = smooth(1, 32, cutoff=0.08)
    inverse = geometric.general_inverse(AugmentConfig(xfrac=1), pinned(1, xfrac_x=0.5, xfrac_y=1.0), 1.0, 32)
    moved = lookup.warp(x, inverse, lookup.sym6())
    torch.testing.assert_close(moved[..., 4:, 2:], x[..., :-4, :-2], rtol=0, atol=1e-6)


def test_what_lies_outside_is_the_reflection():
    x = noisy(1, 8).double()
    shift = geometric.translate2d(-3 * ONE[:1], 0 * ONE[:1])
    shifted = lookup.warp(x, shift, lookup.sym6())
    torch.testing.assert_close(shifted[..., :3], x[..., [3, 2, 1]], rtol=0, atol=1e-6)


def test_both_ways_of_doubling_agree(monkeypatch: pytest.MonkeyPatch):
    x, starts = noisy(2, 12).double(), torch.tensor([[-11, 3], [-2, -8]])
    dense = lookup.double(x, starts, (20, 16), lookup.sym6())
    monkeypatch.setattr(lookup, "_DENSE_TO", 0)
    filtered = lookup.double(x, starts, (20, 16), lookup.sym6())
    assert filtered.shape == (2, 3, 42, 50)
    inner = (..., slice(10, -10), slice(10, -10))
    torch.testing.assert_close(filtered[inner], dense[inner], rtol=0, atol=1e-6)


def test_lookups_have_derivatives_of_second_order():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, 5, 6, generator=rng, dtype=torch.float64, requires_grad=True)
    grid = torch.rand(2, 4, 3, 2, generator=rng, dtype=torch.float64) * 2.4 - 1.2
    assert torch.autograd.gradcheck(lambda x: lookup.lookup(x, grid), (x,))
    assert torch.autograd.gradgradcheck(lambda x: lookup.lookup(x, grid).square(), (x,))


def test_both_adjoints_of_lookup_agree():
    rng = torch.Generator().manual_seed(0)
    grid = torch.rand(3, 6, 5, 2, generator=rng, dtype=torch.float64) * 2.6 - 1.3
    x = torch.randn(3, 2, 7, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    found = lookup.lookup(x, grid)
    grad = torch.randn(found.shape, generator=rng, dtype=torch.float64)
    (expected,) = torch.autograd.grad(found, x, grad)
    torch.testing.assert_close(lookup.scatter(grad, grid, x.shape), expected)
