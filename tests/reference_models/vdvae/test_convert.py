"""Official checkpoints of VDVAE: read whole or refused, with words that name what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evalkit.errors import CheckpointError
from reference_models.catalog import build
from reference_models.loading import export_state_dict, load_checkpoint, save_checkpoint
from reference_models.vdvae import convert
from reference_models.vdvae.config import PRESETS

State = dict[str, torch.Tensor]
TINY = PRESETS["tiny"].network


def state_of(seed: int = 0) -> State:
    return dict(build("vdvae", preset="tiny", seed=seed).network.state_dict())


def meta_state(preset: str) -> State:
    shapes = convert.official_shapes(PRESETS[preset].network)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_files_with_and_without_the_prefix_of_parallel_training(prefix: str, tmp_path: Path):
    state = state_of()
    path = tmp_path / "model.th"
    torch.save({f"{prefix}{name}": value for name, value in state.items()}, path)
    model = load_checkpoint(path)
    assert model.network.config == TINY
    loaded = model.network.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_state_dicts_go_there_and_back(tmp_path: Path):
    model = build("vdvae", preset="tiny", seed=2)
    again = load_checkpoint(export_state_dict(model, tmp_path / "out.th"))
    own = load_checkpoint(save_checkpoint(model, tmp_path / "own.safetensors"))
    for other in (again, own):
        assert other.identity == model.identity


def test_a_file_has_the_sizes_of_the_preset_with_its_tensors():
    assert convert.config_from_state(meta_state("cifar10"), "file") == PRESETS["cifar10"].network


def test_of_two_presets_with_the_same_tensors_a_file_is_the_published_one():
    found = convert.config_from_state(meta_state("ffhq256-8bit"), "file")
    assert found == PRESETS["ffhq256"].network
    assert found.bits == 5


def without(name: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def with_value(name: str, value: float) -> Callable[[State], State]:
    def change(state: State) -> State:
        spoiled = state[name].clone()
        spoiled.view(-1)[0] = value
        return {**state, name: spoiled}

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("decoder.gain"), r"of which tiny is the nearest; 1 missing: decoder.gain \[1, \d+, 1, 1\]"),
        (lambda state: {**state, "extra": torch.zeros(2)}, r"1 left over: extra \[2\]"),
        (
            lambda state: {**state, "decoder.bias": torch.zeros(1, 3, 1, 1)},
            r"1 of another shape: decoder.bias is \[1, 3, 1, 1\], not",
        ),
        (
            lambda state: {("module." if "gain" in k else "") + k: v for k, v in state.items()},
            r"missing: decoder.gain .*left over: module.decoder.gain",
        ),
        (with_value("decoder.gain", float("nan")), "'decoder.gain' holds NaN or infinite values"),
        (with_value("encoder.in_conv.bias", float("inf")), "'encoder.in_conv.bias' holds NaN or infinite"),
    ],
)
def test_files_that_do_not_fit(change: Callable[[State], State], words: str, tmp_path: Path):
    path = tmp_path / "model.th"
    torch.save(change(state_of()), path)
    with pytest.raises(CheckpointError, match=words):
        convert.read_official(path)


def test_half_precision_is_widened(tmp_path: Path):
    path = tmp_path / "model.th"
    torch.save({name: value.half() for name, value in state_of().items()}, path)
    assert {value.dtype for value in load_checkpoint(path).network.state_dict().values()} == {torch.float32}


def test_a_file_that_is_no_state_dict(tmp_path: Path):
    path = tmp_path / "model.th"
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is not a file of state dicts that can be read safely"):
        convert.read_official(path)
