"""Conversion is total: whatever does not fit is listed, and what fits goes both ways."""

from __future__ import annotations

import pytest

from evalkit.errors import CheckpointError
from reference_models.convert.rules import check_total


def test_a_fit_says_nothing():
    check_total({"a": (1, 2)}, {"a": (1, 2)}, "m")


def test_all_that_does_not_fit_is_listed():
    given = {"same": (1,), "extra.x": (3, 4), "extra.y": (), "shape": (2, 3)}
    wanted = {"same": (1,), "gone.a": (5,), "gone.b": (6, 7), "shape": (3, 2)}
    message = (
        r"do not fit m at 8x8; 2 missing: gone.a \[5\], gone.b \[6, 7\]; "
        r"2 left over: extra.x \[3, 4\], extra.y \[\]; "
        r"1 of another shape: shape is \[2, 3\], not \[3, 2\]. Give the checkpoint"
    )
    with pytest.raises(CheckpointError, match=message):
        check_total(given, wanted, "m at 8x8")
