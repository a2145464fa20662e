"""ProGAN: laws of growing, published sizes, what a user can get wrong."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from evalkit.errors import CheckpointError, UsageError
from golden_cases import FOLDER
from reference_models.layers.growing import fused_down, fused_up, resampled_conv
from reference_models.progan import convert
from reference_models.progan.config import PRESETS, DiscriminatorConfig, GeneratorConfig
from reference_models.progan.discriminator import Discriminator
from reference_models.progan.evaluate import Model
from reference_models.progan.generator import Generator
from reference_models.progan.objective import discriminator_loss, generator_loss

SMALL = GeneratorConfig(img_resolution=16, c_dim=3, fmap_base=64, fmap_max=12)
SMALL_D = DiscriminatorConfig(img_resolution=16, c_dim=3, fmap_base=64, fmap_max=12)


def seeded(build, *args, seed: int = 0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(*args)


def images(num: int = 8, side: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.randn(num, channels, side, side, generator=torch.Generator().manual_seed(1))


def labels(num: int = 8, c_dim: int = 3) -> torch.Tensor:
    return torch.eye(c_dim)[torch.arange(num) % c_dim]


# ------------------------------------------------------------------------------------------------------ laws


def test_fused_forms_equal_their_plain_ones():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 6, 6, generator=rng, dtype=torch.float64)
    weight = torch.randn(5, 3, 3, 3, generator=rng, dtype=torch.float64)
    plain = resampled_conv(x, weight.flip(2, 3), resample="up", fused=False)
    torch.testing.assert_close(fused_up(x, weight), plain)
    plain = resampled_conv(x, weight, resample="down", fused=False)
    torch.testing.assert_close(fused_down(x, weight), plain)


@pytest.mark.parametrize("whole", [1, 2])
def test_the_fade_is_continuous(whole: int):
    generator, discriminator = seeded(Generator, SMALL), seeded(Discriminator, SMALL_D)
    z, c = images(4, 12, 1)[:, 0, 0], labels(4)
    with torch.no_grad():
        for network, args in (
            (generator, (z, c)),
            (lambda x, lod: discriminator(x, lod=lod)[0], (images(4),)),
        ):
            below, at = network(*args, lod=whole - 1e-6), network(*args, lod=float(whole))
            torch.testing.assert_close(below, at, rtol=1e-4, atol=1e-4)


def test_whole_levels_repeat_pixels_and_stop_at_4x4():
    generator = seeded(Generator, SMALL)
    z, c = images(2, 12, 1)[:, 0, 0], labels(2)
    with torch.no_grad():
        out = generator(z, c, lod=1.0)
        assert torch.equal(out[:, :, ::2, ::2], out[:, :, 1::2, 1::2])
        assert torch.equal(generator(z, c, lod=2.0), generator(z, c, lod=9.0))


def test_blocks_above_the_level_are_not_run():
    generator, discriminator = seeded(Generator, SMALL), seeded(Discriminator, SMALL_D)
    for network in (generator, discriminator):
        network.get_submodule("16x16").forward = None  # would fail if it were called
    generator(images(4, 12, 1)[:, 0, 0], labels(4), lod=1.0)
    discriminator(images(4), lod=1.0)


def test_without_equalised_rates_the_scale_is_in_the_weights():
    with_scale = seeded(Generator, SMALL)
    without = seeded(Generator, replace(SMALL, use_wscale=False))
    z, c = images(2, 12, 1)[:, 0, 0], labels(2)
    with torch.no_grad():
        torch.testing.assert_close(with_scale(z, c), without(z, c))
    assert not torch.equal(
        with_scale.state_dict()["4x4.Conv.weight"], without.state_dict()["4x4.Conv.weight"]
    )


def test_latents_and_labels_are_normalised_together():
    generator = seeded(Generator, SMALL)
    z, c = images(2, 12, 1)[:, 0, 0], labels(2)
    with torch.no_grad():
        torch.testing.assert_close(
            generator.synthesis(3.0 * generator.join(z, c)), generator(z, c), rtol=1e-4, atol=1e-5
        )
        assert not torch.allclose(generator(3.0 * z, c), generator(z, c), atol=1e-3)


def test_losses_without_labels_and_their_parts():
    config = replace(SMALL_D, c_dim=0)
    discriminator = seeded(Discriminator, config)
    reals, fakes = images(), images().flip(0)
    u = torch.linspace(0, 1, 8)
    found = discriminator_loss(discriminator, reals, fakes, u, wgan_lambda=0.0, wgan_epsilon=0.0)
    torch.testing.assert_close(found.total, (discriminator(fakes)[0] - discriminator(reals)[0])[:, 0])
    scores = generator_loss(discriminator, fakes)
    torch.testing.assert_close(scores.total, -discriminator(fakes)[0][:, 0])
    found = discriminator_loss(discriminator, reals, fakes, u, wgan_target=750.0)
    torch.testing.assert_close(
        found.gradient.penalty, 10.0 / 750.0**2 * (found.gradient.norms - 750.0).square()
    )


# ------------------------------------------------------------------------------------------- sizes and names


@pytest.mark.parametrize(
    ("file", "fused"),
    [
        ("progan_G_1024_fused", True),
        ("progan_G_1024_unfused", False),
        ("progan_D_1024_fused", True),
        ("progan_D_1024_unfused", False),
    ],
)
def test_full_size_names_and_shapes(file: str, fused: bool):
    path = FOLDER / "gan_family_checkpoint_shapes" / f"{file}.json"
    if not path.is_file():
        pytest.skip("no golden cases here")
    facts = json.loads(path.read_text())
    preset = PRESETS["celebahq1024"]
    config = preset.generator if "_G_" in file else preset.discriminator
    config = replace(config, fused_scale=fused)
    theirs = convert.tf_shapes(config)
    assert {name: list(shape) for name, shape in theirs.items()} == facts["variables"]
    trainable = sum(math.prod(shape) for name, shape in theirs.items() if name not in facts["non_trainable"])
    assert trainable == facts["trainable_parameters"]


def test_presets():
    assert {"celebahq1024", "lsun256", "cifar10", "tiny"} <= set(PRESETS)
    tiny = PRESETS["tiny"]
    num = sum(
        p.numel()
        for network in (Generator(tiny.generator), Discriminator(tiny.discriminator))
        for p in network.parameters()
    )
    assert num < 1_000_000
    assert tiny.generator.img_resolution == 32
    # Table 2 of the paper, up to 32x32: 512 channels everywhere.
    assert [PRESETS["cifar10"].generator.maps(stage) for stage in range(5)] == [512] * 5
    with torch.device("meta"):
        assert Generator(PRESETS["lsun256"].generator).z_dim == 512


def test_config_from_official():
    config = convert.config_from_official(
        {"num_channels": 3, "resolution": 64, "label_size": 2, "fmap_base": np.int64(4096),
         "latent_size": None, "dtype": "float16", "structure": "recursive", "fused_scale": False}
    )  # fmt: skip
    assert config == GeneratorConfig(img_resolution=64, c_dim=2, fmap_base=4096, fused_scale=False)
    assert type(config.fmap_base) is int
    with pytest.raises(CheckpointError, match="unknown options 'fmap_bass' \\(nearest: fmap_base"):
        convert.discriminator_config_from_official({"fmap_bass": 1})


# --------------------------------------------------------------------------------------------- ported files


@pytest.mark.parametrize("fused", [True, False])
def test_ported_files_give_the_same_images(fused: bool):
    config = replace(SMALL, fused_scale=fused)
    generator = seeded(Generator, config)
    ported = convert.to_ported(config, generator.state_dict())
    assert ported["layer0.weight"].shape == (12, config.latent_size + 3, 4, 4)
    z, c = images(2, 12, 1)[:, 0, 0], labels(2)
    # A 4x4 dense layer is a convolution of a padded pixel, its kernel seen from the other side.
    joined = generator.join(z, c)
    dense = generator.get_submodule("4x4").Dense
    as_conv = torch.nn.functional.conv2d(joined[:, :, None, None], ported["layer0.weight"], padding=3)
    torch.testing.assert_close(as_conv * dense.scale, dense.product(joined).unflatten(1, (-1, 4, 4)))
    for form in (True, False):
        other = replace(config, fused_scale=form)
        again = Generator(other)
        again.load_state_dict(convert.from_ported(other, ported))
        with torch.no_grad():
            torch.testing.assert_close(again(z, c), generator(z, c), rtol=1e-4, atol=1e-5)


def test_a_ported_file_that_kept_the_fused_form_is_told_by_its_shapes():
    config = GeneratorConfig(img_resolution=16, fmap_base=32, fmap_max=12)
    generator = seeded(Generator, config)
    ported = convert.to_ported(config, generator.state_dict())
    kept = {
        f"layer{2 * b}.weight": generator.state_dict()[f"{4 << b}x{4 << b}.Conv0_up.weight"] for b in (1, 2)
    }
    back = convert.from_ported(config, {**ported, **kept})
    for name, value in generator.state_dict().items():
        assert torch.equal(back[name], value), name
    mixed = {**ported, "layer2.weight": kept["layer2.weight"]}
    with pytest.raises(CheckpointError, match="some upscaling kernels are \\(in, out, k, k\\) and some"):
        convert.from_ported(config, mixed)


@pytest.mark.parametrize("config", [SMALL, SMALL_D, replace(SMALL_D, fused_scale=False)])
def test_ported_and_tensorflow_names_come_back(config):
    network = seeded(Generator if isinstance(config, GeneratorConfig) else Discriminator, config)
    state = network.state_dict()
    for there, back in ((convert.to_ported, convert.from_ported), (convert.to_tf, convert.from_tf)):
        found = back(config, there(config, state))
        assert found.keys() == state.keys()
        for name, value in state.items():
            assert torch.equal(found[name], value), name
    ported = convert.to_ported(config, state)
    del ported["lod"]
    assert convert.from_ported(config, ported)["lod"] == 0


def test_leftover_missing_and_misshapen_variables_are_all_named():
    variables = convert.to_tf(SMALL, seeded(Generator, SMALL).state_dict())
    variables["16x16/Conv2/weight"] = np.zeros((3, 3, 4, 4), np.float32)
    del variables["4x4/Dense/bias"], variables["lod"]
    variables["8x8/Conv1/bias"] = np.zeros(5, np.float32)
    with pytest.raises(CheckpointError) as caught:
        convert.from_tf(SMALL, variables)
    for part in ("progan generator", "16x16/Conv2/weight", "4x4/Dense/bias", "lod", "8x8/Conv1/bias", "5"):
        assert part in str(caught.value)


def test_nan_is_refused_by_name_and_half_precision_widened():
    variables = convert.to_tf(SMALL, seeded(Generator, SMALL).state_dict())
    half = {name: array.astype(np.float16) for name, array in variables.items()}
    assert all(value.dtype == torch.float32 for value in convert.from_tf(SMALL, half).values())
    variables["8x8/Conv1/weight"][0, 0, 0, 0] = np.nan
    with pytest.raises(CheckpointError, match="'8x8.Conv1.weight' holds NaN"):
        convert.from_tf(SMALL, variables)


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: GeneratorConfig(img_resolution=48), "img_resolution is 48; give a power of two"),
        (lambda: GeneratorConfig(fmap_base=16), "without channels; give a larger fmap_base"),
        (lambda: DiscriminatorConfig(c_dim=-1), "c_dim is -1; give a whole number from 0"),
        (lambda: DiscriminatorConfig(fmap_decay=-1.0), "fmap_decay is -1.0; give a number from 0 to 8"),
        (lambda: DiscriminatorConfig(fused_scale="auto"), "fused_scale is 'auto'; give True or False"),
        (lambda: GeneratorConfig(z_dim=0), "z_dim is 0; give a whole number from 1"),
        (lambda: Generator(SMALL)(torch.zeros(2, 5), labels(2)), r"latents of shape \(2, 5\)"),
        (lambda: Generator(SMALL)(torch.zeros(2, 12)), "conditional on 3 classes and was given no labels"),
        (lambda: Generator(SMALL)(torch.zeros(2, 12), labels(2, 4)), r"labels of shape \(2, 4\)"),
        (lambda: Generator(replace(SMALL, c_dim=0))(torch.zeros(2, 12), labels(2)), "has no labels"),
        (lambda: Discriminator(SMALL_D)(images(6)), "batch of 6 into groups of 4"),
    ],
)  # fmt: skip
def test_bad_input(call, text: str):
    with pytest.raises(UsageError, match=text):
        call()


# ---------------------------------------------------------------------------------------------------- model


def test_the_image_of_a_seed_depends_on_that_seed_alone():
    model = Model(seeded(Generator, replace(SMALL, img_channels=1)), name="progan:test")
    seeds, classes = np.arange(40), np.arange(40) % 3
    whole = model.sample(seeds, classes)
    assert whole.shape == (40, 3, 16, 16)
    assert whole.dtype == torch.uint8
    assert torch.equal(whole[:, 0], whole[:, 2])  # grey, repeated
    assert torch.equal(model.sample(seeds[7:8], classes[7:8])[0], whole[7])
    order = np.random.default_rng(0).permutation(40)
    assert torch.equal(model.sample(seeds[order], classes[order]), whole[torch.from_numpy(order)])
    assert model.sample(seeds[:0], classes[:0]).shape == (0, 3, 16, 16)
    np.testing.assert_allclose(
        model.latents(np.array([5]))[0], np.random.RandomState(5).randn(12).astype(np.float32)
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "progan:test is conditional on 3 classes.* give labels"),
        ({"labels": np.array([0, 3])}, "has 3 classes and was given label.* 3; give"),
        ({"labels": np.array([0])}, r"labels of shape \(1,\)"),
        (
            {"labels": np.array([0, 1]), "truncation_psi": 0.7},
            "truncation psi 0.7; ProGAN has no average latent",
        ),
    ],
)
def test_bad_requests(options, text: str):
    model = Model(seeded(Generator, SMALL), name="progan:test")
    with pytest.raises(UsageError, match=text):
        model.sample(np.array([0, 1]), **options)


def test_seeds_out_of_range_and_labels_unasked_for():
    model = Model(seeded(Generator, replace(SMALL, c_dim=0)), name="progan:test")
    with pytest.raises(UsageError, match="seeds go from 0 to 4294967295"):
        model.sample(np.array([-1]))
    with pytest.raises(UsageError, match="progan:test has no classes and was given labels"):
        model.sample(np.array([1]), np.array([0]))
