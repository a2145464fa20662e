"""evalkit's own checkpoints: what is written is read, and every way a pair can be broken is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from evalkit.digest import arrays_sha256
from evalkit.errors import CheckpointError, StoreError
from reference_models.convert.files import (
    checkpoint_paths,
    clean_tensors,
    read_checkpoint,
    save_checkpoint,
    tensors_sha256,
)

TENSORS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.float32(2).reshape(()),
    "n": np.arange(3),
}


def write(folder: Path) -> Path:
    extra = {"kimg": 25000, "source_sha256": "ab", "preset": "tiny"}
    return save_checkpoint(folder / "net.v1", "stylegan2", {"z_dim": 4, "nested": {"k": [1]}}, TENSORS, extra)


@pytest.mark.parametrize("spelling", ["net.v1", "net.v1.safetensors", "net.v1.json"])
def test_a_checkpoint_comes_back(spelling: str, tmp_path: Path):
    assert write(tmp_path) == tmp_path / "net.v1.safetensors"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.v1.json", "net.v1.safetensors"]
    found = read_checkpoint(tmp_path / spelling)
    assert (found.model, found.kimg, found.source_sha256) == ("stylegan2", 25000, "ab")
    assert found.config == {"z_dim": 4, "nested": {"k": [1]}}
    assert found.extra == {"preset": "tiny"}
    assert found.tensors_sha256 == arrays_sha256(TENSORS)
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(found.tensors[name], value)
        assert found.tensors[name].dtype == value.dtype
        assert found.tensors[name].shape == value.shape


def test_equal_tensors_give_equal_files(tmp_path: Path):
    one = write(tmp_path / "a").read_bytes()
    assert write(tmp_path / "b").read_bytes() == one
    assert (tmp_path / "a" / "net.v1.json").read_bytes() == (tmp_path / "b" / "net.v1.json").read_bytes()


def test_half_precision_is_widened_and_torch_is_taken(tmp_path: Path):
    values = torch.tensor([0.1, -2.5, 3.0])
    given = {
        "h": values.half(),
        "b": values.bfloat16(),
        "f": values.requires_grad_(),
        "n": values.half().detach().numpy(),
    }
    save_checkpoint(tmp_path / "x", "m", {}, given)
    found = read_checkpoint(tmp_path / "x").tensors
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(found["h"], values.detach().half().float().numpy())
    np.testing.assert_array_equal(found["b"], values.detach().bfloat16().float().numpy())
    assert tensors_sha256(given) == tensors_sha256(found)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(bad: float, tmp_path: Path):
    tensors = {"fine": np.zeros(2), "g.weight": np.array([[0, bad, bad]], np.float16)}
    with pytest.raises(
        CheckpointError, match=r"^m: 2 of 3 values of g.weight are NaN or infinite; training had failed"
    ):
        save_checkpoint(tmp_path / "x", "m", {}, tensors)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", [[1.0], np.array(["a"]), np.array([None]), np.array([1j]), "text"])
def test_what_is_no_array_of_numbers_is_refused(bad: object):
    with pytest.raises(CheckpointError, match="where: x is no array of numbers"):
        clean_tensors({"x": bad}, "where")


def edit(path: Path, **changes: object) -> None:
    facts = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in facts.items() if value is not ...}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "no description of a checkpoint; its format must be 'evalkit-checkpoint-1'"),
        ({"model": ...}, "has no sound model"),
        ({"config": [1], "model": 3}, "has no sound model, config"),
        ({"tensors_sha256": "xyz"}, "has no sound tensors_sha256"),
        ({"tensors_sha256": "0" * 64}, "do not belong together"),
    ],
)
def test_a_changed_description_is_said(changes: dict, message: str, tmp_path: Path):
    write(tmp_path)
    edit(tmp_path / "net.v1.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "net.v1")


@pytest.mark.parametrize("text", ["{", "[1]", "\xff\xfe"])
def test_a_damaged_description_is_said(text: str, tmp_path: Path):
    write(tmp_path)
    (tmp_path / "net.v1.json").write_text(text, encoding="latin1")
    with pytest.raises(CheckpointError, match=r"cannot be read as JSON|no description of a checkpoint"):
        read_checkpoint(tmp_path / "net.v1")


def test_half_a_pair_is_said(tmp_path: Path):
    numbers = write(tmp_path)
    data = numbers.read_bytes()
    numbers.unlink()
    with pytest.raises(CheckpointError, match="net.v1.safetensors is missing beside net.v1.json"):
        read_checkpoint(numbers)
    numbers.write_bytes(data[:-3])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        read_checkpoint(numbers)
    numbers.write_bytes(data)
    (tmp_path / "net.v1.json").unlink()
    with pytest.raises(CheckpointError, match=r"net.v1.json is missing: evalkit's checkpoints are a pair"):
        read_checkpoint(numbers)


def test_nan_in_a_file_and_foreign_types_are_said(tmp_path: Path):
    numbers = write(tmp_path)
    save_file({"g.bias": torch.tensor([1.0, float("nan")])}, numbers)
    with pytest.raises(CheckpointError, match="1 of 2 values of g.bias are NaN"):
        read_checkpoint(numbers)
    save_file({"g.bias": torch.tensor([1.0], dtype=torch.complex64)}, numbers)
    with pytest.raises(CheckpointError, match=r"no array of numbers|cannot be read as safetensors"):
        read_checkpoint(numbers)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another path"):
        save_checkpoint(tmp_path / "file" / "net", "m", {}, TENSORS)


def test_names_with_dots_are_kept():
    assert checkpoint_paths("a/b.c")[0] == Path("a/b.c.safetensors")
    assert checkpoint_paths("a/b.c.json") == (Path("a/b.c.safetensors"), Path("a/b.c.json"))
