"""The noise contrastive prior: laws of its loss, its estimates and its answers, whatever the weights."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.errors import CheckpointError, UsageError
from reference_models.catalog import build
from reference_models.convert.configs import config_from_json, config_to_json
from reference_models.layers.draws import BatchDraws, SeedDraws
from reference_models.ncp_vae import prior as ncp
from reference_models.ncp_vae import sampling
from reference_models.ncp_vae.config import PRESETS, ClassifierConfig, FlatVaeConfig, NetworkConfig
from reference_models.ncp_vae.convert import to_official
from reference_models.ncp_vae.evaluate import Model
from reference_models.ncp_vae.model import Network, context_channels
from reference_models.ncp_vae.trainer import with_vae
from reference_models.nvae import config as nvae
from reference_models.nvae.distributions import Normal

SMALL = ClassifierConfig(width=8, depth=1, halvings=1)
FLAT = NetworkConfig(vae=FlatVaeConfig(num_latents=3, width=16, depth=1, num_mixture_dec=2), classifier=SMALL)
DEEP = NetworkConfig(
    img_channels=3,
    vae=nvae.NetworkConfig(
        img_resolution=8,
        num_latent_scales=2,
        num_groups_per_scale=1,
        num_latent_per_group=2,
        num_channels_enc=4,
        num_channels_dec=4,
        num_preprocess_cells=1,
        num_postprocess_cells=1,
        num_mixture_dec=2,
        num_nf=1,
    ),
    classifier=SMALL,
)
MORE = replace(
    DEEP,
    img_resolution=32,
    vae=replace(DEEP.vae, num_latent_scales=3, num_groups_per_scale=3, ada_groups=True),
    classifier=ClassifierConfig(width=8, depth=0, halvings=9),
)
BINARY = NetworkConfig(
    img_resolution=32, vae=FlatVaeConfig(binary=True, num_latents=2, width=8, depth=1), classifier=SMALL
)
ALL = {"flat": FLAT, "deep": DEEP, "binary": BINARY}
SEEDS = np.arange(5)
FEW = {"proposals": 9, "steps": 3, "step_size": 0.1, "partition_draws": 7}


def network_of(config: NetworkConfig, *, knows: bool = True) -> Network:
    """A network whose classifiers say something, or nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = Network(config).eval()
        for classifier in network.classifiers if knows else ():
            torch.nn.init.normal_(classifier.head.weight, std=2.0)
    return network.requires_grad_(False)


def model_of(config: NetworkConfig, *, knows: bool = True, **settings: object) -> Model:
    return Model(network_of(config, knows=knows), name="small").with_sampling(**{**FEW, **settings})


def images_of(config: NetworkConfig, num: int = 5) -> torch.Tensor:
    side = config.pixels.data_side
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num, config.img_channels, side, side), generator=rng, dtype=torch.uint8)


# ---------------------------------------------------------------------------------------------- laws


