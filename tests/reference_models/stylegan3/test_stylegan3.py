"""StyleGAN3: the plan, equivariance, the model as it is measured, what a user can get wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from evalkit.adapters.capabilities import offers
from evalkit.errors import CheckpointError, UsageError
from reference_models.layers.mapping import MappingConfig
from reference_models.stylegan2.discriminator import Discriminator as StyleGAN2Discriminator
from reference_models.stylegan3 import convert, objective
from reference_models.stylegan3.config import PRESETS, GeneratorConfig
from reference_models.stylegan3.discriminator import Discriminator
from reference_models.stylegan3.evaluate import Model
from reference_models.stylegan3.generator import Generator
from reference_models.stylegan3.layers import SynthesisInput
from reference_models.stylegan3.plan import InputPlan, plan

T = GeneratorConfig(
    z_dim=10, w_dim=12, img_resolution=32, channel_base=256, channel_max=12, num_layers=6,
    mapping=MappingConfig(num_layers=2),
)  # fmt: skip
R = replace(T, conv_kernel=1, use_radial_filters=True)
SMALL = replace(T, img_resolution=16, channel_base=128, num_layers=4, margin_size=4)


def trained(config: GeneratorConfig, seed: int = 0) -> Generator:
    """A generator with biases, and with running magnitudes that fit it."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = Generator(replace(config, magnitude_ema_beta=0.0))
        for name, value in network.state_dict().items():
            if name.endswith("w_avg") or (name.endswith(".bias") and "input" not in name):
                value.add_(0.2 * torch.randn(value.shape))
        c = torch.eye(config.c_dim)[torch.arange(4) % config.c_dim] if config.c_dim else None
        network(normal(4, config.z_dim), c, update_emas=True)
    return network


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decibels(expected: torch.Tensor, got: torch.Tensor) -> float:
    return -10 * math.log10(float((expected - got).square().mean() / expected.var()))


# ------------------------------------------------------------------------------------------------------ laws


@pytest.mark.parametrize(("config", "least"), [(T, 60.0), (R, 60.0)])
@pytest.mark.parametrize(("right", "down"), [(1, 0), (2, 0), (4, -6), (-3, 5)])
def test_pictures_move_with_the_transform(config: GeneratorConfig, least: float, right: int, down: int):
    model = Model(trained(config), name="small")
    w = model.map(model.latents(np.arange(2)))
    still = model.synthesise(w)
    transform = torch.eye(3)
    transform[:2, 2] = torch.tensor([-right, -down]) / 32
    moved = model.synthesise(w, transform=transform)
    assert decibels(still, moved) < 30
    expected = torch.roll(still, (down, right), (2, 3))
    rows = slice(max(down, 0), 32 + min(down, 0))
    columns = slice(max(right, 0), 32 + min(right, 0))
    assert decibels(expected[:, :, rows, columns], moved[:, :, rows, columns]) > least


def test_configuration_r_turns_by_a_right_angle_to_the_last_digits():
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    for config, turns in ((R, True), (T, False)):
        model = Model(trained(config), name="small")
        w = model.map(model.latents(np.arange(2)))
        expected, got = torch.rot90(model.synthesise(w), 1, (2, 3)), model.synthesise(w, transform=turn)
        assert (float((expected - got).abs().max()) < 1e-5) is turns


def test_a_transform_is_one_for_all_or_one_a_sample():
    network = trained(SMALL)
    ws = network.mapping(normal(2, 10))
    shift = torch.eye(3)
    shift[0, 2] = 0.125
    with torch.no_grad():
        both = network.synthesis(ws, transform=torch.stack([torch.eye(3), shift]))
        torch.testing.assert_close(both[0], network.synthesis(ws)[0])
        torch.testing.assert_close(both[1], network.synthesis(ws, transform=shift)[1])
        network.synthesis.input.transform.copy_(shift)
        torch.testing.assert_close(both[1], network.synthesis(ws)[1])
    with pytest.raises(
        UsageError, match=r"shape \(3, 3\), or \(2, 3, 3\) for one a sample; given is \(2, 2\)"
    ):
        network.synthesis(ws, transform=torch.eye(2))


