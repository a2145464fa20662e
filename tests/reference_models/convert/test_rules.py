"""Conversion is total: whatever does not fit is listed, and what fits goes both ways."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.errors import CheckpointError
from reference_models.convert.rules import Rule, check_total, to_ours, to_theirs

RULES = (
    Rule("{r}x{r}/{layer}/weight", "blocks.{r}.{layer}.weight", permute=(3, 2, 0, 1), flip=(2, 3)),
    Rule("Dense{i}/weight", "dense{i}.weight", permute=(1, 0)),
    Rule("Dense{i}/bias", "dense{i}.bias"),
)


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


def test_rules_go_both_ways():
    rng = np.random.default_rng(0)
    theirs = {
        "16x16/Conv0_up/weight": rng.normal(size=(3, 2, 5, 4)),
        "Dense0/weight": rng.normal(size=(6, 7)),
        "Dense0/bias": rng.normal(size=7),
    }
    ours = to_ours(theirs, RULES, "m")
    assert {name: array.shape for name, array in ours.items()} == {
        "blocks.16.Conv0_up.weight": (4, 5, 3, 2),
        "dense0.weight": (7, 6),
        "dense0.bias": (7,),
    }
    assert ours["blocks.16.Conv0_up.weight"][1, 2, 0, 1] == theirs["16x16/Conv0_up/weight"][2, 0, 2, 1]
    back = to_theirs(ours, RULES, "m")
    assert back.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize(
    "name", ["16x32/Conv/weight", "Dense0/weights", "x/16x16/Conv/weight", "Dense/a/bias"]
)
def test_an_unknown_name_is_listed(name: str):
    given = {name: np.zeros((2, 3)), "Dense1/bias": np.zeros(2), "other": np.zeros(4)}
    message = rf"cannot be converted for m; names that it does not know: {name} \[2, 3\], other \[4\]\."
    with pytest.raises(CheckpointError, match=message):
        to_ours(given, RULES, "m")


def test_names_that_meet_and_wrong_axes_are_listed():
    rules = (*RULES, Rule("Alias{i}/bias", "dense{i}.bias"))
    given = {"Dense0/bias": np.zeros(2), "Alias0/bias": np.zeros(2), "Dense0/weight": np.zeros(3)}
    message = (
        r"names that meet: Alias0/bias \(both become dense0.bias\); "
        r"tensors with another number of axes: Dense0/weight \[3\]"
    )
    with pytest.raises(CheckpointError, match=message):
        to_ours(given, rules, "m")


def test_a_rule_that_cannot_be_undone_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="other fields"):
        Rule("{a}/{b}", "{a}")
    with pytest.raises(ValueError, match="no order of axes"):
        Rule("a", "b", permute=(0, 2))
