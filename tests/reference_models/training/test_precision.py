"""Types of first-order passes."""

from __future__ import annotations

import pytest
import torch

from reference_models.training.precision import PrecisionPolicy

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_products_run_in_the_type_that_was_asked_for(name, dtype):
    x = torch.ones(4, 4)
    with PrecisionPolicy(name).first_order(CPU):
        assert (x @ x).dtype == dtype
    assert (x @ x).dtype == torch.float32


def test_weights_and_gradients_stay_float32():
    layer = torch.nn.Linear(4, 4)
    with PrecisionPolicy("bf16").first_order(CPU):
        loss = layer(torch.ones(2, 4)).float().sum()
    loss.backward()
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32


def test_only_float16_scales_the_loss():
    assert [PrecisionPolicy(name).scales_loss for name in ("float32", "bf16", "fp16")] == [False, False, True]
