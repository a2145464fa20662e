"""Models by name: the same weights for a seed, the same image for a seed, and names that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import reference_models
from evalkit.errors import CheckpointError, UsageError
from reference_models.catalog import MODELS, presets

NAMES = list(MODELS)
PAIRS = [name for name, entry in MODELS.items() if not entry.likelihood]
RESTORING = ["srflow"]  # they draw no image from a seed alone
DRAWING = [name for name in NAMES if name not in RESTORING]
CLASSES = {"progan": 3, "stylegan": 3, "stylegan2": 3, "stylegan3": 3}


@pytest.mark.parametrize("name", sorted(set(DRAWING) - set(PAIRS)))
def test_the_tiny_preset_of_one_network_is_small_and_grey(name: str):
    config = presets(name)["tiny"].network
    with torch.device("meta"):
        network = reference_models.catalog.network_class(name)(config)
    assert (network.img_resolution, network.img_channels, network.c_dim) == (8, 1, 0)
    assert sum(p.numel() for p in network.parameters()) < 1_000_000


@pytest.mark.parametrize("name", PAIRS)
def test_the_tiny_preset_is_a_small_pair_for_32_pixels(name: str):
    pair = presets(name)["tiny"]
    with torch.device("meta"):
        networks = [
            reference_models.catalog.part(name, "generator").Generator(pair.generator),
            reference_models.catalog.part(name, "discriminator").Discriminator(pair.discriminator),
        ]
    assert pair.generator.img_resolution == pair.discriminator.img_resolution == 32
    assert sum(p.numel() for network in networks for p in network.parameters()) < 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_of_weights_is_a_model(name: str):
    before = torch.random.get_rng_state()
    one, same = reference_models.build(name), reference_models.build(name)
    other = reference_models.build(name, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.identity == same.identity != other.identity
    assert one.name == f"{name}:tiny-random"
    assert other.name == f"{name}:tiny-random@1"


@pytest.mark.parametrize("name", DRAWING)
def test_an_image_depends_on_its_seed_alone(name: str):
    model = reference_models.build(name)
    together = model.sample(np.array([5, 2**32 - 1, 0, 7, 7]))
    assert together.shape == (5, 3, model.resolution, model.resolution)
    assert together.dtype == torch.uint8
    assert torch.equal(together[3], together[4])
    assert not torch.equal(together[0], together[2])
    for place, seed in ((0, 5), (1, 2**32 - 1), (2, 0)):
        assert torch.equal(model.sample(np.array([seed]))[0], together[place])


@pytest.mark.parametrize("name", PAIRS)
def test_a_conditional_model_asks_for_labels(name: str):
    model = reference_models.build(name, c_dim=CLASSES[name])
    assert model.num_classes == 3
    with pytest.raises(UsageError, match="conditional"):
        model.sample(np.arange(2))
    with pytest.raises(UsageError, match="0 to 2"):
        model.sample(np.arange(2), np.array([0, 3]))
    images = model.sample(np.array([4, 4]), np.array([0, 2]))
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize("name", DRAWING)
def test_a_checkpoint_of_ours_is_the_same_model(name: str, tmp_path: Path):
    model = reference_models.build(name, seed=3)
    written = reference_models.save_checkpoint(model, tmp_path / "model.safetensors")
    again = reference_models.load_checkpoint(written)
    assert again.identity == model.identity
    assert again.name == str(written)
    assert torch.equal(again.sample(np.arange(3)), model.sample(np.arange(3)))


def test_names_that_cannot_be_offer_the_nearest():
    with pytest.raises(UsageError, match=r"unknown model 'stylgan2' \(nearest: stylegan2"):
        reference_models.build("stylgan2")
    with pytest.raises(UsageError, match=r"stylegan2 has no preset 'ffhq1023' \(nearest: ffhq1024"):
        reference_models.build("stylegan2", preset="ffhq1023")
    with pytest.raises(UsageError, match=r"stylegan2's generator has no option 'zdim' \(nearest: z_dim"):
        reference_models.build("stylegan2", zdim=64)
    with pytest.raises(UsageError, match=r"stylegan2:tiny: write stylegan2:PRESET-random"):
        reference_models.open_model("stylegan2:tiny")
    assert reference_models.open_model("my_package.my_module:factory") is None


def test_a_path_that_is_no_checkpoint(tmp_path: Path):
    with pytest.raises(CheckpointError, match="nothing is at .*gone.pkl; check the path"):
        reference_models.load_checkpoint(tmp_path / "gone.pkl")
    (tmp_path / "text.pkl").write_text("not a pickle at all, just words")
    with pytest.raises(CheckpointError, match="text.pkl is no model file that evalkit knows; accepted are"):
        reference_models.load_checkpoint(tmp_path / "text.pkl")


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_builds_without_memory(name: str):
    for preset in presets(name).values():
        with torch.device("meta"):
            network = reference_models.catalog.network_class(name)(preset.sampled)
        assert network.img_resolution == preset.sampled.img_resolution


def test_a_state_dict_says_whose_it_is_and_what_to_do(tmp_path: Path):
    model = reference_models.build("stylegan2")
    torch.save(model.generator.state_dict(), tmp_path / "stylegan2.pth")
    with pytest.raises(
        CheckpointError, match="holds a state dict of stylegan2, whose sizes the file does not say"
    ):
        reference_models.load_checkpoint(tmp_path / "stylegan2.pth")
    torch.save({"net.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError, match="other.pth: the state dict is no ported .* write a factory that builds"
    ):
        reference_models.load_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("name", ["progan", "stylegan"])
def test_a_ported_state_dict_comes_back_as_the_same_model(name: str, tmp_path: Path):
    model = reference_models.build(name, seed=4)
    again = reference_models.load_checkpoint(reference_models.export_state_dict(model, tmp_path / "m.pth"))
    apart = again.sample(np.arange(3)).int() - model.sample(np.arange(3)).int()
    assert int(apart.abs().max()) <= 1  # a ported ProGAN is unfused, which sums in another order
