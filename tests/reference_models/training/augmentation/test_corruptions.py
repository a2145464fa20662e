"""Band filters, noise and cutout by their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from augment_cases import drawn, noisy, pinned

from reference_models.training.augmentation import corruptions
from reference_models.training.augmentation.config import AugmentConfig
from reference_models.training.augmentation.wavelets import BAND_POWER

POWER = torch.tensor(BAND_POWER, dtype=torch.float64)


def test_one_band_is_amplified_against_the_others_and_the_power_is_kept():
    for band in range(4):
        gains = corruptions.band_gains(AugmentConfig(imgfilter=1), pinned(1, **{f"band{band}": 1.5}), 1.0)[0]
        others = [gains[k] for k in range(4) if k != band]
        assert (gains[band] / others[0]).item() == pytest.approx(2**1.5)
        assert max(others) == min(others)
        assert (POWER @ gains.square()).item() == pytest.approx(1)


@pytest.mark.parametrize("side", [8, 32])
def test_gains_of_one_change_nothing(side: int):
    x = noisy(2, side).double()
    torch.testing.assert_close(corruptions.amplify(x, torch.ones(2, 4, dtype=torch.float64)), x)


def test_gains_multiply_their_frequencies_and_nothing_else():
    gains = torch.tensor([[2.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    flat = torch.full((1, 1, 16, 16), 0.5, dtype=torch.float64)
    torch.testing.assert_close(corruptions.amplify(flat, gains), 4 * flat)  # once along each axis
    # Stripes along x: the highest frequency there, none along y.
    stripes = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(8).expand(1, 1, 16, 16)
    torch.testing.assert_close(corruptions.amplify(stripes, gains)[..., 8], 2 * stripes[..., 8])
    highest = torch.tensor([[1.0, 1.0, 1.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(corruptions.amplify(stripes, highest)[..., 8], 3 * stripes[..., 8])


def test_noise_is_half_normal_in_strength():
    sigma = corruptions.noise_sigma(AugmentConfig(noise=1), drawn(20000), 1.0)
    assert sigma.min() >= 0
    assert sigma.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.03)
    assert sigma.mean().item() == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.03)


def test_cutout_is_a_square_around_its_centre():
    config = AugmentConfig(cutout=1)
    mask = corruptions.cutout_mask(config, pinned(1, cutout_x=0.5, cutout_y=0.25), 1.0, 8)[0, 0]
    expected = torch.ones(8, 8, dtype=torch.float64)
    expected[0:4, 2:6] = 0
    assert torch.equal(mask, expected)
    corner = corruptions.cutout_mask(config, pinned(1), 1.0, 8)
    assert (1 - corner).sum() == 4  # a quarter of the square is in the image
