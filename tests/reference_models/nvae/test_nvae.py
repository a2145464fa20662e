"""NVAE: what its network, its flows and its answers have to satisfy, whatever the weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from evalkit.errors import UsageError
from reference_models.catalog import build
from reference_models.layers.draws import GivenDraws, SeedDraws
from reference_models.nvae import distributions, flow, objective
from reference_models.nvae.config import NetworkConfig
from reference_models.nvae.distributions import Normal
from reference_models.nvae.evaluate import Model
from reference_models.nvae.model import Network

FLOWS = NetworkConfig(
    img_resolution=8,
    num_latent_scales=2,
    num_groups_per_scale=2,
    num_latent_per_group=2,
    num_channels_enc=4,
    num_channels_dec=4,
    num_preprocess_cells=1,
    num_postprocess_cells=1,
    num_mixture_dec=2,
    num_nf=1,
    use_se=True,
    res_dist=True,
)
PLAIN = replace(FLOWS, num_nf=0)
GREY = replace(FLOWS, img_channels=1)
FIVE = replace(PLAIN, num_x_bits=5)
NORMAL = replace(PLAIN, num_mixture_dec=1, res_dist=False)
VANILLA = replace(PLAIN, num_latent_scales=1, num_groups_per_scale=1)
BINARY = replace(PLAIN, img_channels=1, binary=True, img_resolution=32)
ALL = {
    "flows": FLOWS, "plain": PLAIN, "grey": GREY, "5bit": FIVE, "normal": NORMAL, "vanilla": VANILLA,
    "binary": BINARY,
}  # fmt: skip
SEEDS = np.arange(5)


def network_of(config: NetworkConfig) -> Network:
    """A network whose statistics and scales are not those of the start."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Network(config).eval()
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            else:
                value.add_(torch.randn_like(value), alpha=0.1)
    return network.requires_grad_(False)


def model_of(config: NetworkConfig = FLOWS) -> Model:
    return Model(network_of(config), name="small")


def images_of(config: NetworkConfig, num: int = 5) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    shape = (num, config.img_channels, config.data_side, config.data_side)
    images = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
    return images // 8 * 8 if config.num_x_bits == 5 else images


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
def test_answers_depend_on_image_and_seed_alone(config: NetworkConfig):
    model, images = model_of(config), images_of(config)
    assert tuple(model.likelihood["shape"]) == images.shape[1:]
    for ask in (model.nats, model.log_weights):
        together = ask(images, seeds=SEEDS)
        assert together.dtype == torch.float64
        assert torch.equal(ask(images[2:3], seeds=SEEDS[2:3]), together[2:3])
        assert torch.equal(ask(images.flip(0), seeds=SEEDS[::-1].copy()), together.flip(0))
        assert not torch.equal(ask(images, seeds=SEEDS + 100), together)
    samples = model.sample(SEEDS)
    assert samples.shape == (5, 3, config.img_resolution, config.img_resolution)
    assert samples.dtype == torch.uint8
    assert torch.equal(model.sample(SEEDS[3:]), samples[3:])
    assert len({bytes(each.numpy()) for each in samples}) == 5


def test_bound_is_the_mean_of_minus_log_weights_where_the_kl_is_exact():
    model = model_of(PLAIN)
    images, seeds = images_of(PLAIN, 1).expand(144, -1, -1, -1), np.arange(144)
    apart = -model.log_weights(images, seeds=seeds) - model.nats(images, seeds=seeds)
    assert abs(float(apart.mean())) < 4 * float(apart.std()) / 12
    assert float(apart.std()) > 0


def test_bound_is_minus_the_log_weight_where_flows_make_the_kl_a_draw():
    model = model_of(FLOWS)
    images = images_of(FLOWS)
    weights = model.log_weights(images, seeds=SEEDS)
    torch.testing.assert_close(model.nats(images, seeds=SEEDS), -weights, rtol=1e-5, atol=1e-3)


def test_importance_weighting_tightens_the_bound():
    model, num = model_of(), 64
    weights = model.log_weights(images_of(FLOWS, 1).expand(num, -1, -1, -1), seeds=np.arange(num))
    tightened = -(torch.logsumexp(weights, 0) - math.log(num))
    assert float(tightened) < float(-weights.mean())


