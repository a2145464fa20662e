"""StyleGAN2 in its published sizes: names, shapes, counts and initial values."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from small_stylegan2 import shapes

from golden_cases import FOLDER
from reference_models.layers.mapping import MappingConfig
from reference_models.stylegan2.config import PRESETS, DiscriminatorConfig, GeneratorConfig
from reference_models.stylegan2.discriminator import Discriminator
from reference_models.stylegan2.generator import Generator

SHAPES = FOLDER / "gan_family_checkpoint_shapes"


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
