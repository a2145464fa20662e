"""SRFlow's network: it inverts at every published depth, and its density is the change of variables."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.errors import UsageError
from reference_models.layers.draws import SeedDraws
from reference_models.layers.flow import standard_log_density
from reference_models.srflow import objective
from reference_models.srflow.config import PRESETS, NetworkConfig
from reference_models.srflow.model import Network

SMALL: dict[str, Any] = {
    "img_resolution": 16, "nf": 4, "nb": 2, "gc": 2, "blocks": (0,), "K": 1, "L": 3, "n_noaff": 1,
    "hidden": 4,
}  # fmt: skip


def network_of(seed: int = 0, **config: Any) -> Network:
    """A network away from its start, at which couplings do nothing."""
    torch.manual_seed(seed)
    network = Network(NetworkConfig(**{**SMALL, **config}))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("flowUpsamplerNet"):
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def images_of(network: Network, num: int = 2, side: int = 16) -> tuple[torch.Tensor, torch.Tensor | None]:
    torch.manual_seed(7)
    dtype = next(network.parameters()).dtype
    channels, scale = network.img_channels, network.config.scale
    hr = torch.rand(num, channels, side, side, dtype=dtype)
    if not network.config.conditional:
        return hr, None
    return hr, torch.rand(num, channels, side // scale, side // scale, dtype=dtype)


@pytest.mark.parametrize(("preset", "lu"), [*((preset, False) for preset in PRESETS), ("df2k-4x", True)])
def test_decoding_undoes_encoding_at_the_depth_of_every_preset(preset: str, lu: bool):
    config = PRESETS[preset].network
    side = 2 * config.multiple
    thin = dataclasses.asdict(config) | {"nf": 4, "gc": 2, "hidden": 4, "img_resolution": side, "lu": lu}
    torch.manual_seed(0)
    network = Network(NetworkConfig(**thin))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "invconv" in name:
                parameter.add_(0.05 / len(parameter) ** 0.5 * torch.randn_like(parameter))
            elif "actnorm" not in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
        hr, lr = images_of(network, side=side)
        network.train().encode(hr, lr)  # initialises
        network.eval()
        encoded = network.encode(hr, lr)
        again = network.decode(encoded.latents, lr)
    assert (again - hr).abs().max() < 1e-4
    # Rotations and normalisation change all volumes alike: this is what couplings and splits made of images.
    assert (encoded.logdet[0] - encoded.logdet[1]).abs() > 0.1
    assert [tuple(z.shape[1:]) for z in encoded.latents] == config.latent_shapes(side, side)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"lu": True},
        {"conditional": False},
        {"scale": 2, "L": 2},
        {"img_channels": 1},
        {"L": 1, "blocks": ()},
    ],
    ids=str,
)
def test_the_density_is_that_of_the_change_of_variables(config: dict[str, Any]):
    network = network_of(**config).double()
    hr, lr = images_of(network, num=1, side=8)

    def latents(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([z.flatten() for z in network.encode(x, lr).latents])

    jacobian = torch.autograd.functional.jacobian(latents, hr).reshape(hr.numel(), hr.numel())
    volume = torch.linalg.slogdet(jacobian)[1]
    encoded = network.encode(hr, lr)
    of_noise = sum(standard_log_density(z) for z in encoded.latents)
    torch.testing.assert_close(encoded.log_prob, of_noise + volume, rtol=1e-9, atol=1e-9)
    again, back = network.flowUpsamplerNet.reverse(
        encoded.latents, None if lr is None else network.condition(lr)
    )
    torch.testing.assert_close(again, hr, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(back, -encoded.logdet, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("conditional", [True, False])
def test_images_do_not_depend_on_their_batch(conditional: bool):
    network = network_of(conditional=conditional).double()
    hr, lr = images_of(network, num=3)
    together = network.log_prob(hr, lr)
    alone = [network.log_prob(hr[i : i + 1], None if lr is None else lr[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-12, atol=1e-10)


def test_one_small_image_is_encoded_once_for_all_its_samples():
    network = network_of()
    _, lr = images_of(network, num=1)
    assert lr is not None
    seeds = np.array([3, 9, 4])
    shared = network.sample(SeedDraws(seeds), network.condition(lr), 0.8)
    each = network.sample(SeedDraws(seeds), lr.expand(3, -1, -1, -1), 0.8)
    torch.testing.assert_close(shared, each, rtol=1e-4, atol=1e-5)
    alone = network.sample(SeedDraws(seeds[1:2]), lr, 0.8)
    torch.testing.assert_close(alone[0], shared[1], rtol=1e-4, atol=1e-5)


def test_the_temperature_scales_what_is_drawn():
    network = network_of()
    _, lr = images_of(network, num=1)
    made = {tau: network.sample(SeedDraws(np.array([1, 2])), lr, tau) for tau in (0.0, 0.4, 1.0)}
    assert torch.equal(made[0.0][0], made[0.0][1])
    spread = [float((made[tau][0] - made[tau][1]).abs().mean().detach()) for tau in made]
    assert spread == sorted(spread)
    assert spread[1] > 0


def test_without_a_condition_neither_encoder_nor_injectors_are_left():
    network = network_of(conditional=False)
    names = set(dict(network.named_parameters()))
    assert not [name for name in names if "RRDB" in name or "fFeatures" in name or ".f.0" in name]
    coupling = network.state_dict()["flowUpsamplerNet.layers.2.affine.fAffine.0.weight"]
    assert coupling.shape[1] == 6  # the first half of 12 channels alone
    assert network.sample(SeedDraws(np.array([1])), None, 1.0).shape == (1, 3, 16, 16)


def test_images_of_other_sizes_than_the_one_of_training():
    network = network_of()
    lr = torch.rand(1, 3, 4, 6)
    made = network.sample(SeedDraws(np.array([1])), lr, 0.5)
    assert made.shape == (1, 3, 16, 24)
    assert network.log_prob(made.detach(), lr).shape == (1,)


@pytest.mark.parametrize(
    ("conditional", "hr", "lr", "words"),
    [
        (True, (16, 12), (4, 3), "images of 12x16 cannot be encoded; sides are multiples of 8"),
        (True, (16, 16), (8, 8), "belong to large ones of 32x32, and the large ones are 16x16"),
        (True, (16, 16), None, "the network is conditional; give small images"),
        (False, (16, 16), (4, 4), "made without a condition"),
    ],
)
def test_images_that_do_not_go_together(conditional: bool, hr: Any, lr: Any, words: str):
    network = network_of(conditional=conditional)
    small = None if lr is None else torch.rand(1, 3, *lr)
    with pytest.raises(UsageError, match=words):
        network.encode(torch.rand(1, 3, *hr), small)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": 3}, "scale is '3'"),
        ({"scale": 4, "L": 4}, "L is 4; give a whole number from 1 to 3"),
        (
            {"img_resolution": 20},
            "img_resolution is 20; give a multiple of 8, which 3 levels and a scale of 4",
        ),
        ({"img_resolution": 20, "conditional": False}, "give a multiple of 8, which 3 levels ask for"),
        ({"blocks": (1, 2)}, "an entry of blocks is 2; give a whole number from 0 to 1"),
        ({"blocks": (1, 1)}, r"blocks is \(1, 1\); give each block once"),
        ({"blocks": 1}, "blocks is 1; give whole numbers"),
        ({"K": 0}, "K is 0"),
        ({"n_noaff": -1}, "n_noaff is -1"),
        ({"affine_eps": 0.0}, "affine_eps is 0.0; give a number above 0"),
        ({"quant": 1}, "quant is 1"),
        ({"img_channels": 4}, "img_channels is '4'"),
        ({"lu": 1}, "lu is 1; give True or False"),
    ],
)
def test_sizes_that_no_network_can_have(changes: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=words):
        NetworkConfig(**{**SMALL, **changes})


def test_levels_of_noise_are_those_of_8_bits_where_none_are_named():
    assert NetworkConfig(**SMALL, quant=None).levels_of_noise == 255
    assert NetworkConfig(**SMALL).levels_of_noise == 32


def test_bits_are_counted_a_pixel_as_released_and_a_dimension_to_compare():
    # Uniform on [0, 1]: 0 nats of density. 8 bits a channel say nothing of an image of 8 bits.
    nothing = objective.bits_per_pixel(torch.zeros(1), 64)
    assert float(nothing) == 0
    assert float(objective.bits_per_dim(nothing, 3, 256)) == pytest.approx(8)
    nll = objective.bits_per_pixel(torch.tensor([192 * math.log(2)]), 64)
    assert float(nll) == pytest.approx(-3)
    assert float(objective.bits_per_dim(nll, 3, 256)) == pytest.approx(7)
    assert float(objective.bits_per_dim(nll, 3, 255)) == pytest.approx(-1 + math.log2(255))
    # Once a pixel, whatever the channels.
    assert objective.released_offset(64, 32) == pytest.approx(-64 * 5 * math.log(2))
    noisy = objective.with_noise(torch.full((4,), 0.5), torch.tensor([0.0, 0.5, 0.75, 1.0]), 4)
    assert noisy.tolist() == [0.375, 0.5, 0.5625, 0.625]