def test_a_choice_of_the_posterior_decodes_to_its_logits():
    network = network_of(FLOWS)
    x = objective.inputs(images_of(FLOWS), FLOWS, SeedDraws(SEEDS))
    inferred = network.infer(x, SeedDraws(SEEDS))
    seen = []

    def choose(group: int, context: torch.Tensor, prior: Normal) -> torch.Tensor:
        seen.append(group)
        torch.testing.assert_close(context, inferred.groups[group].context)
        torch.testing.assert_close(prior.mean, inferred.groups[group].prior.mean)
        return inferred.groups[group].z

    torch.testing.assert_close(network.top_down(choose, len(x)), inferred.logits)
    assert seen == [0, 1, 2, 3]
    top = inferred.groups[0]
    assert torch.equal(top.context[1], network.prior_ftr0)
    assert torch.equal(top.prior.sigma, torch.full_like(top.prior.sigma, 1.01))


def test_temperature_scales_every_prior():
    network, sigmas = network_of(PLAIN), {}
    for temperature in (1.0, 0.5):

        def choose(group: int, context: torch.Tensor, prior: Normal, t: float = temperature) -> torch.Tensor:
            sigmas.setdefault(t, []).append(prior.sigma)
            return prior.mean

        network.top_down(choose, 2, temperature=temperature)
    for cold, warm in zip(sigmas[0.5], sigmas[1.0], strict=True):
        torch.testing.assert_close(cold, warm / 2)


def test_flows_are_autoregressive_and_keep_the_volume():
    latents, side = 3, 3
    cell = flow.PairedCell(latents).double()
    with torch.no_grad():
        for value in cell.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)), alpha=0.3)
    z = torch.randn(1, latents, side, side, generator=torch.Generator().manual_seed(0)).double()

    def jacobian(module: torch.nn.Module, backwards: bool) -> torch.Tensor:
        found = torch.autograd.functional.jacobian(module, z).reshape(latents, side**2, latents, side**2)
        if backwards:
            found = found.flip(1, 3)
        # Positions first, then channels, which are never turned around.
        return found.permute(1, 0, 3, 2).reshape(latents * side**2, latents * side**2)

    for module, backwards in ((cell.cell1, False), (cell.cell2, True)):
        found = jacobian(module, backwards)
        torch.testing.assert_close(found.diagonal(), torch.ones_like(found.diagonal()))
        assert float(found.triu(1).abs().max()) == 0
        assert float(found.tril(-1).abs().max()) > 1e-4
    sign, log_det = torch.linalg.slogdet(jacobian(cell, False))
    assert float(sign) == 1
    assert abs(float(log_det)) < 1e-12


def test_flow_of_mixed_logistics_says_its_own_derivative():
    rng = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng).double()

    z = drawn(2, 3, 2, 2).requires_grad_()
    parts = [drawn(2, 3, 4, 2, 2) for _ in range(3)]
    new, log_det = flow.mix_log_cdf(z, *parts, drawn(2, 3, 1, 2, 2), drawn(2, 3, 1, 2, 2))
    (slope,) = torch.autograd.grad(new.sum(), z)
    torch.testing.assert_close(slope.log(), log_det)


def test_spectral_norms_become_the_largest_singular_values():
    network = network_of(replace(VANILLA, num_nf=1))
    spectral = objective.SpectralNorms(network)
    for _ in range(60):
        found = spectral()
    exact = [torch.linalg.matrix_norm(objective.matrix(m), 2) for _, m in objective.convolutions(network)]
    assert float(found) == pytest.approx(float(sum(exact)), rel=1e-4)
    assert sum(map(len, spectral.names.values())) == len(exact)
    assert not list(spectral.parameters())


def test_balanced_groups_weigh_by_what_they_say_and_alike_at_the_end():
    kl = torch.tensor([[1.0, 4.0], [3.0, 8.0]], requires_grad=True)
    found = objective.balanced_kl(kl, 0.5, torch.ones(2))
    assert float(found.coefficients.mean()) == pytest.approx(1)
    assert float(found.coefficients[1] / found.coefficients[0]) == pytest.approx(6.01 / 2.01)
    (grad,) = torch.autograd.grad(found.kl.sum(), kl)
    torch.testing.assert_close(grad, 0.5 * found.coefficients.expand(2, 2))
    torch.testing.assert_close(objective.balanced_kl(kl, 1.0, torch.ones(2)).kl, kl.sum(1))


