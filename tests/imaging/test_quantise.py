"""The rounding rule: truncation, clipping, both ranges, both array kinds, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evalkit.errors import SourceError, UsageError
from evalkit.imaging.quantise import to_uint8


def test_signed_range_truncates_as_stylegan3():
    values = np.array([-1.5, -1.0, -0.999, -1 / 127.5, 0.0, 0.0079, 0.99, 1.0, 7.0], np.float32)
    want = [0, 0, 0, 127, 128, 129, 254, 255, 255]
    assert to_uint8(values).tolist() == want
    assert to_uint8(torch.from_numpy(values)).tolist() == want


def test_unit_range_truncates():
    values = np.array([-0.1, 0.0, 0.5, 0.99999, 1.0, 1.2], np.float32)
    assert to_uint8(values, "unit").tolist() == [0, 0, 127, 254, 255, 255]


@pytest.mark.parametrize("value_range", ["signed", "unit"])
def test_numpy_and_torch_agree(value_range):
    values = np.random.default_rng(0).uniform(-1.2, 1.2, 10_000).astype(np.float32)
    tensor = to_uint8(torch.from_numpy(values), value_range)
    assert np.array_equal(to_uint8(values, value_range), tensor.numpy())


def test_every_grey_level_survives_a_round_trip():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_uint8((levels.astype(np.float32) - 127.5) / 127.5), levels)


def test_half_precision_is_widened_first():
    values = torch.linspace(-1, 1, 257).half()
    assert torch.equal(to_uint8(values), to_uint8(values.float()))
    assert np.array_equal(to_uint8(values.numpy()), to_uint8(values.float().numpy()))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_without_a_grey_level_are_refused(bad):
    for images in (np.array([0.0, bad], np.float32), torch.tensor([0.0, bad])):
        with pytest.raises(SourceError, match="NaN or infinite values, which have no grey level"):
            to_uint8(images)


def test_integers_and_unknown_ranges_are_refused():
    for images in (np.zeros(3, np.uint8), torch.zeros(3, dtype=torch.uint8)):
        with pytest.raises(UsageError, match=r"uint8 cannot be rounded to uint8; give floats in \[-1, 1\]"):
            to_uint8(images)
    with pytest.raises(UsageError, match=r"unknown value range 'sign' .nearest: signed"):
        to_uint8(np.zeros(3), "sign")
