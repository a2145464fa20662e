"""Checkpoints of SRFlow, and networks that its encoder starts from: read whole or refused, with words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evalkit.errors import CheckpointError
from reference_models.catalog import build
from reference_models.loading import export_state_dict, load_checkpoint, save_checkpoint
from reference_models.srflow import convert
from reference_models.srflow.config import PRESETS, NetworkConfig
from reference_models.srflow.rrdb import RRDBNet

State = dict[str, torch.Tensor]
SIZES = {
    4: NetworkConfig(nf=4, nb=2, gc=2, blocks=(0,)),
    8: NetworkConfig(scale=8, nf=4, nb=3, gc=2, blocks=(0,)),
}


def state_of(preset: str = "tiny", seed: int = 0) -> State:
    return dict(build("srflow", preset=preset, seed=seed).network.state_dict())


@pytest.mark.parametrize("preset", ["tiny", "tiny-glow"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_files_with_and_without_the_prefix_of_parallel_training(prefix: str, preset: str, tmp_path: Path):
    state = state_of(preset)
    path = tmp_path / "model.pth"
    torch.save({f"{prefix}{name}": value for name, value in state.items()}, path)
    model = load_checkpoint(path)
    assert model.network.config == PRESETS[preset].network
    loaded = model.network.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("key", ["state_dict", "params", "params_ema"])
def test_files_with_the_state_dict_in_a_wrapper(key: str, tmp_path: Path):
    state = state_of()
    torch.save({key: state}, tmp_path / "model.pth")
    loaded = load_checkpoint(tmp_path / "model.pth").network.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_state_dicts_go_there_and_back(tmp_path: Path):
    model = build("srflow", preset="tiny", seed=2)
    again = load_checkpoint(export_state_dict(model, tmp_path / "out.pth"))
    own = load_checkpoint(save_checkpoint(model, tmp_path / "own.safetensors"))
    for other in (again, own):
        assert other.identity == model.identity


@pytest.mark.parametrize("preset", ["celeba-8x", "tiny-glow"])
def test_a_file_has_the_sizes_of_the_preset_with_its_tensors(preset: str):
    config = PRESETS[preset].network
    shapes = convert.official_shapes(config)
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert convert.config_from_state(state, "file") == config


def test_every_preset_can_be_told_from_its_tensors():
    outlines = [convert._outline(preset.network) for preset in PRESETS.values()]
    assert len(set(outlines)) == len(outlines)


def without(name: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("RRDB.HRconv.bias"), r"of which tiny is the nearest; 1 missing: RRDB.HRconv.bias \[16\]"),
        (lambda state: {**state, "extra": torch.zeros(2)}, r"1 left over: extra \[2\]"),
        (
            lambda state: {**state, "RRDB.conv_last.bias": torch.zeros(1)},
            r"1 of another shape: RRDB.conv_last.bias is \[1\], not \[3\]",
        ),
        (
            lambda state: {**state, "RRDB.conv_last.bias": torch.full((3,), float("nan"))},
            "'RRDB.conv_last.bias' holds NaN or infinite values",
        ),
    ],
)
def test_files_that_do_not_fit(change: Callable[[State], State], words: str, tmp_path: Path):
    path = tmp_path / "model.pth"
    torch.save(change(state_of()), path)
    with pytest.raises(CheckpointError, match=words):
        convert.read_official(path)


def encoder_of(config: NetworkConfig) -> State:
    torch.manual_seed(4)
    return dict(RRDBNet(config).state_dict())


# Names of the published files, written out and not by the converter's rules.
FIRST_ESRGAN = {
    4: {"conv_first": "model.0", "trunk_conv": "model.1.sub.2", "upconv1": "model.3", "upconv2": "model.6",
        "HRconv": "model.8", "conv_last": "model.10"},
    8: {"conv_first": "model.0", "trunk_conv": "model.1.sub.3", "upconv1": "model.3", "upconv2": "model.6",
        "upconv3": "model.9", "HRconv": "model.11", "conv_last": "model.13"},
}  # fmt: skip
BASICSR = {
    "conv_first": "conv_first",
    "trunk_conv": "conv_body",
    "upconv1": "conv_up1",
    "upconv2": "conv_up2",
    "upconv3": "conv_up3",
    "HRconv": "conv_hr",
    "conv_last": "conv_last",
}


def first_esrgan(state: State, scale: int) -> State:
    def named(name: str) -> str:
        if name.startswith("RRDB_trunk"):
            return re.sub(r"(conv\d)", r"\1.0", name.replace("RRDB_trunk", "model.1.sub"))
        layer, kind = name.split(".")
        return f"{FIRST_ESRGAN[scale][layer]}.{kind}"

    return {named(name): value for name, value in state.items()}


def basicsr(state: State, scale: int) -> dict[str, State]:
    def named(name: str) -> str:
        if name.startswith("RRDB_trunk"):
            return name.replace("RRDB_trunk", "body").replace("RDB", "rdb")
        layer, kind = name.split(".")
        return f"{BASICSR[layer]}.{kind}"

    made = {named(name): value for name, value in state.items()}
    return {"params": {name: value + 1 for name, value in made.items()}, "params_ema": made}


WRITERS: dict[str, Callable[[State, int], object]] = {
    "SRFlow": lambda state, scale: state,
    "SRFlow in parallel": lambda state, scale: {f"module.{name}": value for name, value in state.items()},
    "ESRGAN": first_esrgan,
    "BasicSR's average": basicsr,
    "BasicSR without an average": lambda state, scale: {"params": basicsr(state, scale)["params_ema"]},
    "BasicSR alone": lambda state, scale: basicsr(state, scale)["params_ema"],
}


@pytest.mark.parametrize("scale", SIZES)
@pytest.mark.parametrize("naming", WRITERS)
def test_the_encoder_starts_from_networks_of_every_naming(naming: str, scale: int, tmp_path: Path):
    config, path = SIZES[scale], tmp_path / "RRDB.pth"
    state = encoder_of(config)
    torch.save(WRITERS[naming](state, scale), path)
    found = convert.read_encoder(path, config)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    RRDBNet(config).load_state_dict(found, strict=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            without("model.8.bias"),
            r"with 2 blocks of 4 features and a scale of 4; 1 missing: model.8.bias \[4\]",
        ),
        (
            lambda state: {**state, "model.1.sub.2.RDB1.conv1.0.weight": torch.zeros(2, 4, 3, 3)},
            r"1 left over: model.1.sub.2.RDB1.conv1.0.weight \[2, 4, 3, 3\]",
        ),
        (lambda state: {**state, "model.10.bias": torch.zeros(1)}, r"model.10.bias is \[1\], not \[3\]"),
        (
            lambda state: {**state, "model.10.bias": torch.full((3,), float("inf"))},
            "'model.10.bias' holds NaN or infinite values",
        ),
        (lambda state: {"features.0.weight": torch.zeros(1)}, "holds no RRDB network .*features.0.weight"),
    ],
)
def test_networks_that_no_encoder_starts_from(change: Callable[[State], State], words: str, tmp_path: Path):
    path = tmp_path / "RRDB.pth"
    torch.save(change(first_esrgan(encoder_of(SIZES[4]), 4)), path)
    with pytest.raises(CheckpointError, match=words):
        convert.read_encoder(path, SIZES[4])
