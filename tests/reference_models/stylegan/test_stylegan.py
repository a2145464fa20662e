"""StyleGAN: laws of its parts, published sizes, files, what a user can get wrong."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from evalkit.errors import CheckpointError, UsageError
from golden_cases import FOLDER
from reference_models import ops
from reference_models.layers.growing import resampled_conv
from reference_models.stylegan import convert
from reference_models.stylegan.config import PRESETS, DiscriminatorConfig, GeneratorConfig, MappingConfig
from reference_models.stylegan.discriminator import Discriminator
from reference_models.stylegan.evaluate import Model
from reference_models.stylegan.generator import Generator, active_layers
from reference_models.stylegan.layers import Blur
from reference_models.stylegan.objective import (
    discriminator_logistic,
    discriminator_wgan_gp,
    draw_mixing_cutoff,
    generator_logistic,
    generator_wgan,
    mixing_cutoff,
)

SMALL = GeneratorConfig(
    img_resolution=16, z_dim=10, w_dim=12, c_dim=3, fmap_base=64, fmap_max=12, truncation_cutoff=None,
    mapping=MappingConfig(num_layers=3, layer_features=14),
)  # fmt: skip
SMALL_D = DiscriminatorConfig(img_resolution=16, c_dim=3, fmap_base=64, fmap_max=12)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def generator_of(config: GeneratorConfig = SMALL) -> Generator:
    """A generator with all parameters and buffers of a trained one: noise and biases too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(config)
        with torch.no_grad():
            for name, value in generator.state_dict().items():
                if name.endswith(("bias", "Noise.weight", "dlatent_avg")):
                    value.copy_(torch.randn(value.shape) * 0.3)
    return generator


def discriminator_of(config: DiscriminatorConfig = SMALL_D) -> Discriminator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Discriminator(config)


def labels(num: int, c_dim: int = 3) -> torch.Tensor:
    return torch.eye(c_dim)[torch.arange(num) % c_dim]


# ------------------------------------------------------------------------------------------------------ laws


def test_truncation():
    generator = generator_of()
    z, c = normal(2, 10), labels(2)
    plain = generator.map(z, c)
    assert plain.shape == (2, 6, 12)
    assert torch.equal(plain[:, :1].expand(-1, 6, -1), plain)
    zero = generator.map(z, c, truncation_psi=0.0)
    torch.testing.assert_close(zero, generator.w_avg.expand(2, 6, 12))
    cut = generator.map(z, c, truncation_psi=0.5, truncation_cutoff=2)
    torch.testing.assert_close(cut[:, :2], 0.5 * (plain + generator.w_avg)[:, :2])
    assert torch.equal(cut[:, 2:], plain[:, 2:])
    assert torch.equal(generator.map(z, c, truncation_psi=0.5, truncation_cutoff=0), plain)
    published = generator_of(replace(SMALL, truncation_cutoff=4))
    own = published.map(z, c, truncation_psi=0.5)
    assert torch.equal(own[:, 4:], published.map(z, c)[:, 4:])
    assert torch.equal(own, published.map(z, c, truncation_psi=0.5, truncation_cutoff=4))


def test_the_average_moves_toward_the_batch():
    generator = generator_of()
    before, w = generator.w_avg.clone(), normal(5, 12)
    generator.update_w_avg(w)
    torch.testing.assert_close(generator.dlatent_avg, 0.995 * before + 0.005 * w.mean(dim=0))


def test_mixing_takes_coarse_styles_from_the_first_and_fine_ones_from_the_second():
    generator = generator_of()
    one, two, c = normal(2, 10), normal(2, 10, seed=2), labels(2)
    with torch.no_grad():
        ws = torch.cat([generator.map(one, c)[:, :3], generator.map(two, c)[:, 3:]], dim=1)
        mixed = generator.training_images(one, c, z_mix=two, cutoff=3, noise="const")
        assert torch.equal(mixed, generator.synthesis(ws))
    with pytest.raises(UsageError, match="without a cutoff"):
        generator.training_images(one, c, z_mix=two)


