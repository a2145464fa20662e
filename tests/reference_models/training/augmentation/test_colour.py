"""Colour matrices: invertible, what each does to luma and chroma, grey images."""

from __future__ import annotations

import pytest
import torch
from augment_cases import drawn, noisy, pinned

from evalkit.errors import UsageError
from reference_models.training.augmentation import colour
from reference_models.training.augmentation.config import SETS, AugmentConfig

EYE = torch.eye(4, dtype=torch.float64)
AMOUNT = torch.tensor([0.3, -1.2, 2.9], dtype=torch.float64)


def one(**values: float) -> torch.Tensor:
    """The matrix of one augmentation, given its name and the names and values of draws."""
    name = next(iter(values))
    return colour.colour_matrix(AugmentConfig(**{name: 1.0}), pinned(1, **values), 1.0)[0]


@pytest.mark.parametrize("make", [colour.translate3d, colour.rotate_hue])
def test_matrices_undo_each_other(make):
    torch.testing.assert_close(make(AMOUNT) @ make(-AMOUNT), EYE.expand(3, 4, 4), rtol=0, atol=1e-14)


def test_scaling_undoes_itself_by_the_inverse_factor():
    both = colour.scale3d(AMOUNT) @ colour.scale3d(1 / AMOUNT)
    torch.testing.assert_close(both, EYE.expand(3, 4, 4))


def test_every_matrix_is_invertible_and_undone_by_its_inverse():
    draws = drawn(400)
    made = colour.colour_matrix(SETS["color"], draws, 1.0)
    contrast = torch.exp2(0.5 * draws.normal("contrast"))
    saturation = torch.exp2(draws.normal("saturation"))
    sign = torch.where(draws.uniform("lumaflip") >= 0.5, -1.0, 1.0)
    torch.testing.assert_close(torch.linalg.det(made), sign * contrast**3 * saturation**2)
    x = noisy(400, 4).double()
    back = colour.recolour(colour.recolour(x, made), made.inverse())
    torch.testing.assert_close(back, x, rtol=0, atol=1e-10)


def test_each_does_what_its_name_says():
    red = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    white = torch.ones(4, dtype=torch.float64)

    def rgb(*channels: float) -> torch.Tensor:
        return torch.tensor([*channels, 1.0], dtype=torch.float64)

    torch.testing.assert_close(one(brightness=1.5) @ red, rgb(1.3, 0.3, 0.3))
    torch.testing.assert_close(one(contrast=2.0) @ red, rgb(2, 0, 0))
    torch.testing.assert_close(one(lumaflip=0.5) @ red, rgb(1 / 3, -2 / 3, -2 / 3))
    torch.testing.assert_close(one(lumaflip=0.49), EYE)
    torch.testing.assert_close(one(hue=5 / 6) @ red, rgb(0, 1, 0))  # a third of a turn: red is green
    torch.testing.assert_close(one(hue=5 / 6) @ white, white)
    torch.testing.assert_close(one(saturation=1.0) @ red, rgb(5 / 3, -1 / 3, -1 / 3))
    torch.testing.assert_close(one(saturation=1.0) @ white, white)


def test_grey_images_change_as_coloured_ones_without_colour():
    made = colour.colour_matrix(SETS["color"], drawn(50), 1.0)
    grey = noisy(50, 4, channels=1).double()
    coloured = colour.recolour(grey.expand(-1, 3, -1, -1).contiguous(), made)
    torch.testing.assert_close(colour.recolour(grey, made), coloured.mean(dim=1, keepdim=True))
    unseen = colour.colour_matrix(AugmentConfig(hue=1, saturation=1), drawn(50), 1.0)
    torch.testing.assert_close(colour.recolour(grey, unseen), grey)


def test_other_channels_are_refused():
    with pytest.raises(UsageError, match=r"images of 1 or 3 channels; these have 4: choose the set 'bg'"):
        colour.recolour(noisy(1, 4, channels=4), EYE[None])
