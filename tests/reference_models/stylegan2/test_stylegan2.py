"""StyleGAN2: laws of its parts, and the model as it is measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_stylegan2 import PLAIN, PLAIN_D, SMALL, SMALL_D, labels, normal, seeded, shapes

from evalkit.adapters.capabilities import offers
from evalkit.errors import UsageError
from reference_models.stylegan2 import objective
from reference_models.stylegan2.discriminator import Discriminator
from reference_models.stylegan2.evaluate import Model
from reference_models.stylegan2.generator import Generator

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
