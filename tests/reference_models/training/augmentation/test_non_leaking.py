"""Augmentation does not leak below strength 1: its operator on distributions can be inverted.

Paper: Karras et al. 2020 (arXiv:2006.06676), section 2.2 and appendix C. Turns, and mirrorings, form finite
groups. Between the orientations of an image the pipeline is then a circulant (or symmetric) matrix of
transition probabilities, estimated here from images that went through it. A matrix without the eigenvalue 0
is invertible: only the right distribution of originals gives the augmented one. At strength 1 it is singular.
"""

from __future__ import annotations

import math

import pytest
import torch

from reference_models.training.augmentation.config import AugmentConfig
from reference_models.training.augmentation.pipeline import AugmentPipe

COUNT = 20000


def turns(p: float) -> torch.Tensor:
    """How often an image with one light corner comes out with each corner light."""
    x = torch.zeros(COUNT, 1, 2, 2)
    x[:, :, 0, 0] = 1
    y = AugmentPipe(AugmentConfig(rotate90=1))(x, p=p, generator=torch.Generator().manual_seed(1))
    corners = [y[:, 0, row, column] for row, column in ((0, 0), (0, 1), (1, 1), (1, 0))]
    return torch.stack(corners, dim=1).double().mean(dim=0)


@pytest.mark.parametrize("p", [0.3, 0.5, 0.8, 0.95])
def test_the_identity_is_the_only_most_frequent_turn_below_strength_one(p: float):
    frequency = turns(p)
    assert frequency.argmax() == 0
    assert frequency[0] - frequency[1:].max() > 0.8 * (1 - p)
    # The eigenvalues of a circulant matrix are the Fourier transform of its row; all but the first are 1 - p.
    eigenvalues = torch.fft.fft(frequency)
    torch.testing.assert_close(eigenvalues.real[1:], torch.full((3,), 1 - p).double(), rtol=0, atol=0.025)
    assert eigenvalues.abs().min() > 0.02


def test_all_turns_are_as_frequent_at_strength_one():
    frequency = turns(1.0)
    assert (frequency - 0.25).abs().max() < 4 * math.sqrt(0.25 * 0.75 / COUNT)
    assert torch.fft.fft(frequency).abs().min() < 0.025


@pytest.mark.parametrize("name", ["xflip", "lumaflip"])
@pytest.mark.parametrize("p", [0.5, 0.8, 1.0])
def test_mirrorings_can_be_told_from_originals_below_strength_one(name: str, p: float):
    x = torch.tensor([1.0, -1.0]).expand(COUNT, 1, 2, 2)
    y = AugmentPipe(AugmentConfig(**{name: 1}))(x, p=p, generator=torch.Generator().manual_seed(2))
    mirrored = (y[:, 0, 0, 0] < 0).double().mean().item()
    smallest = 1 - 2 * mirrored  # eigenvalue of [[1 - m, m], [m, 1 - m]]
    assert smallest == pytest.approx(1 - p, abs=4 / math.sqrt(COUNT))


def test_two_rotations_together_leave_as_many_images_alone_as_one_would():
    x = torch.rand(3000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = AugmentPipe(AugmentConfig(rotate=1))(x, p=0.7, generator=torch.Generator().manual_seed(3))
    alone = (x == y).flatten(1).all(dim=1).double().mean().item()
    assert alone == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 3000))
