"""What models offer is told by their shape, and a metric that needs more says so."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.adapters.capabilities import need, offers
from evalkit.errors import UsageError


class Sampler:
    name, resolution, num_classes = "sampler", 8, 0

    def sample(self, seeds, labels=None): ...


class Latent(Sampler):
    name = "progan"

    def latents(self, seeds): ...

    def map(self, z, labels=None, *, truncation_psi=1.0, truncation_cutoff=None): ...

    def synthesise(self, w, *, noise_seeds=None): ...


class Movable(Latent):
    name, num_classes = "movable", 10

    def synthesise(self, w, *, noise_seeds=None, transform=None): ...


class Restorer:
    name, scale, stochastic, temperature, identity = "double", 2, False, None, None

    def restore(self, image, *, seeds, temperature=None): ...


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Sampler(), ("Samples",)),
        (Latent(), ("Samples", "HasLatents")),
        (Movable(), ("Samples", "HasLatents", "Transformable", "Conditional")),
        (Restorer(), ("Restores",)),
        (object(), ()),
    ],
)
def test_offers(model: object, names: tuple[str, ...]):
    assert offers(model) == names


def test_a_missing_capability_is_said():
    need(Movable(), "Transformable", "eqt50k_int")
    message = "eqt50k_int needs a model whose input can be transformed; progan offers: Samples, HasLatents"
    with pytest.raises(UsageError, match=f"^{message}$"):
        need(Latent(), "Transformable", "eqt50k_int")
    with pytest.raises(
        UsageError, match="fid needs a model that draws images from seeds; object offers: nothing"
    ):
        need(object(), "Samples", "fid")
    with pytest.raises(UsageError, match="whose images are drawn by label"):
        need(Latent(), "Conditional", "class_fid")
    with pytest.raises(UsageError, match="psnr_y needs a model that turns low-resolution images into high-"):
        need(Sampler(), "Restores", "psnr_y")
    with pytest.raises(UsageError, match="fid needs a model that draws .*; double offers: Restores"):
        need(Restorer(), "Samples", "fid")
    with pytest.raises(UsageError, match="whose latents can be mapped"):
        need(Sampler(), "HasLatents", "ppl")
    with pytest.raises(UsageError, match=r"unknown capability 'Sample' \(nearest: Samples\)"):
        need(Sampler(), "Sample", "fid")


@pytest.mark.parametrize("name", ["progan", "stylegan", "stylegan2", "stylegan3"])
def test_reference_models_offer_what_they_say(name: str):
    from reference_models.catalog import build

    model = build(name, preset="tiny")
    expected = ("Samples", "HasLatents") + (() if name == "progan" else ("Transformable",))
    assert offers(model) == expected
    assert model.sample(np.array([3, 1], np.int64)).shape == (2, 3, 32, 32)