def test_binary_images_are_drawn_from_levels_and_counted_without_their_frame():
    assert (BINARY.data_side, BINARY.num_dims) == (28, 784)
    images = torch.full((1, 1, 28, 28), 51, dtype=torch.uint8)
    x = objective.inputs(images.expand(200, -1, -1, -1), BINARY, SeedDraws(np.arange(200)))
    assert x.shape == (200, 1, 32, 32)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    frame = x.clone()
    frame[..., 2:30, 2:30] = 0
    assert float(frame.sum()) == 0
    assert float(x.sum() / (200 * 784)) == pytest.approx(0.2, abs=0.005)
    logits = torch.randn(1, 1, 32, 32)
    other = logits.clone()
    other[..., :2, :] += 3
    assert torch.equal(*(distributions.log_likelihood(BINARY, each, x[:1]) for each in (logits, other)))
    # Images of the grid's own side, as training sees them, are not moved.
    whole = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    whole[..., 0] = 255
    assert torch.equal(objective.inputs(whole, BINARY, SeedDraws(SEEDS[:1])), whole / 255)


def test_five_bits_are_floored():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    x = objective.inputs(images, replace(FIVE, img_channels=1), GivenDraws())
    assert torch.equal((x * 31).round(), (images // 8).float())


def test_a_normal_decoder_is_a_density():
    said = model_of(NORMAL).likelihood
    assert (said["dequantisation"], said["density"]) == ("none", "signed")
    assert model_of(FIVE).likelihood["bits"] == 5


def test_settings_of_sampling():
    model = model_of()
    mean = model.with_sampling(image="mean", temperature=0.0)
    assert len({bytes(each.numpy()) for each in mean.sample(SEEDS)}) == 1
    assert mean.identity != model.identity
    readjusted = model.with_sampling(readjust_bn=3, readjust_batch=4)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    samples = readjusted.sample(SEEDS)
    assert not torch.equal(samples, model.sample(SEEDS))
    assert torch.equal(readjusted.sample(SEEDS[3:]), samples[3:])
    assert torch.equal(model.with_sampling(readjust_bn=3, readjust_batch=4).sample(SEEDS), samples)
    # The network itself, which likelihoods are asked of, stays as it is.
    assert all(torch.equal(before[name], value) for name, value in model.network.state_dict().items())
    images = images_of(FLOWS)
    assert torch.equal(readjusted.nats(images, seeds=SEEDS), model.nats(images, seeds=SEEDS))
    for changes, words in (
        ({"image": "median"}, "image is 'median' .*; accepted are sample, mean"),
        ({"readjust_bn": -1}, "readjust_bn is -1; give a whole number from 0"),
        ({"readjust_batch": 1}, "readjust_batch is 1; give a whole number from 2"),
        ({"temperature": -1}, "the temperature is -1"),
        ({"readjust": 1}, r"setting 'readjust' of sampling \(nearest: readjust_bn"),
    ):
        with pytest.raises(UsageError, match=words):
            model.with_sampling(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arch_instance": "res_mbconv9"}, r"arch_instance is 'res_mbconv9' \(nearest: res_mbconv,"),
        ({"img_channels": 2}, "img_channels is 2 with binary=False; images have 3 channels or 1"),
        ({"binary": True}, "img_channels is 3 with binary=True"),
        ({"num_x_bits": 4}, "num_x_bits is 4; give 8, or 5"),
        ({"num_postprocess_blocks": 2}, "num_preprocess_blocks is 1 and num_postprocess_blocks 2"),
        ({"num_latent_scales": 4}, "1 preprocessing blocks and 4 scales halve 8 pixels 4 times"),
        ({"num_nf": -1}, "num_nf is -1"),
        ({"img_resolution": 12}, "img_resolution is 12; give a power of two"),
        ({"use_se": 1}, "use_se is 1; give True or False"),
    ],
)
def test_sizes_that_no_network_has_are_refused(changes: dict[str, object], words: str):
    with pytest.raises(UsageError, match=words):
        replace(FLOWS, **changes)


def test_widths_that_groups_do_not_divide_are_refused():
    with pytest.raises(UsageError, match="mconv_e3k5g8 divides 15 channels into 8 groups"):
        Network(replace(FLOWS, arch_instance="mbconv_den", num_channels_enc=5))


def test_random_weights_by_name():
    model = build("nvae", preset="tiny", seed=1)
    assert model.name == "nvae:tiny-random@1"
    assert torch.equal(model.sample(SEEDS), build("nvae", preset="tiny", seed=1).sample(SEEDS))