def test_cutoffs_are_layers_with_influence():
    assert [active_layers(18, lod) for lod in (0.0, 0.9, 1.0, 2.5, 8.0, 9.0)] == [18, 18, 16, 14, 2, 2]
    assert mixing_cutoff(18, 1.2, uniform=0.89, draw=5) == 5
    assert mixing_cutoff(18, 1.2, uniform=0.9, draw=5) == 16
    rng = torch.Generator().manual_seed(0)
    drawn = [draw_mixing_cutoff(8, 1.0, rng) for _ in range(300)]
    assert set(drawn) == {1, 2, 3, 4, 5, 6}
    assert 0.8 < sum(cutoff < 6 for cutoff in drawn) / 300 < 0.97
    assert {draw_mixing_cutoff(8, 3.0, rng) for _ in range(30)} <= {1, 2}


def test_noise_is_added_where_the_layer_asks():
    generator = generator_of()
    ws = generator.map(normal(2, 10), labels(2))
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        maps = generator.synthesis.noise_maps(2, "random", torch.Generator().manual_seed(3))
        assert [tuple(m.shape) for m in maps] == [(2, 1, s, s) for s in (4, 4, 8, 8, 16, 16)]
        drawn = generator.synthesis(ws, noise="random", rng=rng)
        assert torch.equal(drawn, generator.synthesis(ws, noise=maps))
        zero = [torch.zeros(1, 1, 1, 1)] * 6
        assert torch.equal(generator.synthesis(ws, noise="none"), generator.synthesis(ws, noise=zero))
        assert not torch.equal(generator.synthesis(ws), drawn)
        quiet = generator_of(replace(SMALL, use_noise=False))
        assert not any("oise" in name for name in quiet.state_dict())
        assert torch.equal(quiet.synthesis(ws), quiet.synthesis(ws, noise="none"))


@pytest.mark.parametrize("noise", ["constant", "random"])
def test_noise_that_cannot_be_had(noise: str):
    text = "unknown noise mode 'constant' \\(nearest: const" if noise == "constant" else "give rng"
    with pytest.raises(UsageError, match=text):
        generator_of().synthesis(torch.zeros(1, 6, 12), noise=noise)
    with pytest.raises(UsageError, match="2 noise maps were given; this network has 6 layers"):
        generator_of().synthesis(torch.zeros(1, 6, 12), noise=[torch.zeros(1, 1, 4, 4)] * 2)


def test_blur():
    x = normal(2, 3, 7, 5).double()
    got = Blur((1.0, 2.0, 1.0)).double()(x)
    kernel = torch.tensor([1.0, 2.0, 1.0]).double()
    kernel = (kernel[:, None] * kernel / 16).expand(3, 1, 3, 3)
    torch.testing.assert_close(got, torch.nn.functional.conv2d(x, kernel, padding=1, groups=3))
    skew = Blur((0.0, 1.0, 3.0)).double()(x)[:, :, :-1, :-1]
    wanted = (x[..., :-1, :-1] + 3 * x[..., :-1, 1:] + 3 * (x[..., 1:, :-1] + 3 * x[..., 1:, 1:])) / 16
    torch.testing.assert_close(skew, wanted)
    assert torch.equal(Blur(None)(x), x)
    assert not Blur((1.0, 2.0, 1.0)).state_dict()
    with torch.device("meta"):  # planned networks still blur once their tensors are filled in
        assert Blur((1.0, 2.0, 1.0)).kernel.device.type == "cpu"


