"""What all models with a likelihood do alike: settings of sampling, and images that they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reference_models
from evalkit.errors import UsageError
from reference_models.layers.likelihood import LikelihoodModel


@pytest.fixture(scope="module", params=["vdvae", "nvae", "ncp_vae"])
def model(request: pytest.FixtureRequest) -> LikelihoodModel:
    return reference_models.build(request.param)


def test_settings_show_in_name_and_identity(model: LikelihoodModel):
    cold = model.with_sampling(temperature=0.5)
    assert cold.name == f"{model.name} (temperature=0.5)"
    assert cold.identity == f"{model.identity}|temperature=0.5"
    assert model.sampling["temperature"] == 1.0
    same = model.with_sampling(temperature=1.0)
    assert (same.name, same.identity) == (model.name, model.identity)


def test_settings_that_cannot_be(model: LikelihoodModel):
    with pytest.raises(
        UsageError, match=r"has no setting 'temp' of sampling \(nearest: .*temperature\); it has"
    ):
        model.with_sampling(temp=0.5)
    for value in (-1, float("nan"), True, "cold"):
        with pytest.raises(UsageError, match="the temperature is .*; give a number from 0 up"):
            model.with_sampling(temperature=value)


def test_images_it_cannot_judge(model: LikelihoodModel):
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(
        UsageError, match=r"images of type torch.float32 .* takes uint8 of .*levels, not floats"
    ):
        model.nats(images / 255, seeds=np.arange(2))
    with pytest.raises(UsageError, match=r"shape \(2, 3, 8, 8\); it takes uint8 of shape \(n, 1, 8, 8\)"):
        model.nats(images.repeat(1, 3, 1, 1), seeds=np.arange(2))
    with pytest.raises(UsageError, match="2 images were given 3 seeds; give one an image"):
        model.log_weights(images, seeds=np.arange(3))
    with pytest.raises(UsageError, match="seeds go from 0 to"):
        model.nats(images, seeds=np.array([-1, 0]))
    with pytest.raises(UsageError, match="has no classes and was given labels"):
        model.sample(np.arange(2), np.zeros(2, np.int64))
    assert model.nats(images[:0], seeds=np.arange(0)).shape == (0,)
