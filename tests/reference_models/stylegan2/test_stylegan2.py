"""StyleGAN2: published sizes, laws of its parts, the model as it is measured, what a user can get wrong."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from evalkit.adapters.capabilities import offers
from evalkit.errors import CheckpointError, SourceError, UsageError
from golden_cases import FOLDER
from reference_models.layers.mapping import MappingConfig
from reference_models.stylegan2 import convert, objective
from reference_models.stylegan2.config import PRESETS, DiscriminatorConfig, GeneratorConfig
from reference_models.stylegan2.discriminator import Discriminator
from reference_models.stylegan2.evaluate import Model
from reference_models.stylegan2.generator import Generator

SMALL = GeneratorConfig(
    z_dim=10, w_dim=12, c_dim=3, img_resolution=16, channel_base=128, channel_max=12,
    mapping=MappingConfig(num_layers=2),
)  # fmt: skip
SMALL_D = DiscriminatorConfig(
    c_dim=3, img_resolution=16, channel_base=128, channel_max=12, mapping=MappingConfig(num_layers=2)
)
PLAIN = replace(SMALL, c_dim=0)
PLAIN_D = replace(SMALL_D, c_dim=0)
SHAPES = FOLDER / "gan_family_checkpoint_shapes"


def seeded(build, config, seed: int = 0):
    """A network as after training: biases, noise strengths and the mean style are not at their start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(config)
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if name.endswith(("bias", "noise_strength", "w_avg")):
                    value.add_(0.3 * torch.randn(value.shape))
    return network


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(num: int, c_dim: int = 3) -> torch.Tensor:
    return torch.eye(c_dim)[torch.arange(num) % c_dim]


def shapes(network: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in network.state_dict().items()}


# ------------------------------------------------------------------------------------ published networks