def test_fusing_starts_at_128_and_keeps_the_discriminator():
    config = PRESETS["ffhq1024"].generator
    assert [config.fused(side) for side in (64, 128, 256)] == [False, True, True]
    assert replace(config, fused_scale=True).fused(8)
    assert not replace(config, fused_scale=False).fused(1024)
    images, c = normal(4, 3, 16, 16), labels(4)
    plain, fused = discriminator_of(), discriminator_of(replace(SMALL_D, fused_scale=True))
    with torch.no_grad():
        torch.testing.assert_close(plain(images, c), fused(images, c), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("resample", ["up", "down"])
def test_the_fast_path_computes_the_unfused_form(resample: str):
    x = normal(2, 5, 32, 32).double().requires_grad_()
    weight = normal(4, 5, 3, 3).double().requires_grad_()
    found = {}
    for path in ("reference", "fast"):
        with ops.use(path):
            y = resampled_conv(x, weight, resample=resample, fused=False)
            grads = torch.autograd.grad(y.square().sum(), (x, weight), create_graph=True)
            second = torch.autograd.grad(sum(g.square().sum() for g in grads), (x, weight))
        found[path] = [y, *grads, *second]
    for plain, fast in zip(*found.values(), strict=True):
        torch.testing.assert_close(fast, plain)


def test_labels_choose_the_output_and_feature_groups_add_channels():
    discriminator = discriminator_of(replace(SMALL_D, mbstd_num_features=3))
    assert discriminator.get_submodule("4x4").Conv.weight.shape[1] == 12 + 3
    images = normal(4, 3, 16, 16)
    with torch.no_grad():
        each = [discriminator(images, torch.eye(3)[[k] * 4]) for k in range(3)]
        mixed = discriminator(images, torch.tensor([[0.5, 0.25, 0.25]] * 4))
    torch.testing.assert_close(mixed, 0.5 * each[0] + 0.25 * each[1] + 0.25 * each[2])


def test_losses():
    discriminator, c = discriminator_of(), labels(8)
    reals, fakes = normal(8, 3, 16, 16), normal(8, 3, 16, 16, seed=2)
    d_real, d_fake = discriminator(reals, c)[:, 0], discriminator(fakes, c)[:, 0]
    torch.testing.assert_close(generator_logistic(discriminator, fakes, c), torch.log1p(torch.exp(-d_fake)))
    torch.testing.assert_close(generator_wgan(discriminator, fakes, c), -d_fake)
    plain = discriminator_logistic(discriminator, reals, fakes, c, r1_gamma=0.0)
    torch.testing.assert_close(plain.total, torch.log1p(torch.exp(d_fake)) + torch.log1p(torch.exp(-d_real)))
    both = discriminator_logistic(discriminator, reals, fakes, c, r1_gamma=4.0, r2_gamma=2.0)
    swapped = discriminator_logistic(discriminator, fakes, reals, c, r1_gamma=2.0, r2_gamma=4.0)
    torch.testing.assert_close(both.r1, swapped.r2)
    torch.testing.assert_close(both.total, plain.total + 2.0 * both.r1 + both.r2)
    u = torch.zeros(8)  # at the reals, where the penalty's norm is R1's
    wgan = discriminator_wgan_gp(discriminator, reals, fakes, u, c, wgan_epsilon=0.5)
    torch.testing.assert_close(wgan.penalties, 10.0 * (both.r1.sqrt() - 1.0).square())
    torch.testing.assert_close(wgan.scores, d_fake - d_real + 0.5 * d_real.square())


# ------------------------------------------------------------------------------------------- sizes and names


@pytest.mark.parametrize("file", ["stylegan1_G_1024", "stylegan1_D_1024"])
def test_full_size_names_and_shapes(file: str):
    path = FOLDER / "gan_family_checkpoint_shapes" / f"{file}.json"
    if not path.is_file():
        pytest.skip("no golden cases here")
    facts = json.loads(path.read_text())
    preset = PRESETS["ffhq1024"]
    theirs = convert.tf_shapes(preset.generator if "_G_" in file else preset.discriminator)
    wanted = {name.removeprefix("G_"): tuple(shape) for name, shape in facts["variables"].items()}
    assert theirs == wanted
    fixed = {name.removeprefix("G_") for name in facts["non_trainable"]}
    trainable = sum(math.prod(shape) for name, shape in theirs.items() if name not in fixed)
    assert trainable == facts["trainable_parameters"]


def test_buffers_are_what_is_not_trained():
    generator = generator_of()
    trained = {name for name, _ in generator.named_parameters()}
    assert set(generator.state_dict()) - trained == {
        "lod", "dlatent_avg", "synthesis.lod", *(f"synthesis.noise{layer}" for layer in range(6)),
    }  # fmt: skip


def test_presets():
    assert {"ffhq1024", "celebahq1024", "bedrooms256", "tiny"} <= set(PRESETS)
    tiny = PRESETS["tiny"]
    networks = Generator(tiny.generator), Discriminator(tiny.discriminator)
    assert sum(p.numel() for network in networks for p in network.parameters()) < 1_000_000
    with torch.device("meta"):
        assert Generator(PRESETS["ffhq1024"].generator).num_ws == 18
        assert Generator(PRESETS["bedrooms256"].generator).num_ws == 14


def test_config_from_official():
    assert convert.config_from_official({}) == GeneratorConfig()
    config = convert.config_from_official({
        "num_channels": 3, "resolution": 16, "label_size": 3, "latent_size": 10, "dlatent_size": 12,
        "mapping_layers": np.int32(3), "mapping_fmaps": 14, "mapping_lrmul": 0.01, "fmap_base": 64,
        "fmap_max": 12, "truncation_psi": 0.7,
        "truncation_cutoff": None, "style_mixing_prob": 0.9, "use_styles": True,
        "blur_filter": [1, 2, 1], "fused_scale": "auto",
    })  # fmt: skip
    assert config == SMALL
    small = convert.discriminator_config_from_official(
        {"num_channels": 3, "resolution": 16, "label_size": 3, "fmap_base": 64, "fmap_max": 12,
         "blur_filter": None}
    )  # fmt: skip
    assert small == replace(SMALL_D, blur_filter=None)
    with pytest.raises(CheckpointError, match="unknown options 'aug_p', 'zoom' \\(nearest"):
        convert.config_from_official({"zoom": 1, "aug_p": 2})
    with pytest.raises(CheckpointError, match="option use_styles is False; only True can be rebuilt"):
        convert.config_from_official({"use_styles": False})


# --------------------------------------------------------------------------------------------- ported files


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, c_dim=0, use_noise=False), SMALL_D])
def test_ported_and_tensorflow_names_come_back(config):
    network = generator_of(config) if isinstance(config, GeneratorConfig) else discriminator_of(config)
    state = network.state_dict()
    for there, back in ((convert.to_ported, convert.from_ported), (convert.to_tf, convert.from_tf)):
        found = back(config, there(config, state))
        assert found.keys() == state.keys()
        for name, value in state.items():
            assert torch.equal(found[name], value), name


