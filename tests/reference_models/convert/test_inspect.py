"""What a model file is can be seen without running any of it."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pickle_writer import Call, dumps, module, network_file, numpy_array, parameter
from torch import nn

from evalkit.digest import arrays_sha256
from evalkit.errors import CheckpointError
from evalkit.files import sha256_file
from reference_models.catalog import build
from reference_models.convert.files import save_checkpoint
from reference_models.convert.inspect import file_kind, inspect_checkpoint
from reference_models.loading import save_checkpoint as save_model

KEYS = {
    "file", "kind", "model", "config", "parameters", "tensors", "networks", "kimg", "sha256",
    "tensors_sha256", "safe", "globals", "problem",
}  # fmt: skip


def look(path: Path) -> dict:
    found = inspect_checkpoint(path)
    assert found.keys() == KEYS
    json.dumps(found, allow_nan=False)
    assert found["sha256"] == sha256_file(path)
    return found


def test_a_network_file_of_pytorch(tmp_path: Path):
    path = tmp_path / "network-snapshot-012345.pkl"
    path.write_bytes(network_file(D=module({"w": parameter(np.zeros((2, 5), np.float32))})))
    found = look(path)
    assert found["kind"] == "network pickle of StyleGAN2-ADA or StyleGAN3 (PyTorch)"
    assert (found["model"], found["parameters"], found["tensors"], found["kimg"]) == (
        "stylegan2",
        6,
        2,
        12345,
    )
    assert found["networks"] == {"D": 10, "G_ema": 6}
    assert found["config"]["img_resolution"] == 8
    assert found["safe"] is True
    assert found["problem"] is None
    assert "torch.FloatStorage" in found["globals"]
    expected = {"w_avg": np.arange(4), "synthesis.b4.weight": np.arange(6).reshape(2, 3)}
    assert found["tensors_sha256"] == arrays_sha256(expected)
    assert file_kind(path) == "nvidia"


def test_a_hostile_network_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "network.pkl"
    path.write_bytes(network_file(D=Call("posix", "system", "touch marker")))
    found = look(path)
    assert found["safe"] is False
    assert "posix.system" in found["globals"]
    assert "names the global posix.system" in found["problem"]
    path.write_bytes(dumps(Call("posix", "system", "touch marker")))
    found = look(path)
    assert (found["kind"], found["safe"]) == ("pickle of no known kind", False)
    assert found["problem"] == "it would call posix.system"
    assert file_kind(path) == "unknown"
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.pkl"]


def test_a_network_file_of_tensorflow(tmp_path: Path):
    def network(name: str) -> Call:
        weight = np.zeros((16, 8), np.float32)
        variables = [
            ("4x4/Dense/weight", numpy_array(weight)),
            ("ToRGB_lod0/weight", numpy_array(np.ones((1, 1, 2, 3), np.float32))),
        ]
        state = {
            "version": 2, "name": name, "static_kwargs": {"resolution": 4}, "variables": variables,
            "components": {},
            "build_module_src": "import os", "build_func_name": "G_paper",
        }  # fmt: skip
        return Call("tfutil", "Network", state=state)

    path = tmp_path / "network-final.pkl"
    path.write_bytes(dumps((network("G"), network("D"), network("Gs"))))
    found = look(path)
    assert found["kind"] == "network pickle of ProGAN, StyleGAN or StyleGAN2 (TensorFlow)"
    assert (found["model"], found["parameters"], found["safe"]) == ("progan", 134, True)
    assert found["config"] == {"function": "G_paper", "resolution": 4}
    assert file_kind(path) == "tf"


@pytest.mark.parametrize("first_format", [False, True])
def test_a_state_dict(first_format: bool, tmp_path: Path):
    state = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()
    state["synthesis.b4.const"] = nn.Parameter(torch.zeros(2, 2))
    path = tmp_path / "net.pth"
    torch.save(state, path, _use_new_zipfile_serialization=not first_format)
    found = look(path)
    assert found["kind"].startswith("PyTorch state dict")
    assert (found["parameters"], found["tensors"], found["safe"]) == (9 + 4 * 3 + 1 + 4, 8, True)
    assert found["model"] == "stylegan2"
    assert file_kind(path) == "pytorch"


@pytest.mark.parametrize("first_format", [False, True])
def test_nested_state_dicts_and_other_numbers(first_format: bool, tmp_path: Path):
    path = tmp_path / "net.pth"
    held = {"g": {"w": torch.zeros(2, 3)}, "step": 3, "rate": 0.5, "half": torch.zeros(4).bfloat16()}
    torch.save(held, path, _use_new_zipfile_serialization=not first_format)
    assert (look(path)["parameters"], look(path)["tensors"]) == (10, 2)


@pytest.mark.parametrize("first_format", [False, True])
def test_a_pickled_module_is_not_safe(first_format: bool, tmp_path: Path):
    path = tmp_path / "net.pth"
    torch.save(nn.Linear(2, 3), path, _use_new_zipfile_serialization=not first_format)
    found = look(path)
    assert found["safe"] is False
    assert "torch.nn.modules.linear.Linear" in found["globals"]
    assert "holds Python objects beside tensors" in found["problem"]


def test_programs_are_told_apart(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 3), torch.zeros(1, 2)), str(tmp_path / "net.pt"))
    assert (look(tmp_path / "net.pt")["kind"], look(tmp_path / "net.pt")["safe"]) == ("TorchScript", False)
    torch.export.save(torch.export.export(nn.Linear(2, 3), (torch.zeros(1, 2),)), str(tmp_path / "net.pt2"))
    assert look(tmp_path / "net.pt2")["kind"] == "torch.export program"
    (tmp_path / "net.onnx").write_bytes(b"\x08\x09")
    assert look(tmp_path / "net.onnx")["kind"] == "ONNX graph"
    assert {file_kind(tmp_path / f"net.{end}") for end in ("pt", "pt2", "onnx")} == {"program"}


def test_a_checkpoint_of_our_own(tmp_path: Path):
    path = save_checkpoint(
        tmp_path / "a", "stylegan2", {"z_dim": 4}, {"w": np.ones((2, 3), np.float32)}, {"kimg": 10}
    )
    found = look(path)
    assert (found["kind"], found["model"], found["config"]) == (
        "evalkit checkpoint",
        "stylegan2",
        {"z_dim": 4},
    )
    assert (found["parameters"], found["kimg"], found["safe"]) == (6, 10, True)
    assert inspect_checkpoint(tmp_path / "a")["tensors_sha256"] == found["tensors_sha256"]
    assert file_kind(path) == "evalkit"
    path.with_suffix(".json").unlink()
    found = look(path)
    assert found["kind"] == "safetensors without a description"
    assert "a.json is missing" in found["problem"]
    assert found["parameters"] == 6


def test_a_model_that_was_saved_is_known_again(tmp_path: Path):
    path = save_model(build("stylegan3", preset="tiny"), tmp_path / "net.safetensors")
    found = look(path)
    assert found["model"] == "stylegan3"
    assert found["config"]["img_resolution"] == 32


ODD = {
    "empty.pkl": (b"", "is no model file that evalkit knows"),
    "text.txt": (b"hello", "is no model file that evalkit knows"),
    "cut.pkl": (pickle.dumps([1, 2], 4)[:-1], "ends too early"),
    "cut.pth": (b"PK\x03\x04rest", "is a damaged archive"),
    "cut.safetensors": (b"\xff" * 20, "is no sound safetensors file"),
    "list.safetensors": (b"\x02" + bytes(7) + b"[]", "is no sound safetensors file"),
}


@pytest.mark.parametrize("name", ODD)
def test_other_files_are_refused(name: str, tmp_path: Path):
    data, message = ODD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        inspect_checkpoint(tmp_path / name)
    assert file_kind(tmp_path / name) in ("unknown", "evalkit")


def test_an_archive_of_something_else_and_no_file_are_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("image.png", b"")
    with pytest.raises(CheckpointError, match="is an archive and holds no model"):
        inspect_checkpoint(tmp_path / "x.zip")
    with pytest.raises(CheckpointError, match="is no file; accepted are network pickles"):
        inspect_checkpoint(tmp_path / "missing.pkl")
    with pytest.raises(CheckpointError, match="is no file"):
        inspect_checkpoint(tmp_path)


def test_a_state_dict_that_contains_itself_ends(tmp_path: Path):
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.")
    assert "nested too deep, or without end" in look(path)["problem"]


def test_a_plain_pickle_is_harmless_and_no_model(tmp_path: Path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    found = look(path)
    assert (found["safe"], found["problem"]) == (True, "it names nothing, and holds no network")