def test_the_best_classifier_of_two_normals_is_the_difference_of_their_log_densities():
    rng, num = torch.Generator().manual_seed(0), 20_000
    mean, std = 0.7, 0.6
    q = mean + std * torch.randn(num, generator=rng, dtype=torch.float64)
    p = torch.randn(num, generator=rng, dtype=torch.float64)
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def logit(z: torch.Tensor) -> torch.Tensor:
        return weights[0] + weights[1] * z + weights[2] * z**2

    optimiser = torch.optim.LBFGS([weights], max_iter=25, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = ncp.nce_loss(logit(q), logit(p)).total
        loss.backward()
        return loss

    optimiser.step(closure)
    # ln N(z; mean, std^2) - ln N(z; 0, 1) as a polynomial.
    wanted = [-math.log(std) - mean**2 / (2 * std**2), mean / std**2, 0.5 - 1 / (2 * std**2)]
    np.testing.assert_allclose(weights.detach(), wanted, atol=0.1)
    assert float(ncp.log_partition(logit(p).detach()).value) == pytest.approx(0, abs=0.02)


def test_a_classifier_that_knows_nothing_loses_two_bits():
    loss = ncp.nce_loss(torch.zeros(3, 4), torch.zeros(3, 6))
    np.testing.assert_allclose(loss.total, 2 * math.log(2), rtol=1e-6)


def test_estimates_of_the_partition_function_are_low_by_half_their_variance():
    # r = exp(a z) of standard normal z: ln Z = a^2 / 2.
    a, repeats, rng = 0.5, 20_000, torch.Generator().manual_seed(0)
    bias = {}
    for num in (4, 16, 64):
        estimate = ncp.log_partition(a * torch.randn(repeats, num, generator=rng, dtype=torch.float64))
        bias[num] = float(estimate.value.mean()) - a**2 / 2
        assert bias[num] == pytest.approx(-(math.exp(a**2) - 1) / (2 * num), rel=0.35)
        if num == 64:
            spread = float(estimate.value.std())
            assert float(estimate.standard_error.mean()) == pytest.approx(spread, rel=0.05)
    assert bias[4] < bias[16] < bias[64] < 0


def test_indices_are_drawn_as_often_as_their_weights():
    log_r = torch.tensor([0.0, 1.0, -2.0, 40.0, 39.0, -math.inf])
    uniform = (torch.arange(10_000) + 0.5) / 10_000
    index = ncp.choose_by_uniform(log_r.expand(len(uniform), -1), uniform)
    shares = torch.bincount(index, minlength=6) / len(uniform)
    np.testing.assert_allclose(shares, log_r.softmax(0), atol=2e-4)
    # Whatever is rounded, nothing is out of range.
    log_r, last = torch.randn(3, 5000), torch.full((3,), float(np.nextafter(np.float32(1), np.float32(0))))
    assert int(ncp.choose_by_uniform(log_r, last).max()) < 5000


def test_effective_sample_size_goes_from_one_to_all():
    assert float(ncp.effective_sample_size(torch.full((50,), 300.0))) == pytest.approx(50)
    assert float(ncp.effective_sample_size(torch.tensor([-400.0, 0, -400.0]))) == pytest.approx(1)


def test_langevin_dynamics_keep_the_base_prior_where_nothing_is_reweighted():
    num, shape = 20_000, (1, 1, 1)
    prior = Normal(torch.full((num, *shape), 2.0), torch.full((num, *shape), -1.0))
    draws = BatchDraws(num, torch.Generator().manual_seed(0))
    choose = sampling.by_langevin(lambda group, z, context: 0 * z.sum((1, 2, 3)), draws, 20, 0.05)
    z = choose(0, torch.zeros(num, 0, 1, 1), prior)
    assert float(z.mean()) == pytest.approx(float(prior.mean[0]), abs=0.02)
    # Not corrected for their step, they spread by 1 / (1 - step / 4) at most.
    assert float(z.std()) == pytest.approx(float(prior.sigma[0]), rel=0.03)


def test_proposals_are_weighed_alike_in_parts():
    network = network_of(DEEP)
    (shape, *_), channels = network.latent_shapes, context_channels(DEEP)[0]
    rng = torch.Generator().manual_seed(0)
    context = torch.randn(3, channels, *shape[1:], generator=rng)
    nothing = torch.zeros(3, *shape)
    found = sampling.propose(
        network.log_r, 0, context, Normal(nothing, nothing), torch.randn(3, 2000, *shape, generator=rng)
    )
    assert found.log_r.shape == (3, 2000)
    for row, place in ((0, 0), (1, 999), (2, 1999)):
        alone = network.log_r(0, found.z[row, place][None], context[row][None])
        torch.testing.assert_close(found.log_r[row, place][None], alone, rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
@pytest.mark.parametrize("method", ["sir", "langevin"])
def test_answers_depend_on_image_and_seed_alone(config: NetworkConfig, method: str):
    model, images = model_of(config, method=method), images_of(config)
    assert tuple(model.likelihood["shape"]) == images.shape[1:]
    samples = model.sample(SEEDS)
    assert samples.shape == (5, 3, config.img_resolution, config.img_resolution)
    assert torch.equal(model.sample(SEEDS[3:]), samples[3:])
    assert not torch.equal(model.sample(SEEDS + 10), samples)
    if method == "langevin":
        return
    for ask in (model.nats, model.log_weights):
        together = ask(images, seeds=SEEDS)
        assert torch.equal(ask(images[2:3], seeds=SEEDS[2:3]), together[2:3])
        assert torch.equal(ask(images.flip(0), seeds=SEEDS[::-1].copy()), together.flip(0))
        assert not torch.equal(ask(images, seeds=SEEDS + 100), together)


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
def test_untrained_classifiers_leave_the_base_prior_as_it_is(config: NetworkConfig):
    model, images = model_of(config, knows=False, proposals=1), images_of(config)
    base = model.with_sampling(prior="base")
    assert torch.equal(model.nats(images, seeds=SEEDS), base.nats(images, seeds=SEEDS))
    assert torch.equal(model.log_weights(images, seeds=SEEDS), base.log_weights(images, seeds=SEEDS))
    assert torch.equal(model.sample(SEEDS), base.sample(SEEDS))


def test_trained_ones_do_not():
    model, images = model_of(FLAT), images_of(FLAT)
    base = model.with_sampling(prior="base")
    assert not torch.equal(model.nats(images, seeds=SEEDS), base.nats(images, seeds=SEEDS))
    assert not torch.equal(model.sample(SEEDS), base.sample(SEEDS))
    # One proposal has nothing to choose from.
    assert torch.equal(model.with_sampling(proposals=1).sample(SEEDS), base.sample(SEEDS))


@pytest.mark.parametrize("config", [FLAT, DEEP], ids=["flat", "deep"])
def test_bound_is_that_of_the_base_prior_and_what_classifiers_say(config: NetworkConfig):
    model, images = model_of(config, partition_draws=50), images_of(config)
    network = model.network
    base, found = (m.log_weights(images, seeds=SEEDS) for m in (model.with_sampling(prior="base"), model))
    draws = SeedDraws(SEEDS)
    inference = network.infer(images.float() / 255, draws)
    wanted = base.clone()
    for group, drawn in enumerate(inference.groups):
        wanted += network.log_r(group, drawn.z, drawn.context)
        eps = draws.normal((50, *drawn.z.shape[1:]))
        fresh = drawn.prior.mean[:, None] + drawn.prior.sigma[:, None] * eps
        for image in range(len(images)):
            contexts = drawn.context[image][None].expand(50, -1, -1, -1)
            wanted[image] -= network.log_r(group, fresh[image], contexts).double().exp().mean().log()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-3)


def test_temperature_narrows_proposals():
    model = model_of(FLAT, temperature=0.0, image="mean")
    assert len({bytes(each.numpy()) for each in model.sample(SEEDS)}) == 1


def test_names_say_which_prior():
    model = model_of(FLAT).with_sampling(prior="base")
    assert model.name.endswith("(prior=base)")
    assert "prior=base" in model.identity


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": "bace"}, r"prior is 'bace' \(nearest: base"),
        ({"method": "mala"}, r"method is 'mala'.*accepted are sir, langevin"),
        ({"image": "mode"}, r"image is 'mode'.*accepted are sample, mean"),
        ({"proposals": 0}, r"proposals is 0; give a whole number from 1"),
        ({"steps": 2.5}, r"steps is 2.5; give a whole number"),
        ({"partition_draws": -1}, r"partition_draws is -1; give a whole number from 1"),
        ({"step_size": 0}, r"step_size is 0; give a number above 0"),
        ({"temperature": -1.0}, r"temperature is -1.0; give a number from 0 up"),
        ({"method": "langevin", "temperature": 0.0}, r"at temperature 0 have nowhere to go.*method=sir"),
        ({"proposal": 10}, r"'proposal'.*nearest: proposals"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        model_of(FLAT).with_sampling(**settings)


# --------------------------------------------------------------------------------------------- configs


@pytest.mark.parametrize("config", [*ALL.values(), *(each.network for each in PRESETS.values())])
def test_configs_come_back_from_json_with_the_vae_they_had(config: NetworkConfig):
    text = json.dumps(config_to_json(config))
    assert config_from_json(NetworkConfig, json.loads(text), "a file") == config


def test_a_config_of_no_vae_is_refused():
    stored = config_to_json(FLAT)
    stored["vae"]["zdim"] = stored["vae"].pop("num_latents")
    with pytest.raises(CheckpointError, match=r"a file, vae: its config has the field 'zdim'"):
        config_from_json(NetworkConfig, stored, "a file")


def test_the_vae_has_the_images_of_the_network():
    assert replace(FLAT, img_resolution=16, img_channels=3).vae == replace(
        FLAT.vae, img_resolution=16, img_channels=3
    )
    assert build("ncp_vae", img_resolution=4).network.vae.img_resolution == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NetworkConfig(vae=None), r"vae is None; give a FlatVaeConfig or NVAE's NetworkConfig"),
        (lambda: FlatVaeConfig(num_latents=0), r"flat VAE: num_latents is 0; give a whole number from 1"),
        (lambda: FlatVaeConfig(num_mixture_dec=1), r"num_mixture_dec is 1; give a whole number from 2"),
        (lambda: FlatVaeConfig(binary=True, img_channels=3), r"images have 3 channels or 1, binary ones 1"),
        (lambda: FlatVaeConfig(img_resolution=12), r"img_resolution is 12; give a power of two"),
        (lambda: ClassifierConfig(width=0), r"classifier: width is 0; give a whole number from 1"),
        (lambda: ClassifierConfig(halvings=-1), r"halvings is -1; give a whole number from 0"),
    ],
)
def test_sizes_that_cannot_be(make: Any, message: str):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("config", [FLAT, DEEP, MORE], ids=["flat", "deep", "more"])
def test_every_group_has_a_classifier_that_fits(config: NetworkConfig):
    with torch.device("meta"):
        network = Network(config).eval()
        seen: list[int] = []

        def choose(group: int, context: torch.Tensor, prior: Normal) -> torch.Tensor:
            assert network.log_r(group, prior.mean, context).shape == (1,)
            seen.append(group)
            return prior.mean

        network.vae.top_down(choose, 1)
    assert seen == list(range(len(network.classifiers)))


