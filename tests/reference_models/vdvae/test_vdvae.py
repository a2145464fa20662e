"""VDVAE: what its network and its answers have to satisfy, whatever the weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from evalkit.errors import UsageError
from reference_models.catalog import build
from reference_models.layers.draws import SeedDraws
from reference_models.vdvae import objective
from reference_models.vdvae.config import NetworkConfig
from reference_models.vdvae.evaluate import Model
from reference_models.vdvae.model import Network

COLOUR = NetworkConfig(
    img_resolution=8,
    enc_blocks="8x1,8d2,4x1,4d4,1x1",
    dec_blocks="1x1,4m1,8m4,8x1",
    width=8,
    custom_width_str="4:12,1:16",
    zdim=3,
    num_mixtures=2,
    no_bias_above=4,
)
GREY = replace(COLOUR, img_channels=1)
FIVE = replace(COLOUR, low_bit=True)
SEEDS = np.arange(5)


def network_of(config: NetworkConfig, *, perturbed: bool = True) -> Network:
    """A network whose prior, biases and gains are not those of the start."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Network(config).eval()
        if perturbed:
            with torch.no_grad():
                for value in network.parameters():
                    value.add_(torch.randn_like(value), alpha=0.1)
    return network.requires_grad_(False)


def model_of(config: NetworkConfig = COLOUR) -> Model:
    return Model(network_of(config), name="small")


def images_of(config: NetworkConfig, num: int = 5) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    shape = (num, config.img_channels, config.img_resolution, config.img_resolution)
    return torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)


@pytest.mark.parametrize("config", [COLOUR, GREY, FIVE], ids=["colour", "grey", "5bit"])
def test_answers_depend_on_image_and_seed_alone(config: NetworkConfig):
    model, images = model_of(config), images_of(config)
    for ask in (model.nats, model.log_weights):
        together = ask(images, seeds=SEEDS)
        assert together.dtype == torch.float64
        assert torch.equal(ask(images[2:3], seeds=SEEDS[2:3]), together[2:3])
        assert torch.equal(ask(images.flip(0), seeds=SEEDS[::-1].copy()), together.flip(0))
        assert not torch.equal(ask(images, seeds=SEEDS + 100), together)
    samples = model.sample(SEEDS)
    assert samples.shape == (5, 3, 8, 8)
    assert samples.dtype == torch.uint8
    assert torch.equal(model.sample(SEEDS[3:]), samples[3:])
    assert len({bytes(each.numpy()) for each in samples}) == 5


def test_bound_is_the_mean_of_minus_log_weights():
    # E_q[-ln w] is the bound; the analytic KL only takes noise away.
    model = model_of()
    images = images_of(COLOUR, 2).repeat_interleave(200, dim=0)
    seeds = np.arange(400)
    drawn, bound = -model.log_weights(images, seeds=seeds), model.nats(images, seeds=seeds)
    for part in (slice(0, 200), slice(200, 400)):
        apart = (drawn - bound)[part]
        assert abs(float(apart.mean())) < 4 * float(apart.std()) / np.sqrt(200)
        assert float(apart.std()) > 0


def test_importance_weighting_tightens_the_bound():
    model, num = model_of(), 64
    images = images_of(COLOUR, 1).expand(num, -1, -1, -1)
    weights = model.log_weights(images, seeds=np.arange(num))
    tightened = -(torch.logsumexp(weights, 0) - np.log(num))
    assert float(tightened) < float(-weights.mean())


def test_prior_begins_as_a_standard_normal():
    network = network_of(COLOUR, perturbed=False)
    eps = network.draw(SeedDraws(SEEDS))
    output = network(objective.inputs(images_of(COLOUR), COLOUR), eps)
    assert all(
        bool((latent.p_mean == 0).all() and (latent.p_logsigma == 0).all()) for latent in output.latents
    )