def test_frequencies_fill_the_disc():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = SynthesisInput(4, InputPlan(channels=4096, size=(8, 8), rate=16, bandwidth=2.0))
    radius = made.freqs.norm(dim=1)
    assert float(radius.max()) <= 2.0
    # Of a uniform disc, a quarter lies within half the radius.
    assert float((radius < 1.0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert -0.5 <= float(made.phases.min()) < -0.45
    assert 0.45 < float(made.phases.max()) <= 0.5
    assert torch.equal(made.affine(normal(3, 4)), torch.tensor([[1.0, 0, 0, 0]]).expand(3, 4))


def test_running_magnitudes_move_on_request_alone_and_are_used_at_once():
    network = trained(SMALL)
    for name in network.synthesis.layer_names:
        getattr(network.synthesis, name).magnitude_ema_beta = 0.5
    z = normal(3, 10)
    with torch.no_grad():
        before = {n: b.clone() for n, b in network.named_buffers()}
        plain = network(z)
        assert all(torch.equal(before[n], b) for n, b in network.named_buffers())
        updated = network(z, update_emas=True)
        moved = {n for n, b in network.named_buffers() if not torch.equal(before[n], b)}
        assert moved == {n for n in before if n.endswith(("magnitude_ema", "w_avg"))}
        assert not torch.equal(plain, updated)
        torch.testing.assert_close(network(z), updated)


def test_a_rate_does_not_hang_on_the_last_bit():
    # At 256 pixels, twice the stopband edge of layer 9 is 128 in mathematics.
    for base in (PRESETS["stylegan3-t-256"].generator, PRESETS["stylegan3-r-256"].generator):
        for factor in (1 - 2**-52, 1.0, 1 + 2**-52):
            layers = list(plan(replace(base, first_stopband=base.first_stopband * factor)).layers.values())
            assert layers[9].out_rate == 128
            assert layers[10].out_rate == 256


def test_every_layer_pads_to_its_size():
    for config in (SMALL, R, replace(T, lrelu_upsampling=4, filter_size=5), replace(T, conv_kernel=5)):
        network = trained(config)
        with torch.no_grad():
            assert network(normal(2, 10)).shape == (2, 3, config.img_resolution, config.img_resolution)


def test_the_discriminator_is_stylegan2s():
    assert Discriminator is StyleGAN2Discriminator
    for preset in PRESETS.values():
        assert preset.discriminator.architecture == "resnet"
        assert preset.discriminator.img_resolution == preset.generator.img_resolution


def test_training_passes():
    network = trained(SMALL)
    before = network.mapping.w_avg.clone()
    fake = objective.generate(network, normal(4, 10), update_emas=True)
    assert not torch.equal(network.mapping.w_avg, before)
    assert fake.ws.shape == (4, 6, 12)
    fake.img.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert objective.blur_sigma(0, sigma0=10, fade_kimg=200) == 10
    assert objective.blur_sigma(100_000, sigma0=10, fade_kimg=200) == 5
    assert objective.blur_sigma(300_000, sigma0=10, fade_kimg=200) == 0
    assert objective.blur_sigma(0, sigma0=10, fade_kimg=0) == 0
    with pytest.raises(UsageError, match="given are images_seen=0, sigma0=-1"):
        objective.blur_sigma(0, sigma0=-1, fade_kimg=200)


# ----------------------------------------------------------------------------------------- as it is measured


def test_an_image_depends_on_its_seed_alone():
    model = Model(trained(replace(SMALL, c_dim=3)), name="small")
    seeds, classes = np.arange(6), np.arange(6) % 3
    made = model.sample(seeds, classes, truncation_psi=0.7)
    assert made.dtype == torch.uint8
    assert made.shape == (6, 3, 16, 16)
    for part in ([4], [5, 0, 3]):
        assert torch.equal(model.sample(np.array(part), classes[part], truncation_psi=0.7), made[part])
    with pytest.raises(UsageError, match="small is conditional on 3 classes and was given no labels"):
        model.sample(seeds)
    with pytest.raises(UsageError, match=r"labels of shape \(2,\) for 6 samples"):
        model.sample(seeds, np.arange(2))


def test_truncation_to_nothing_is_the_mean_style():
    model = Model(trained(SMALL), name="small")
    ws = model.map(model.latents(np.arange(3)), truncation_psi=0.0)
    assert torch.equal(ws, model.generator.mapping.w_avg.expand(3, model.generator.num_ws, 12))
    images = model.sample(np.arange(3), truncation_psi=0.0)
    assert torch.equal(images[0], images[1])


def test_grey_becomes_three_channels():
    made = Model(trained(replace(SMALL, img_channels=1)), name="grey").sample(np.arange(2))
    assert made.shape == (2, 3, 16, 16)
    assert torch.equal(made[:, 0], made[:, 1])


def test_noise_seeds_change_nothing():
    model = Model(trained(SMALL), name="small")
    w = model.map(model.latents(np.arange(2)))
    assert torch.equal(model.synthesise(w), model.synthesise(w, noise_seeds=np.arange(2)))


def test_what_it_offers():
    assert {"Samples", "HasLatents", "Transformable"} <= set(offers(Model(trained(SMALL), name="small")))


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("img_resolution", 48, "img_resolution is 48; give a power of two"),
        ("num_critical", 14, "num_critical is 14; give a whole number from 0 to 13"),
        ("num_layers", 10**9, "num_layers is 1000000000; give a whole number from 1 to 128"),
        (
            "first_cutoff",
            600.0,
            r"600\.0, above 512\.0, the highest frequency of 1024 pixels",
        ),
        ("first_stopband", 1.0, r"stopbands begin above the cutoffs; .* first_stopband 1\.0"),
        ("last_stopband_rel", 0.9, r"last_stopband_rel 0\.9 \(above 1, to 2\)"),
        ("magnitude_ema_beta", 2.0, r"magnitude_ema_beta is 2\.0; give 0 to 1"),
        ("output_scale", math.inf, "output_scale is inf; give a number above 0"),
        ("first_stopband", 0.1, r"first_stopband is 0\.1; give 0\.5 \(a rate of 1\) to 1024"),
        ("filter_size", 0, "filter_size is 0; give a whole number from 1"),
    ],
)
def test_sizes_that_cannot_be(field: str, value: object, message: str):
    with pytest.raises(UsageError, match=message):
        GeneratorConfig(**{field: value})


