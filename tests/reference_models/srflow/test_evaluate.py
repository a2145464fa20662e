"""SRFlow as evaluations ask it: images by seed and temperature, odd sizes, likelihoods; and Glow."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import evalkit
import reference_models
from evalkit.adapters.capabilities import offers
from evalkit.errors import UsageError
from reference_models.layers.flow import ActNorm
from reference_models.srflow.evaluate import Restoration

SMALL = {"nf": 4, "nb": 2, "gc": 2, "blocks": (0, 1), "K": 1, "hidden": 4}


def model_of(preset: str = "tiny", **more: object) -> object:
    sizes = SMALL if preset == "tiny" else {"K": 1, "hidden": 4}
    model = reference_models.build("srflow", preset=preset, **{**sizes, **more})
    # Fresh couplings and splits are identities; what is tested must not hang on that.
    drawn = torch.Generator().manual_seed(3)
    for parameter in model.network.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=drawn))
    return model


@pytest.fixture(scope="module")
def model() -> Restoration:
    return model_of()


def small_image(*size: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (3, *(size or (4, 4)))).astype(np.uint8))


SEEDS = np.array([4, 7, 2**62, 7, 0, 9])


def test_what_the_networks_offer(model):
    assert offers(model) == ("Restores",)
    assert (model.scale, model.stochastic, model.temperature) == (4, True, 0.9)
    assert set(offers(model_of("tiny-glow"))) == {"Samples", "HasLikelihood"}


@pytest.mark.parametrize("size", [(4, 4), (5, 4), (2, 7), (1, 3), (20, 20)])
def test_a_sample_depends_on_image_seed_and_temperature_alone(model, size):
    image = small_image(*size)
    together = model.restore(image, seeds=SEEDS)
    assert together.shape == (6, 3, 4 * size[0], 4 * size[1])
    assert together.dtype == torch.float32
    assert torch.equal(together[1], together[3])
    assert not torch.equal(together[0], together[1])
    for place in (0, 2, 5):
        alone = model.restore(image, seeds=SEEDS[place : place + 1], temperature=0.9)
        assert torch.equal(alone[0], together[place])
    assert not torch.equal(model.restore(image, seeds=SEEDS, temperature=0.8), together)
    assert model.restore(image, seeds=SEEDS[:0]).shape == (0, 3, 4 * size[0], 4 * size[1])


def test_odd_sides_are_reflected_and_the_margin_is_cut_off(model):
    image = small_image(5, 4)
    padded = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 1), (0, 0)), "reflect"))
    whole = model.restore(padded, seeds=SEEDS)
    assert torch.equal(model.restore(image, seeds=SEEDS), whole[:, :, :20])


def test_at_temperature_0_all_seeds_are_one_image(model):
    image = small_image()
    found = model.restore(image, seeds=SEEDS, temperature=0)
    assert found.shape == (6, 3, 16, 16)
    assert bool((found == found[:1]).all())
    latents = [torch.zeros(1, *shape) for shape in model.network.config.latent_shapes(16, 16)]
    mean = model.network.decode(latents, image[None].float() / 255)
    torch.testing.assert_close(found[:1], mean, atol=1e-5, rtol=1e-5)


def test_spread_grows_with_the_temperature(model):
    image = small_image()
    spread = [
        float(model.restore(image, seeds=SEEDS, temperature=each).std(0).mean()) for each in (0, 0.3, 0.6, 1)
    ]
    assert spread[0] == 0
    assert spread == sorted(set(spread))


def test_overflow_is_returned_as_it_is():
    model = model_of()
    norm = next(each for each in model.network.modules() if isinstance(each, ActNorm))
    norm.logs.fill_(-200.0)
    found = model.restore(small_image(), seeds=SEEDS)
    assert not bool(found.isfinite().all())


@pytest.mark.parametrize(
    ("image", "seeds", "temperature", "words"),
    [
        (small_image().float(), SEEDS, None, r"type torch.float32 .* levels, not floats"),
        (small_image()[None], SEEDS, None, r"shape \(1, 3, 4, 4\); it restores uint8 of shape \(3, h, w\)"),
        (small_image(), SEEDS - 5, None, "seeds go from 0"),
        (small_image(), SEEDS, -0.1, "temperature is -0.1; give 0 or more"),
        (small_image(), SEEDS, math.inf, "temperature is inf; give 0 or more"),
    ],
)
def test_what_it_cannot_restore(model, image, seeds, temperature, words):
    with pytest.raises(UsageError, match=words):
        model.restore(image, seeds=seeds, temperature=temperature)


def test_conditional_nats_are_those_of_the_network_pair_by_pair(model):
    rng = torch.Generator().manual_seed(0)
    hr = torch.rand(6, 3, 16, 24, generator=rng, dtype=torch.float64)
    lr = torch.randint(0, 256, (6, 3, 4, 6), generator=rng).to(torch.uint8)
    found = model.conditional_nats(hr, lr)
    assert (found.dtype, found.shape) == (torch.float64, (6,))
    wanted = -model.network.log_prob(hr.float(), lr.float() / 255)
    torch.testing.assert_close(found, wanted.double(), rtol=1e-4, atol=1e-2)
    assert torch.equal(model.conditional_nats(hr[4:5], lr[4:5]), found[4:5])
    assert model.conditional_nats(hr[:0], lr[:0]).shape == (0,)
    with pytest.raises(UsageError, match=r"give floats \(n, 3, H, W\) in \[0, 1\] and uint8 images of 1/4"):
        model.conditional_nats(hr, lr[:, :, :3])
    with pytest.raises(UsageError, match="24x20 cannot be encoded; sides are multiples of 8"):
        model.conditional_nats(torch.zeros(1, 3, 20, 24), torch.zeros(1, 3, 5, 6, dtype=torch.uint8))


def test_a_grey_network_takes_grey_images_alone():
    model = model_of(img_channels=1)
    grey = small_image()[:1].repeat(3, 1, 1)
    found = model.restore(grey, seeds=SEEDS[:2])
    assert found.shape == (2, 3, 16, 16)
    assert torch.equal(found[:, 0], found[:, 2])
    with pytest.raises(UsageError, match="is of grey images and was given coloured ones"):
        model.restore(small_image(), seeds=SEEDS[:2])
    with pytest.raises(UsageError, match="has a density of grey images, .* ask network.log_prob for it"):
        model.conditional_nats(torch.zeros(1, 3, 16, 16), grey[None])


def test_a_checkpoint_of_ours_is_the_same_model(tmp_path: Path):
    model = model_of()
    path = reference_models.save_checkpoint(model, tmp_path / "srflow.safetensors")
    again = reference_models.load_checkpoint(path)
    image = small_image()
    assert again.network.config == model.network.config
    assert torch.equal(again.restore(image, seeds=SEEDS), model.restore(image, seeds=SEEDS))


def test_an_official_state_dict_is_a_model_by_its_path(tmp_path: Path):
    model = reference_models.build("srflow")  # sizes are those of a preset, since the file does not say them
    path = reference_models.export_state_dict(model, tmp_path / "srflow.pth")
    again = reference_models.load_checkpoint(path)
    image = small_image()
    assert torch.equal(again.restore(image, seeds=SEEDS), model.restore(image, seeds=SEEDS))


def test_glow_samples_levels_and_has_an_exact_density():
    model = model_of("tiny-glow", img_resolution=16)
    images = model.sample(np.arange(3))
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (3, 3, 16, 16))
    assert torch.equal(model.sample(np.array([2]))[0], images[2])
    noisy = (images.double() + 0.5) / 256
    seeds = np.arange(3)
    found = model.nats(noisy, seeds=seeds)
    torch.testing.assert_close(
        found, -model.network.log_prob(noisy.float(), None).double(), rtol=1e-4, atol=1e-2
    )
    assert torch.equal(model.log_weights(noisy, seeds=seeds), -found)
    with pytest.raises(UsageError, match="takes floats of shape .*: levels with noise on the scale of its"):
        model.nats(images, seeds=seeds)


def test_glow_is_measured_in_bits():
    model = model_of("tiny-glow", img_resolution=32)
    (record,) = evalkit.evaluate(
        model=model, data="bundled:digits:test", metrics="bpd_exact", num=8, output=None, device="cpu"
    )
    assert record.value is not None
    assert math.isfinite(record.value)