def test_five_bits_are_all_that_the_likelihood_sees():
    images = images_of(FIVE)
    floored = images // 8 * 8
    assert torch.equal(objective.targets(images, FIVE), objective.targets(floored, FIVE))
    assert not torch.equal(objective.inputs(images, FIVE), objective.inputs(floored, FIVE))
    assert float(objective.targets(images, FIVE).max()) < 0.95
    model = model_of(FIVE)
    # The encoder of the release sees all 8 bits, so that what it is given may not be floored before.
    assert (model.likelihood["bits"], model.likelihood["floors_itself"]) == (5, True)
    assert not torch.equal(model.nats(images, seeds=SEEDS), model.nats(floored, seeds=SEEDS))


def test_latents_that_are_given_are_kept():
    network = network_of(COLOUR)
    eps = network.draw(SeedDraws(SEEDS))
    output = network(objective.inputs(images_of(COLOUR), COLOUR), eps)
    given = [latent.z for latent in output.latents]
    # All latents of a reconstruction give its very mixture; with the first ones alone the rest is drawn.
    torch.testing.assert_close(network.generate([], given=given), output.params)
    rest = network.draw(SeedDraws(SEEDS), skip=2)
    assert len(rest) == len(given) - 2
    partly = network.generate(rest, given=given[:2], temperature=0.1)
    assert not torch.allclose(partly, output.params)
    # Without temperature all is decided by what was given.
    others = network.draw(SeedDraws(SEEDS + 10), skip=2)
    cold = [network.generate(each, given=given[:2], temperature=0.0) for each in (rest, others)]
    assert torch.equal(*cold)


def test_temperatures_of_blocks():
    network = network_of(COLOUR)
    eps = network.draw(SeedDraws(SEEDS))
    assert torch.equal(network.generate(eps, temperature=0.7), network.generate(eps, temperature=[0.7] * 4))
    changed = network.generate(eps, temperature=[0.7, 0.7, 0.7, 0.1])
    assert not torch.equal(network.generate(eps, temperature=0.7), changed)
    with pytest.raises(ValueError, match="2 temperatures for 4 blocks; give one, or one a block"):
        network.generate(eps, temperature=[1.0, 0.5])


def test_a_temperature_is_a_setting_of_sampling():
    model = model_of()
    cold = model.with_sampling(temperature=0.0)
    # The mixture still draws, but no latent does: its parameters are the same for all seeds.
    assert not torch.equal(cold.sample(SEEDS), model.sample(SEEDS))
    assert cold.identity != model.identity
    with pytest.raises(UsageError, match="temperature is -1"):
        model.with_sampling(temperature=-1)
    with pytest.raises(UsageError, match=r"setting 'temprature' of sampling \(nearest: temperature\)"):
        model.with_sampling(temprature=0.5)


def test_images_of_another_shape_or_type_are_refused():
    model = model_of()
    with pytest.raises(UsageError, match=r"it takes uint8 of shape \(n, 3, 8, 8\)"):
        model.nats(images_of(GREY), seeds=SEEDS)
    with pytest.raises(UsageError, match="levels, not floats"):
        model.nats(images_of(COLOUR).float(), seeds=SEEDS)


def test_images_in_the_unit_range_are_scaled_from_there():
    config = replace(
        COLOUR, unit_range=True, input_shift=-0.5, input_scale=4.0, loss_shift=-0.5, loss_scale=2.0
    )
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert objective.inputs(images, config).flatten().tolist() == pytest.approx([-2, -1.2, 2])
    assert objective.targets(images, config).flatten().tolist() == pytest.approx([-1, -0.6, 1])


def test_random_weights_by_name():
    model = build("vdvae", preset="tiny", seed=1)
    assert model.name == "vdvae:tiny-random@1"
    assert model.resolution == model.network.config.img_resolution
    assert torch.equal(model.sample(SEEDS), build("vdvae", preset="tiny", seed=1).sample(SEEDS))
