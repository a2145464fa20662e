"""Sets of augmentations, and numbers that no augmentation can have."""

from __future__ import annotations

import pytest

from evalkit.errors import UsageError
from reference_models.training.augmentation.config import BLIT, COLOR, GEOM, SETS, AugmentConfig


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("xflip", -0.1, r"augmentation: xflip is -0.1; give a number of 0 \(off\) or more"),
        ("hue", float("nan"), "hue is nan; give a number of 0"),
        ("scale_std", float("inf"), "scale_std is inf; give a number of 0"),
        ("noise", "1", "noise is '1'; give a number of 0"),
        ("noise", True, "noise is True; give a number of 0"),
        ("xint_max", 1.5, "xint_max is 1.5; give a number from 0 to 1"),
        ("cutout_size", -1, "cutout_size is -1; give a number from 0 to 1"),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, value: object, words: str):
    with pytest.raises(UsageError, match=words):
        AugmentConfig(**{name: value})


def test_sets_turn_on_what_their_letters_say():
    assert AugmentConfig(**{name: 1.0 for name in BLIT + GEOM + COLOR}) == SETS["bgc"]
    parts = ("blit", "geom", "color", "filter", "noise", "cutout")
    whole = SETS["bgcfnc"]
    for name in ("xflip", "rotate", "lumaflip", "imgfilter", "noise", "cutout"):
        assert getattr(whole, name) == 1
        assert sum(getattr(SETS[part], name) for part in parts) == 1
    for length in range(2, 6):
        assert whole != SETS["bgcfnc"[:length]]
