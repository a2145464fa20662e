"""StyleGAN2's TensorFlow variables: published names and shapes, and what a layer computes from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from evalkit.errors import CheckpointError, UsageError
from reference_models.stylegan2.config import DiscriminatorConfig, GeneratorConfig
from reference_models.stylegan2.convert_tf import (
    config_from_tf,
    discriminator_config_from_tf,
    from_tf,
    tf_shapes,
    to_tf,
)
from reference_models.stylegan2.discriminator import Discriminator
from reference_models.stylegan2.generator import Generator

KWARGS = {
    "num_channels": 3, "resolution": 16, "label_size": 0, "latent_size": 7, "dlatent_size": 9,
    "mapping_layers": 2, "mapping_fmaps": 11, "fmap_base": 64, "fmap_max": 12, "truncation_psi": 0.5,
    "architecture": "skip", "resample_kernel": [1, 3, 3, 1],
}  # fmt: skip
KWARGS_D = {"num_channels": 3, "resolution": 16, "label_size": 0, "fmap_base": 64, "fmap_max": 12}


def seeded(build, config, seed: int = 0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(config)
        with torch.no_grad():
            for name, value in network.named_parameters():
                if name.endswith(("bias", "noise_strength")):
                    value += 0.3 * torch.randn(value.shape)
    return network


def build_of(config):
    return Generator if isinstance(config, GeneratorConfig) else Discriminator


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("which", ["generator", "discriminator"])
def test_variables_come_back(which: str, architecture: str):
    if which == "generator":
        config = config_from_tf({**KWARGS, "architecture": architecture}, {})
    else:
        config = discriminator_config_from_tf({**KWARGS_D, "architecture": architecture})
    state = seeded(build_of(config), config).state_dict()
    variables = to_tf(config, state)
    assert {name: array.shape for name, array in variables.items()} == tf_shapes(config)
    back = from_tf(config, {**variables, "lod": np.float32(0)})
    assert back.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(back[name], value, rtol=0, atol=1e-6, msg=name)
    again = to_tf(config, back)
    for name, array in variables.items():
        np.testing.assert_allclose(again[name], array, rtol=0, atol=1e-6)


def test_names_of_the_published_networks():
    config = config_from_tf({"num_channels": 3, "resolution": 1024, "label_size": 0}, {})
    assert config == GeneratorConfig(conv_clamp=None, mapping=config.mapping)
    names = tf_shapes(config)
    channels = {2**k: min(32768 // 2**k, 512) for k in range(2, 11)}
    wanted: dict[str, tuple[int, ...]] = {"dlatent_avg": (512,), "synthesis/4x4/Const/const": (1, 512, 4, 4)}
    for layer in range(8):
        wanted[f"mapping/Dense{layer}/weight"] = (512, 512)
        wanted[f"mapping/Dense{layer}/bias"] = (512,)
    layers = [("4x4/Conv", 512, 512, 3)]
    for side in list(channels)[1:]:
        layers.append((f"{side}x{side}/Conv0_up", channels[side // 2], channels[side], 3))
        layers.append((f"{side}x{side}/Conv1", channels[side], channels[side], 3))
    for place in range(17):
        side = 2 ** ((place + 5) // 2)
        wanted[f"synthesis/noise{place}"] = (1, 1, side, side)
    for name, _, _, _ in layers:
        wanted[f"synthesis/{name}/noise_strength"] = ()
    layers += [(f"{side}x{side}/ToRGB", channels[side], 3, 1) for side in channels]
    for name, inside, outside, kernel in layers:
        wanted[f"synthesis/{name}/weight"] = (kernel, kernel, inside, outside)
        wanted[f"synthesis/{name}/bias"] = (outside,)
        wanted[f"synthesis/{name}/mod_weight"] = (512, inside)
        wanted[f"synthesis/{name}/mod_bias"] = (inside,)
    assert names == wanted
    of_d = tf_shapes(discriminator_config_from_tf({"num_channels": 3, "resolution": 1024, "label_size": 0}))
    assert of_d["1024x1024/FromRGB/weight"] == (1, 1, 3, 32)
    assert of_d["8x8/Skip/weight"] == (1, 1, 512, 512)
    assert of_d["4x4/Conv/weight"] == (3, 3, 513, 512)
    assert of_d["4x4/Dense0/weight"] == (8192, 512)
    assert of_d["Output/weight"] == (512, 1)


def test_an_upsampling_layer_computes_what_the_official_one_does():
    # From the official variables alone: zeros between the pixels, correlation, blur of gain 4.
    config = config_from_tf(KWARGS, {})
    generator = seeded(Generator, config)
    v = {name: torch.from_numpy(np.asarray(a)) for name, a in to_tf(config, generator.state_dict()).items()}
    layer = "synthesis/8x8/Conv0_up/"
    calls = []
    hook = generator.synthesis.get_submodule("b8.conv0").register_forward_hook(
        lambda module, given, result: calls.append((given[0], given[1], result))
    )
    with torch.no_grad():
        generator(torch.linspace(-1, 1, 7)[None])
    hook.remove()
    ((x, w, found),) = calls
    style = w @ v[layer + "mod_weight"] / math.sqrt(9) + v[layer + "mod_bias"] + 1
    kernel = v[layer + "weight"] * style[0][None, None, :, None]
    kernel = kernel / (kernel.square().sum(dim=(0, 1, 2)) + 1e-8).sqrt()
    wide = torch.zeros(1, 12, 8, 8)
    wide[..., ::2, ::2] = x
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    blur = (4 * taps[:, None] * taps).expand(12, 1, 4, 4)
    smooth = F.conv2d(F.pad(wide, (3, 2, 3, 2)), blur, groups=12)  # 10x10: one more pixel on every side
    y = F.conv2d(smooth, kernel.permute(3, 2, 0, 1))
    y = y + v["synthesis/noise1"] * v[layer + "noise_strength"] + v[layer + "bias"].view(1, -1, 1, 1)
    wanted = F.leaky_relu(y, 0.2) * math.sqrt(2)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_files_loaded_as_pytorch_networks_do():
    config = config_from_tf(KWARGS, {})
    generator = seeded(Generator, config)
    again = Generator(config)
    again.load_state_dict(from_tf(config, to_tf(config, generator.state_dict())), strict=True)
    z = torch.ones(2, 7)
    torch.testing.assert_close(again(z), generator(z), rtol=1e-4, atol=1e-4)
    config = discriminator_config_from_tf(KWARGS_D)
    discriminator = seeded(Discriminator, config)
    again = Discriminator(config)
    again.load_state_dict(from_tf(config, to_tf(config, discriminator.state_dict())), strict=True)
    images = torch.linspace(-1, 1, 4 * 3 * 16 * 16).reshape(4, 3, 16, 16)
    assert torch.equal(again(images, None), discriminator(images, None))


def test_what_cannot_be_rebuilt():
    with pytest.raises(CheckpointError, match="option label_size is 3; only 0 can be rebuilt"):
        config_from_tf({**KWARGS, "label_size": 3}, {})
    with pytest.raises(CheckpointError, match="network with labels cannot be rebuilt.*PyTorch pickle"):
        config_from_tf(KWARGS, {"mapping/LabelConcat/weight": np.zeros((3, 7), np.float32)})
    with pytest.raises(CheckpointError, match="networks with labels have no form"):
        tf_shapes(DiscriminatorConfig(img_resolution=16, c_dim=2))
    with pytest.raises(CheckpointError, match="unknown options 'conv_clamb'"):
        config_from_tf({**KWARGS, "conv_clamb": 256}, {})
    with pytest.raises(CheckpointError, match="option fmap_base is a str, not a whole number"):
        config_from_tf({**KWARGS, "fmap_base": "64"}, {})
    with pytest.raises(UsageError, match="img_resolution is 17"):
        config_from_tf({**KWARGS, "resolution": 17}, {})
    config = config_from_tf(KWARGS, {})
    state = seeded(Generator, config).state_dict()
    variables = to_tf(config, state)
    variables["synthesis/32x32/Conv1/bias"] = np.zeros(4, np.float32)
    del variables["dlatent_avg"]
    with pytest.raises(CheckpointError) as caught:
        from_tf(config, variables)
    assert "32x32/Conv1/bias" in str(caught.value)
    assert "dlatent_avg" in str(caught.value)
    state["synthesis.b8.resample_filter"] = torch.ones(4, 4) / 16
    with pytest.raises(CheckpointError, match="'synthesis.b8.resample_filter' is not the filter of"):
        to_tf(config, state)