def test_ported_files_may_lack_levels_and_hold_blurs():
    state = generator_of().state_dict()
    ported = convert.to_ported(SMALL, state)
    del ported["lod"], ported["synthesis.lod"]
    ported["synthesis.layer2.blur.kernel"] = Blur((1.0, 2.0, 1.0)).kernel.expand(12, 1, 3, 3).clone()
    assert convert.from_ported(SMALL, ported).keys() == state.keys()
    ported["synthesis.layer2.blur.kernel"] = torch.ones(12, 1, 3, 3) / 9
    with pytest.raises(CheckpointError, match="'synthesis.layer2.blur.kernel' is not the blur of"):
        convert.from_ported(SMALL, ported)


def test_leftover_missing_and_misshapen_variables_are_all_named():
    variables = convert.to_tf(SMALL, generator_of().state_dict())
    variables["synthesis/16x16/Conv2/weight"] = np.zeros((3, 3, 4, 4), np.float32)
    del variables["mapping/Dense1/bias"], variables["dlatent_avg"]
    variables["synthesis/noise2"] = np.zeros((1, 1, 5, 5), np.float32)
    with pytest.raises(CheckpointError) as caught:
        convert.from_tf(SMALL, variables)
    for part in ("stylegan generator", "16x16/Conv2/weight", "Dense1/bias", "dlatent_avg", "noise2", "5"):
        assert part in str(caught.value)


