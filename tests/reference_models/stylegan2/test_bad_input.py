"""StyleGAN2: what a user can get wrong, and official files."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_stylegan2 import PLAIN, PLAIN_D, SMALL, SMALL_D, labels, normal, seeded

from evalkit.errors import CheckpointError, SourceError, UsageError
from reference_models.layers.mapping import MappingConfig
from reference_models.stylegan2 import convert
from reference_models.stylegan2.config import DiscriminatorConfig, GeneratorConfig
from reference_models.stylegan2.discriminator import Discriminator
from reference_models.stylegan2.evaluate import Model
from reference_models.stylegan2.generator import Generator

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