def test_layers_too_far_apart():
    config = replace(T, img_resolution=4096, channel_base=4096, num_layers=3, num_critical=1, filter_size=64)
    with pytest.raises(
        UsageError, match=r"from rate 16 to 256 through a filter of 2048 taps; give more layers"
    ):
        plan(config)


def test_official_arguments():
    given = {
        "z_dim": 16, "c_dim": 0, "w_dim": 16, "img_resolution": 32, "img_channels": 3, "num_layers": 5,
        "mapping_kwargs": {"num_layers": 3}, "use_radial_filters": True, "conv_kernel": 1, "num_fp16_res": 4,
        "magnitude_ema_beta": 0.9, "conv_clamp": None,
    }  # fmt: skip
    assert convert.config_from_official(given) == GeneratorConfig(
        z_dim=16, w_dim=16, img_resolution=32, num_layers=5, mapping=MappingConfig(num_layers=3),
        use_radial_filters=True, conv_kernel=1, magnitude_ema_beta=0.9, conv_clamp=None,
    )  # fmt: skip
    assert convert.config_from_official({}) == GeneratorConfig()
    with pytest.raises(CheckpointError, match=r"StyleGAN3's generator: unknown .* 'synthesis_kwargs'"):
        convert.config_from_official({"synthesis_kwargs": {}})


def test_tensors_go_both_ways():
    state = trained(R).state_dict()
    back = convert.from_official({n: t.numpy() for n, t in convert.to_official(state, R).items()}, R)
    assert all(torch.equal(back[name], state[name]) for name in state)
    lacking = {name: value for name, value in state.items() if not name.endswith("magnitude_ema")}
    with pytest.raises(CheckpointError, match=r"7 missing: synthesis\.L0_36_12\.magnitude_ema \[\], "):
        convert.from_official(lacking, R)
    state["mapping.w_avg"][2] = math.inf
    with pytest.raises(CheckpointError, match="StyleGAN3's generator: 'mapping.w_avg' holds NaN or infinite"):
        convert.from_official(state, R)


def test_shapes_that_do_not_fit():
    network = trained(SMALL)
    with pytest.raises(UsageError, match=r"takes w of shape \(n, 6, 12\); given is \(2, 5, 12\)"):
        network.synthesis(normal(2, 5, 12))
    with pytest.raises(UsageError, match=r"StyleGAN3's generator takes latents of shape \(n, 10\)"):
        network(normal(2, 11))


def test_double_precision_is_kept():
    network = trained(SMALL)
    z = normal(2, 10)
    with torch.no_grad():
        single, double = network(z), network.double()(z)
        assert double.dtype == torch.float64
        assert network(z, update_emas=True).dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)
