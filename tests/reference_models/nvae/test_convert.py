"""Official checkpoints of NVAE: read whole or refused, with words that name what is wrong."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.errors import CheckpointError
from reference_models.catalog import build
from reference_models.loading import export_state_dict, load_checkpoint, save_checkpoint
from reference_models.nvae import convert
from reference_models.nvae.config import PRESETS, NetworkConfig
from reference_models.nvae.model import Network

State = dict[str, Any]
SIZES = {
    "num_latent_scales": 1, "num_groups_per_scale": 2, "num_latent_per_group": 2, "num_channels_enc": 4,
    "num_channels_dec": 4, "num_preprocess_blocks": 1, "num_preprocess_cells": 1, "num_postprocess_blocks": 1,
    "num_postprocess_cells": 1, "num_cell_per_cond_enc": 1, "num_cell_per_cond_dec": 1, "num_mixture_dec": 2,
    "num_nf": 1, "arch_instance": "res_mbconv", "use_se": True, "res_dist": True,
}  # fmt: skip
CONFIG = NetworkConfig(img_resolution=32, **SIZES)
ARGS = {
    "dataset": "cifar10",
    "num_x_bits": 8,
    "epochs": 400,
    "save": "/somewhere",
    "fast_adamax": True,
    **SIZES,
}
INVERTED = "dec_tower.1._ops.0.conv.1.conv.0"


def state_of() -> State:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dict(convert.to_official(Network(CONFIG).state_dict(), CONFIG))


def written(path: Path, state: State, **more: object) -> Path:
    args = argparse.Namespace(**ARGS)
    torch.save({"epoch": 3, "state_dict": state, "args": args, "optimizer": {"state": {}}, **more}, path)
    return path


def test_checkpoints_are_read_with_the_sizes_that_they_say(tmp_path: Path):
    state = state_of()
    model = load_checkpoint(written(tmp_path / "checkpoint.pt", state))
    assert model.network.config == CONFIG
    loaded = model.network.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in loaded)
    # Masks of flows are in no file.
    assert all(value.device.type == "cpu" for value in model.network.buffers())
    assert model.sample(torch.arange(2).numpy()).shape == (2, 3, 32, 32)


def test_files_of_the_first_format_and_without_second_names_are_read(tmp_path: Path):
    state = {
        name: value
        for name, value in state_of().items()
        if not name.endswith(("weight_normalized", "num_batches_tracked"))
    }
    path = tmp_path / "checkpoint.pt"
    torch.save(
        {"state_dict": state, "args": argparse.Namespace(**ARGS)}, path, _use_new_zipfile_serialization=False
    )
    config, found = convert.read_official(path)
    assert config == CONFIG
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_options_that_old_files_lack_are_those_of_their_time():
    old = {name: value for name, value in ARGS.items() if name not in ("num_x_bits", "num_mixture_dec")}
    config = convert.config_from_official({**old, "ada_groups": True})
    assert (config.num_mixture_dec, config.num_x_bits, config.min_groups_per_scale) == (10, 8, 1)
    plain = {name: value for name, value in ARGS.items() if name != "num_nf"}
    assert convert.config_from_official(plain).num_nf == 0


@pytest.mark.parametrize(
    ("dataset", "side", "channels"),
    [
        ("mnist", 32, 1),
        ("omniglot", 32, 1),
        ("celeba_64", 64, 3),
        ("lsun_church_128", 128, 3),
        ("ffhq", 256, 3),
    ],
)
def test_the_name_of_the_data_says_the_side(dataset: str, side: int, channels: int):
    config = convert.config_from_official({**ARGS, "dataset": dataset})
    assert (config.img_resolution, config.img_channels, config.binary) == (side, channels, channels == 1)


def test_either_name_of_a_weight_will_do():
    state = state_of()
    weight = state.pop(f"{INVERTED}.weight")
    assert torch.equal(convert.from_official(state, CONFIG)[f"{INVERTED}.weight"], weight)


def test_normalised_weights_beside_what_they_are_made_of_are_dropped():
    state = state_of()
    expected = convert.from_official(state, CONFIG)
    state["stem.weight_normalized"] = torch.ones_like(state["stem.weight"])
    found = convert.from_official(state, CONFIG)
    assert found.keys() == expected.keys()


def test_state_dicts_go_there_and_back(tmp_path: Path):
    model = build("nvae", preset="tiny", seed=2)
    again = load_checkpoint(export_state_dict(model, tmp_path / "out.pt"))
    own = load_checkpoint(save_checkpoint(model, tmp_path / "own.safetensors"))
    for other in (again, own):
        assert other.identity == model.identity


def without(*endings: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if not name.endswith(endings)}


def with_entry(name: str, value: object) -> Callable[[State], State]:
    return lambda state: {**state, name: value}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            without("bn_act.running_var"),
            r"lacks running statistics of batch norms, .*pre_process.0._ops.0.bn_act.running_var.*buffers",
        ),
        (without("stem.bias"), r"1 missing: stem.bias \[4\]"),
        (with_entry("extra", torch.zeros(2)), r"1 left over: extra \[2\]"),
        (with_entry("stem.bias", torch.zeros(3)), r"1 of another shape: stem.bias is \[3\], not \[4\]"),
        (with_entry("stem.bias", torch.full((4,), float("nan"))), "'stem.bias' holds NaN or infinite values"),
        (
            with_entry(f"{INVERTED}.weight_normalized", torch.zeros(48, 8, 1, 1)),
            "are two names of one tensor and differ",
        ),
        (with_entry(f"{INVERTED}.weight_normalized", torch.zeros(3)), r"is \[3\], not \[48, 8, 1, 1\]"),
        (with_entry("stem.bias", 3), "'stem.bias' is a int, not a tensor"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change: Callable[[State], State], words: str):
    with pytest.raises(CheckpointError, match=words):
        convert.from_official(change(state_of()), CONFIG)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"dataset": "cifra10"}, r"its data set is 'cifra10' \(nearest: cifar10\)"),
        ({"num_nf": "two"}, "argument num_nf is 'two', which is not a whole number"),
        ({"use_se": "yes"}, "argument use_se is 'yes', which is not True or False"),
    ],
)
def test_options_that_cannot_be_are_refused(args: dict[str, object], words: str):
    with pytest.raises(CheckpointError, match=words):
        convert.config_from_official({**ARGS, **args})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list; a checkpoint of NVAE is a dictionary"),
        ({"state_dict": [1]}, "its state_dict is no dictionary of tensors by name"),
        ({"state_dict": {"prior_ftr0": torch.zeros(2, 2, 2)}}, "no args, which say its sizes, and no preset"),
        (
            {"state_dict": {}, "args": {"num_nf": 1}},
            "its args are a dict, where NVAE has an argparse.Namespace",
        ),
        (
            {"state_dict": {}, "args": datetime.timedelta(1)},
            "can be read safely .*argparse.Namespace of options",
        ),
    ],
)
def test_files_that_are_no_checkpoints_are_refused(content: object, words: str, tmp_path: Path):
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=words):
        convert.read_official(path)


def test_files_that_are_missing_or_cut_short_are_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        convert.read_official(tmp_path / "none.pt")
    path = written(tmp_path / "checkpoint.pt", state_of())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="is no checkpoint of NVAE that can be read safely"):
        convert.read_official(path)


def test_a_file_without_options_is_the_preset_with_its_tensors():
    shapes = convert.official_shapes(PRESETS["mnist"].network)
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert convert.config_from_state(state, "file") == PRESETS["mnist"].network