def test_nan_is_refused_by_name():
    variables = convert.to_tf(SMALL, generator_of().state_dict())
    variables["synthesis/8x8/Conv1/StyleMod/bias"][3] = np.inf
    with pytest.raises(CheckpointError, match="8x8.Conv1.StyleMod.bias.* holds NaN or infinite"):
        convert.from_tf(SMALL, variables)


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: GeneratorConfig(img_resolution=100), "img_resolution is 100; give a power of two"),
        (lambda: GeneratorConfig(w_dim=0), "w_dim is 0; give a whole number from 1"),
        (lambda: GeneratorConfig(nonlinearity="elu"), "nonlinearity is 'elu' .*accepted are lrelu, relu"),
        (lambda: MappingConfig(num_layers=0), "num_layers is 0; give a whole number from 1"),
        (lambda: DiscriminatorConfig(blur_filter=(1.0, 1.0)), "blur_filter is .* give an odd number of taps"),
        (lambda: GeneratorConfig(fused_scale="no"), "fused_scale is 'no'; give True, False or 'auto'"),
        (lambda: generator_of()(normal(2, 9), labels(2)), r"latents of shape \(2, 9\); it takes \(n, 10\)"),
        (lambda: generator_of()(normal(2, 10)), "conditional on 3 classes and was given no labels"),
        (lambda: generator_of()(normal(2, 10), labels(2, 5)), r"labels of shape \(2, 5\)"),
        (lambda: generator_of().synthesis(normal(2, 5, 12)), r"styles of shape \(2, 5, 12\)"),
        (lambda: discriminator_of()(normal(4, 3, 16, 16)), "discriminator is conditional on 3 classes"),
    ],
)  # fmt: skip
def test_bad_input(call, text: str):
    with pytest.raises(UsageError, match=text):
        call()


# ---------------------------------------------------------------------------------------------------- model


def test_the_image_of_a_seed_depends_on_that_seed_alone():
    model = Model(generator_of(replace(SMALL, img_channels=1)), name="stylegan:test")
    seeds, classes = np.arange(40), np.arange(40) % 3
    whole = model.sample(seeds, classes, truncation_psi=0.7)
    assert whole.shape == (40, 3, 16, 16)
    assert whole.dtype == torch.uint8
    assert torch.equal(whole[:, 0], whole[:, 2])  # grey, repeated
    alone = model.sample(seeds[7:8], classes[7:8], truncation_psi=0.7)
    assert torch.equal(alone[0], whole[7])
    order = np.random.default_rng(0).permutation(40)
    assert torch.equal(
        model.sample(seeds[order], classes[order], truncation_psi=0.7), whole[torch.from_numpy(order)]
    )
    assert model.sample(seeds[:0], classes[:0]).shape == (0, 3, 16, 16)
    assert not torch.equal(model.sample(seeds[:1], classes[:1]), alone)


def test_stored_and_seeded_noise():
    model = Model(generator_of(), name="stylegan:test")
    w = model.map(model.latents(np.arange(3)), np.zeros(3, int))
    assert w.shape == (3, 6, 12)
    stored = model.synthesise(w)
    torch.testing.assert_close(stored, model.generator.synthesis(w).detach())
    seeded = model.synthesise(w, noise_seeds=np.array([5, 5, 6]))
    assert torch.equal(seeded[:2], model.synthesise(w[:2], noise_seeds=np.array([5, 5])))
    assert not torch.equal(seeded, stored)
    with pytest.raises(UsageError, match=r"noise seeds of shape \(2,\) for 3 samples"):
        model.synthesise(w, noise_seeds=np.array([1, 2]))
    with pytest.raises(UsageError, match="stylegan:test is conditional on 3 classes.* give labels"):
        model.sample(np.array([1]))


def test_a_planned_network_filled_from_a_file_is_the_same_network():
    generator = generator_of()
    with torch.device("meta"):
        planned = Generator(SMALL)
    planned.load_state_dict(generator.state_dict(), strict=True, assign=True)
    z, c = normal(2, 10), labels(2)
    assert torch.equal(planned(z, c), generator(z, c))