def test_every_group_of_a_preset_has_a_context():
    found = {name: context_channels(each.network) for name, each in PRESETS.items()}
    assert found["tiny"] == (0,)
    assert found["cifar10"] == (256,) * 30
    assert found["celeba_64"] == (512,) * 5 + (256,) * 10 + (128,) * 20
    for name, each in PRESETS.items():
        assert len(found[name]) == len(each.network.vae.latent_shapes)


# --------------------------------------------------------------------------------------- trained VAEs


@pytest.mark.parametrize("config", [FLAT, DEEP], ids=["flat", "deep"])
def test_a_trained_vae_can_be_put_in(config: NetworkConfig):
    trained, network = network_of(config), Network(config).eval()
    assert with_vae(network, trained.vae.state_dict()) is network
    images = images_of(config)
    first, second = (
        Model(each, name="m").with_sampling(prior="base").nats(images, seeds=SEEDS)
        for each in (trained, network)
    )
    assert torch.equal(first, second)


def test_a_vae_of_other_groups_is_refused_by_name():
    more = replace(DEEP, vae=replace(DEEP.vae, num_groups_per_scale=2))
    with pytest.raises(CheckpointError, match=r"which has 2 groups of latents(.|\n)*enc_sampler\.[23]"):
        with_vae(Network(DEEP), Network(more).vae.state_dict())
    with pytest.raises(CheckpointError, match=r"which has 4 groups of latents(.|\n)*enc_sampler\.[23]"):
        with_vae(Network(more), Network(DEEP).vae.state_dict())
    with pytest.raises(CheckpointError, match=r"which has 1 group of latents"):
        with_vae(Network(FLAT), Network(DEEP).vae.state_dict())


def test_tensors_for_others_are_all_of_them():
    network = network_of(DEEP)
    found = to_official(network.state_dict(), DEEP)
    assert found.keys() == network.state_dict().keys()
    state = dict(network.state_dict())
    del state["classifiers.1.head.bias"]
    with pytest.raises(CheckpointError, match=r"classifiers\.1\.head\.bias"):
        to_official(state, DEEP)
