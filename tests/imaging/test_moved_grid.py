"""A grid of features read elsewhere."""

from __future__ import annotations

import pytest
import torch

from evalkit.errors import UsageError
from evalkit.imaging.moved_grid import moved_grid


def shift(tx: float, ty: float) -> torch.Tensor:
    """The inverse transform of a picture that moves by these shares, right and down."""
    return torch.tensor([[1.0, 0.0, -tx], [0.0, 1.0, -ty], [0.0, 0.0, 1.0]])


def test_the_identity_is_exact():
    grid = torch.randn(2, 3, 4, 5)
    assert moved_grid(grid, torch.eye(3)) is grid


def test_a_shift_by_whole_cells_copies_and_continues_the_border():
    grid = torch.randn(2, 3, 4, 4)
    moved = moved_grid(grid, shift(0.25, 0.0))
    torch.testing.assert_close(moved[..., 1:], grid[..., :-1])
    torch.testing.assert_close(moved[..., 0], grid[..., 0])
    down = moved_grid(grid, shift(0.0, -0.5))
    torch.testing.assert_close(down[..., :2, :], grid[..., 2:, :])


def test_half_a_cell_is_the_mean_of_two():
    grid = torch.randn(1, 2, 4, 4)
    moved = moved_grid(grid, shift(0.125, 0.0))
    torch.testing.assert_close(moved[..., 1:], (grid[..., 1:] + grid[..., :-1]) / 2)


def test_a_quarter_turn_turns():
    grid = torch.randn(1, 2, 4, 4)
    # The place (x, y) shows what lies at (-y, x).
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(
        moved_grid(grid, quarter), torch.rot90(grid, 1, dims=(2, 3)), atol=1e-5, rtol=0
    )


def test_another_shape_is_refused():
    with pytest.raises(
        UsageError, match=r"a transform of a grid of features has shape \(3, 3\); given is \(2, 3\)"
    ):
        moved_grid(torch.zeros(1, 1, 4, 4), torch.zeros(2, 3))