def expected_generator(config: GeneratorConfig) -> dict[str, list[int]]:
    """Names and shapes in closed form."""
    w, taps = config.w_dim, len(config.resample_filter)
    found = {"mapping.w_avg": [w]}
    for index in range(config.mapping.num_layers):
        inputs = config.z_dim + (w if config.c_dim else 0) if index == 0 else w
        found |= {f"mapping.fc{index}.weight": [w, inputs], f"mapping.fc{index}.bias": [w]}
    if config.c_dim:
        found |= {"mapping.embed.weight": [w, config.c_dim], "mapping.embed.bias": [w]}
    below = 0
    side = 4
    while side <= config.img_resolution:
        here, block = min(config.channel_base // side, config.channel_max), f"synthesis.b{side}"
        layers = {"conv1": (here, here, 3)}
        if side == 4:
            found[f"{block}.const"] = [here, 4, 4]
        else:
            layers["conv0"] = (below, here, 3)
            if config.architecture == "resnet":
                found |= {
                    f"{block}.skip.weight": [here, below, 1, 1],
                    f"{block}.skip.resample_filter": [taps, taps],
                }
        if side == config.img_resolution or config.architecture == "skip":
            layers["torgb"] = (here, config.img_channels, 1)
        found[f"{block}.resample_filter"] = [taps, taps]
        for layer, (i, o, k) in layers.items():
            found |= {
                f"{block}.{layer}.weight": [o, i, k, k], f"{block}.{layer}.bias": [o],
                f"{block}.{layer}.affine.weight": [i, w], f"{block}.{layer}.affine.bias": [i],
            }  # fmt: skip
            if layer != "torgb":
                found[f"{block}.{layer}.resample_filter"] = [taps, taps]
                if config.use_noise:
                    found |= {
                        f"{block}.{layer}.noise_strength": [], f"{block}.{layer}.noise_const": [side, side],
                    }  # fmt: skip
        below, side = here, side * 2
    return found


def expected_discriminator(config: DiscriminatorConfig) -> dict[str, list[int]]:
    """Names and shapes in closed form."""
    taps = len(config.resample_filter)
    found: dict[str, list[int]] = {}

    def convolution(name: str, i: int, o: int, k: int, bias: bool = True) -> None:
        found[f"{name}.weight"] = [o, i, k, k]
        found[f"{name}.resample_filter"] = (
            [taps, taps] if name != "b4.fromrgb" and name != "b4.conv" else [4, 4]
        )
        if bias:
            found[f"{name}.bias"] = [o]

    side = config.img_resolution
    while side > 4:
        here = min(config.channel_base // side, config.channel_max)
        after = min(config.channel_base // (side // 2), config.channel_max)
        found[f"b{side}.resample_filter"] = [taps, taps]
        if side == config.img_resolution or config.architecture == "skip":
            convolution(f"b{side}.fromrgb", config.img_channels, here, 1)
        convolution(f"b{side}.conv0", here, here, 3)
        convolution(f"b{side}.conv1", here, after, 3)
        if config.architecture == "resnet":
            convolution(f"b{side}.skip", here, after, 1, bias=False)
        side //= 2
    last = min(config.channel_base // 4, config.channel_max)
    if config.architecture == "skip":
        convolution("b4.fromrgb", config.img_channels, last, 1)
    convolution("b4.conv", last + config.mbstd_num_channels, last, 3)
    out = 1
    if config.c_dim:
        out = last if config.cmap_dim is None else config.cmap_dim
        found |= {"mapping.embed.weight": [out, config.c_dim], "mapping.embed.bias": [out]}
        for index in range(config.mapping.num_layers):
            found |= {f"mapping.fc{index}.weight": [out, out], f"mapping.fc{index}.bias": [out]}
    return found | {
        "b4.fc.weight": [last, last * 16], "b4.fc.bias": [last], "b4.out.weight": [out, last],
        "b4.out.bias": [out],
    }  # fmt: skip


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("c_dim", [0, 10])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_name_and_shape_of_the_presets(preset: str, c_dim: int, architecture: str):
    pair = PRESETS[preset]
    configs = (pair.generator, pair.discriminator)
    if (c_dim, architecture) == (0, "skip"):
        g, d = configs  # as published
    else:
        g, d = (replace(config, c_dim=c_dim, architecture=architecture) for config in configs)
    with torch.device("meta"):
        assert shapes(Generator(g)) == expected_generator(g)
        assert shapes(Discriminator(d)) == expected_discriminator(d)


def recorded_shapes(name: str) -> dict[str, list[int]]:
    path = SHAPES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no recorded shapes at {path}")
    return json.loads(path.read_text(encoding="utf-8"))["variables"]


def test_cifar10_has_the_recorded_names_and_shapes():
    with torch.device("meta"):
        network = Generator(PRESETS["cifar10"].generator)
    assert shapes(network) == recorded_shapes("diffusiongan_G_cifar10")
    assert sum(p.numel() for p in network.parameters()) == 19947539


@pytest.mark.parametrize(
    ("recorded", "preset"),
    [("ffhq1024", "ffhq1024"), ("cifar10", "cifar10"), ("lsun256", "ffhq256")],
)
def test_discriminators_have_the_recorded_names_and_shapes(recorded: str, preset: str):
    # The recorded networks are Diffusion-GAN's, which are conditional on one number, the time step.
    config = replace(
        PRESETS[preset].discriminator, c_dim=1, mapping=MappingConfig(num_layers=8, w_avg_beta=None)
    )
    with torch.device("meta"):
        assert shapes(Discriminator(config)) == recorded_shapes(f"diffusiongan_D_{recorded}")


def test_initial_values():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Generator(PRESETS["tiny"].generator)
    for name, value in network.state_dict().items():
        if name.endswith("affine.bias"):
            assert torch.equal(value, torch.ones_like(value)), name
        elif name.endswith((".bias", "noise_strength", "w_avg")):
            assert not value.any(), name
        elif name.endswith("resample_filter"):
            assert float(value.sum()) == pytest.approx(1)
        else:
            spread = 1 / 0.01 if name.startswith("mapping.") else 1.0
            assert float(value.std()) == pytest.approx(spread, rel=5 / math.sqrt(2 * value.numel())), name


# ------------------------------------------------------------------------------------------------------ laws


def test_truncation_pulls_towards_the_mean_style():
    network = seeded(Generator, SMALL)
    z, c = normal(2, 10), labels(2)
    with torch.no_grad():
        ws = network.mapping(z, c)
        assert torch.equal(
            network.mapping(z, c, truncation_psi=0.0), network.mapping.w_avg.expand(2, network.num_ws, 12)
        )
        half = network.mapping(z, c, truncation_psi=0.5, truncation_cutoff=2)
        torch.testing.assert_close(half[:, :2], (ws[:, :2] + network.mapping.w_avg) / 2)
        assert torch.equal(half[:, 2:], ws[:, 2:])
        assert torch.equal(network.mapping(z, c, truncation_psi=0.5, truncation_cutoff=0), ws)


def test_the_mean_style_moves_on_request_alone():
    network = seeded(Generator, PLAIN).train()
    before, z = network.mapping.w_avg.clone(), normal(5, 10)
    with torch.no_grad():
        network(z)
        assert torch.equal(network.mapping.w_avg, before)
        ws = network.mapping(z, truncation_psi=0.5, update_emas=True)
    torch.testing.assert_close(
        network.mapping.w_avg, 0.998 * before + 0.002 * network.mapping(z).detach()[:, 0].mean(dim=0)
    )
    assert ws.shape == (5, 6, 12)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_noise_modes(architecture: str):
    network = seeded(Generator, replace(PLAIN, architecture=architecture))
    ws = network.mapping(normal(3, 10)).detach()

    def source(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    with torch.no_grad():
        const, none = network.synthesis(ws), network.synthesis(ws, noise_mode="none")
        assert not torch.allclose(const, none)
        one = network.synthesis(ws, noise_mode="random", generator=source(4)[0])
        assert torch.equal(one, network.synthesis(ws, noise_mode="random", generator=source(4)[0]))
        each = network.synthesis(ws, noise_mode="random", generator=source(4, 5, 4))
        torch.testing.assert_close(
            each[1:2], network.synthesis(ws[1:2], noise_mode="random", generator=source(5))
        )
        assert not torch.allclose(each, const)
        still = seeded(Generator, replace(PLAIN, architecture=architecture, use_noise=False))
        ws = still.mapping(normal(3, 10))
        assert torch.equal(still.synthesis(ws), still.synthesis(ws, noise_mode="random"))


def test_frozen_layers_keep_their_names_and_are_not_trained():
    config = replace(PLAIN_D, architecture="resnet")
    free = Discriminator(config)
    frozen = Discriminator(replace(config, freeze_layers=5))  # fromrgb, conv0, conv1, skip; conv0
    assert shapes(frozen) == shapes(free)
    lost = set(dict(free.named_parameters())) - set(dict(frozen.named_parameters()))
    assert lost == {
        "b16.fromrgb.weight", "b16.fromrgb.bias", "b16.conv0.weight", "b16.conv0.bias", "b16.conv1.weight",
        "b16.conv1.bias", "b16.skip.weight", "b8.conv0.weight", "b8.conv0.bias",
    }  # fmt: skip
    frozen.load_state_dict(free.state_dict(), strict=True)
    img = normal(4, 3, 16, 16)
    assert torch.equal(frozen(img), free(img))


def test_labels_change_what_the_discriminator_says():
    network = seeded(Discriminator, SMALL_D)
    img = normal(4, 3, 16, 16)
    with torch.no_grad():
        assert network(img, labels(4)).shape == (4, 1)
        assert not torch.allclose(network(img, labels(4)), network(img, labels(4).roll(1, 0)))


def test_mixed_styles():
    network = seeded(Generator, PLAIN)
    one, two = normal(2, 10), normal(2, 10, seed=2)
    before = network.mapping.w_avg.clone()
    mixed = objective.map_styles(network, one, mixing=objective.Mixing(two, 4), update_emas=True)
    first, second = network.mapping(one), network.mapping(two)
    assert torch.equal(mixed, torch.cat([first[:, :4], second[:, 4:]], dim=1))
    torch.testing.assert_close(network.mapping.w_avg, before.lerp(first[:, 0].mean(dim=0), 0.002))
    assert objective.mixing_cutoff(0.89, 3, 6) == 3
    assert objective.mixing_cutoff(0.9, 3, 6) == 6
    with pytest.raises(UsageError, match="at an entry of w from 1 to 5; given is 0"):
        objective.map_styles(network, one, mixing=objective.Mixing(two, 0))


def test_a_blur_keeps_the_mean_and_dies_out():
    img = torch.ones(1, 3, 40, 40)
    middle = objective.blur(img, 2.0)[:, :, 10:30, 10:30]
    torch.testing.assert_close(middle, torch.ones_like(middle))
    assert objective.blur(img, 0.3) is img
    with pytest.raises(UsageError, match=r"sigma is -1\.0; give 0"):
        objective.blur(img, -1.0)


def test_path_lengths_need_noise_of_the_images_shape():
    network = seeded(Generator, PLAIN)
    with pytest.raises(UsageError, match=r"images' shape \(2, 3, 16, 16\); given is \(1, 3, 16, 16\)"):
        objective.path_length_loss(
            objective.generate(network, normal(2, 10)), torch.zeros(1, 3, 16, 16), torch.zeros(())
        )


# ----------------------------------------------------------------------------------------- as it is measured


def test_an_image_depends_on_its_seed_and_label_alone():
    model = Model(seeded(Generator, SMALL), name="small")
    seeds, classes = np.arange(20), np.arange(20) % 3
    made = model.sample(seeds, classes, truncation_psi=0.7)
    assert made.shape == (20, 3, 16, 16)
    assert made.dtype == torch.uint8
    for part in ([17], [3, 17, 4], [19, 2]):
        again = model.sample(np.array(part), classes[part], truncation_psi=0.7)
        assert torch.equal(again, made[part])
    assert not torch.equal(made, model.sample(seeds, classes))
    assert not torch.equal(made, model.sample(seeds, (classes + 1) % 3, truncation_psi=0.7))
    assert model.sample(np.array([], np.int64), np.array([], np.int64)).shape == (0, 3, 16, 16)


def test_latents_are_those_of_the_official_samplers():
    model = Model(seeded(Generator, PLAIN), name="small")
    expected = np.stack([np.random.RandomState(seed).randn(10) for seed in (0, 2**32 - 1)]).astype(np.float32)
    assert torch.equal(model.latents(np.array([0, 2**32 - 1])), torch.from_numpy(expected))


def test_sampling_is_mapping_synthesis_and_rounding():
    model = Model(seeded(Generator, PLAIN), name="small")
    seeds = np.arange(4)
    w = model.map(model.latents(seeds), truncation_psi=0.8, truncation_cutoff=3)
    img = model.synthesise(w)
    assert img.dtype == torch.float32
    assert not img.requires_grad
    expected = (img * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    made = model.sample(seeds, truncation_psi=0.8, truncation_cutoff=3)
    assert (made.int() - expected.int()).abs().max() <= 1  # of another batch size


def test_fresh_noise_of_equal_seeds_is_equal():
    model = Model(seeded(Generator, PLAIN), name="small")
    w = model.map(model.latents(np.array([1])))
    pair = model.synthesise(w.repeat(2, 1, 1), noise_seeds=np.array([5, 5]))
    torch.testing.assert_close(pair[0], pair[1])
    other = model.synthesise(w, noise_seeds=np.array([6]))
    assert not torch.allclose(other[0], pair[0])
    with pytest.raises(UsageError, match="small: 1 noise seeds were given for 2 samples"):
        model.synthesise(w.repeat(2, 1, 1), noise_seeds=np.array([5]))


def test_what_it_offers():
    assert {"Samples", "HasLatents"} <= set(offers(Model(seeded(Generator, PLAIN), name="small")))


def test_grey_becomes_three_channels_and_others_are_refused():
    grey = Model(seeded(Generator, replace(PLAIN, img_channels=1)), name="grey").sample(np.arange(2))
    assert grey.shape == (2, 3, 16, 16)
    assert torch.equal(grey[:, 0], grey[:, 2])
    with pytest.raises(UsageError, match=r"four makes images of 4 channels; only grey \(1\) and RGB \(3\)"):
        Model(seeded(Generator, replace(PLAIN, img_channels=4)), name="four").sample(np.arange(2))


# ------------------------------------------------------------------------------------------------- bad input


def test_labels_that_do_not_fit():
    model, plain = Model(seeded(Generator, SMALL), name="cond"), Model(seeded(Generator, PLAIN), name="plain")
    seeds = np.arange(3)
    with pytest.raises(
        UsageError, match="cond is conditional on 3 classes and was given no labels; give labels"
    ):
        model.sample(seeds)
    with pytest.raises(UsageError, match=r"labels of shape \(2,\) for 3 samples; give labels from 0 to 2"):
        model.sample(seeds, np.arange(2))
    with pytest.raises(UsageError, match="cond has 3 classes and was given labels 1 to 3"):
        model.sample(seeds, np.array([1, 2, 3]))
    with pytest.raises(UsageError, match="given labels of type float64"):
        model.sample(seeds, np.array([0.0, 1.0, 2.0]))
    with pytest.raises(UsageError, match="plain has no classes and was given labels; give none"):
        plain.sample(seeds, seeds)
    with pytest.raises(UsageError, match=r"StyleGAN2's generator .*3 classes.* no labels"):
        model.generator(normal(2, 10))
    with pytest.raises(UsageError, match=r"StyleGAN2's discriminator .*labels of shape \(4, 2\)"):
        Discriminator(SMALL_D)(normal(4, 3, 16, 16), labels(4, 2))


def test_seeds_that_are_none():
    model = Model(seeded(Generator, PLAIN), name="plain")
    for seeds in (np.array([-1]), np.array([2**32])):
        with pytest.raises(UsageError, match="seeds go from 0 to 4294967295; given are"):
            model.sample(seeds)
    with pytest.raises(UsageError, match=r"seeds are whole numbers of shape \(n,\); given are float64"):
        model.sample(np.array([0.5]))


def test_shapes_that_do_not_fit():
    network, judge = seeded(Generator, PLAIN), Discriminator(PLAIN_D)
    with pytest.raises(
        UsageError, match=r"takes latents of shape \(n, 10\) and was given some of shape \(2, 9\)"
    ):
        network(normal(2, 9))
    with pytest.raises(UsageError, match=r"takes w of shape \(n, 6, 12\); given is \(2, 5, 12\)"):
        network.synthesis(normal(2, 5, 12))
    with pytest.raises(UsageError, match=r"images of shape \(n, 3, 16, 16\); given is \(4, 3, 32, 32\)"):
        judge(normal(4, 3, 32, 32))
    with pytest.raises(UsageError, match="cannot divide a batch of 6"):
        judge(normal(6, 3, 16, 16))
    with pytest.raises(
        UsageError, match=r"unknown noise mode 'constant' \(nearest: const\); accepted are const"
    ):
        network(normal(2, 10), noise_mode="constant")
    with pytest.raises(UsageError, match="1 generators of noise were given for 2 samples"):
        network(normal(2, 10), noise_mode="random", generator=[torch.Generator()])
    with pytest.raises(UsageError, match="truncation_cutoff is -1; give how many"):
        network(normal(2, 10), truncation_psi=0.5, truncation_cutoff=-1)


def test_truncation_without_a_mean_style():
    network = seeded(Generator, replace(PLAIN, mapping=MappingConfig(num_layers=2, w_avg_beta=None)))
    assert "mapping.w_avg" not in network.state_dict()
    network(normal(2, 10))
    with pytest.raises(
        UsageError, match=r"keeps no w_avg, towards which truncation_psi=0.5 would pull; give 1"
    ):
        network(normal(2, 10), truncation_psi=0.5)


@pytest.mark.parametrize(
    ("kind", "field", "value", "message"),
    [
        (GeneratorConfig, "img_resolution", 24, "img_resolution is 24; give a power of two from 4"),
        (DiscriminatorConfig, "img_resolution", 4, "img_resolution is 4; give a power of two from 8"),
        (
            GeneratorConfig,
            "architecture",
            "skipp",
            r"'skipp' \(nearest: skip\); accepted are skip, resnet, orig",
        ),
        (GeneratorConfig, "channel_base", 512, "channel_base is 512; give a whole number from 1024"),
        (GeneratorConfig, "z_dim", 0, "z_dim is 0; give a whole number from 1"),
        (GeneratorConfig, "c_dim", -1, "c_dim is -1; give a whole number from 0"),
        (GeneratorConfig, "conv_clamp", -1.0, r"conv_clamp is -1\.0; give a number above 0"),
        (GeneratorConfig, "resample_filter", (1, -1), "taps of resample_filter add up to 0"),
        (GeneratorConfig, "activation", "lreluu", "nearest: lrelu"),
        (DiscriminatorConfig, "mbstd_group_size", 0, "mbstd_group_size is 0"),
        (MappingConfig, "num_layers", 0, "num_layers is 0; give a whole number from 1"),
        (MappingConfig, "w_avg_beta", 1.5, r"w_avg_beta is 1\.5; give 0 to 1, or None"),
        (MappingConfig, "lr_multiplier", 0, "lr_multiplier is 0; give a number above 0"),
    ],
)
def test_sizes_that_cannot_be(kind: type, field: str, value: object, message: str):
    with pytest.raises(UsageError, match=message):
        kind(**{field: value})


# -------------------------------------------------------------------------------------------- official files


def test_both_layouts_of_official_arguments():
    flat = {
        "z_dim": 16, "img_resolution": 32, "mapping_kwargs": {"num_layers": 2}, "channel_base": 1024,
        "architecture": "resnet", "num_fp16_res": 4, "fused_modconv_default": "inference_only",
        "class_name": "x",
    }  # fmt: skip
    config = convert.config_from_official(flat)
    assert config == GeneratorConfig(
        z_dim=16,
        img_resolution=32,
        channel_base=1024,
        architecture="resnet",
        mapping=MappingConfig(num_layers=2),
    )
    top = {key: flat[key] for key in ("z_dim", "img_resolution", "mapping_kwargs")}
    nested = {"channel_base": 1024, "architecture": "resnet", "num_fp16_res": 4}
    older = convert.config_from_official({**top, "synthesis_kwargs": nested})
    assert older == replace(config, conv_clamp=None, mapping=MappingConfig(num_layers=2, w_avg_beta=0.995))
    given = {**top, "synthesis_kwargs": {**nested, "conv_clamp": 256, "resample_filter": [1, 2, 1]}}
    assert convert.config_from_official(given).conv_clamp == 256
    assert convert.config_from_official(given).resample_filter == (1, 2, 1)
    judge = convert.discriminator_config_from_official({"img_resolution": 32}, ada=True)
    assert judge.conv_clamp is None
    assert convert.discriminator_config_from_official({"img_resolution": 32}).conv_clamp == 256


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"chanel_max": 8}, r"StyleGAN2's generator: unknown .*'chanel_max' \(nearest to .*: channel_max"),
        (
            {"mapping_kwargs": {"depth": 8, "width": 1}},
            r"generator, mapping_kwargs: unknown .* 'depth', 'width'",
        ),
        ({"synthesis_kwargs": {"channel_bas": 8}}, r"generator, synthesis_kwargs: unknown .* 'channel_bas'"),
        ({"synthesis_kwargs": {}, "channel_base": 8192}, "unknown constructor argument 'channel_base'"),
        ({"z_dim": "512"}, "the constructor argument z_dim is '512', which is not a whole number"),
        ({"conv_clamp": "a"}, "conv_clamp is 'a', which is not a finite number"),
        ({"conv_clamp": math.nan}, "conv_clamp is nan, which is not a finite number"),
        ({"use_noise": "yes"}, "use_noise is 'yes', which is not True or False"),
        ({"architecture": 3}, "architecture is 3, which is not a string"),
        ({"resample_filter": "1331"}, "resample_filter is '1331', which is not a list of finite numbers"),
        ({"mapping_kwargs": [1]}, r"mapping_kwargs is \[1\], which is not a dictionary"),
    ],
)
def test_official_arguments_that_are_refused(given: dict[str, object], message: str):
    with pytest.raises(CheckpointError, match=message):
        convert.config_from_official(given)


@pytest.mark.parametrize(("build", "config"), [(Generator, SMALL), (Discriminator, SMALL_D)])
def test_tensors_go_both_ways(build: type, config: GeneratorConfig | DiscriminatorConfig):
    state = seeded(build, config).state_dict()
    there = convert.to_official(state, config)
    back = convert.from_official({name: value.numpy() for name, value in there.items()}, config)
    assert list(back) == list(state)
    assert all(torch.equal(back[name], state[name]) for name in state)
    half = convert.from_official(
        {name: value.numpy().astype(np.float16) for name, value in there.items()}, config
    )
    assert {value.dtype for value in half.values()} == {torch.float32}
    assert torch.equal(half["mapping.fc0.bias"], state["mapping.fc0.bias"].half().float())


def test_tensors_that_do_not_fit_are_all_named():
    state = dict(seeded(Generator, PLAIN).state_dict())
    state["b4.conv.weight"] = state.pop("synthesis.b4.const")
    state["mapping.extra"] = torch.zeros(2)
    state["mapping.w_avg"] = torch.zeros(13)
    with pytest.raises(CheckpointError) as caught:
        convert.from_official(state, PLAIN)
    message = str(caught.value)
    assert "StyleGAN2's generator" in message
    assert "missing: synthesis.b4.const [12, 4, 4]" in message
    assert "2 left over: b4.conv.weight [12, 4, 4], mapping.extra [2]" in message
    assert "mapping.w_avg is [13], not [12]" in message


def test_values_that_are_no_numbers_are_named():
    state = dict(seeded(Generator, PLAIN).state_dict())
    state["synthesis.b8.conv0.weight"] = state["synthesis.b8.conv0.weight"].clone()
    state["synthesis.b8.conv0.weight"][3, 2] = math.nan
    with pytest.raises(CheckpointError, match=r"'synthesis\.b8\.conv0\.weight' holds NaN or infinite values"):
        convert.from_official(state, PLAIN)
    state["synthesis.b8.conv0.weight"] = np.full((12, 12, 3, 3), "a")
    with pytest.raises(CheckpointError, match=r"conv0\.weight' holds <U1, not numbers"):
        convert.from_official(state, PLAIN)
    state["synthesis.b8.conv0.weight"] = [1, 2]
    with pytest.raises(CheckpointError, match=r"conv0\.weight' is a list, not a tensor"):
        convert.from_official(state, PLAIN)


def test_a_network_that_gives_nan_makes_no_images():
    network = seeded(Generator, PLAIN)
    with torch.no_grad():
        network.synthesis.b16.torgb.bias.fill_(math.nan)
    with pytest.raises(SourceError, match="NaN"):
        Model(network, name="broken").sample(np.arange(2))


def test_arguments_of_files_that_came_from_tensorflow():
    """The official converter of older files spells every argument out."""
    mapping = {"num_layers": 8, "embed_features": None, "layer_features": None, "activation": "lrelu"}
    generator = convert.config_from_official(
        {
            "z_dim": 512, "c_dim": 0, "w_dim": 512, "img_resolution": 256, "img_channels": 3,
            "mapping_kwargs": {**mapping, "lr_multiplier": 0.01, "w_avg_beta": 0.995},
            "synthesis_kwargs": {
                "channel_base": 32768, "channel_max": 512, "num_fp16_res": 0, "conv_clamp": None,
                "architecture": "skip", "resample_filter": [1, 3, 3, 1], "use_noise": True,
                "activation": "lrelu",
            },
        }
    )  # fmt: skip
    assert generator == GeneratorConfig(
        img_resolution=256, conv_clamp=None, mapping=MappingConfig(w_avg_beta=0.995)
    )
    judge = convert.discriminator_config_from_official(
        {
            "c_dim": 0, "img_resolution": 256, "img_channels": 3, "architecture": "resnet",
            "channel_base": 32768, "channel_max": 512, "num_fp16_res": 0, "conv_clamp": None, "cmap_dim": 512,
            "block_kwargs": {"activation": "lrelu", "resample_filter": [1, 3, 3, 1], "freeze_layers": 0},
            "mapping_kwargs": {**mapping, "lr_multiplier": 0.1},
            "epilogue_kwargs": {"mbstd_group_size": None, "mbstd_num_channels": 1, "activation": "relu"},
        }
    )  # fmt: skip
    assert judge == DiscriminatorConfig(
        img_resolution=256, conv_clamp=None, cmap_dim=512, mbstd_group_size=None, epilogue_activation="relu",
        mapping=MappingConfig(lr_multiplier=0.1, w_avg_beta=None),
    )  # fmt: skip


def test_double_precision_is_kept():
    network, judge = seeded(Generator, SMALL).double(), seeded(Discriminator, SMALL_D).double()
    img = network(normal(4, 10), labels(4))
    assert img.dtype == torch.float64
    assert judge(img, labels(4)).dtype == torch.float64
    torch.testing.assert_close(img.float(), seeded(Generator, SMALL)(normal(4, 10), labels(4)))
