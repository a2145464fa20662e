"""Extractors by name: what can be asked for, which file serves, and what every refusal says."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from evalkit.engine.judges import judge_of
from evalkit.errors import UsageError, WeightsError
from evalkit.features.catalog import EXTRACTORS, find_weights, load_extractor, weights_status
from evalkit.features.inception import Inception
from evalkit.features.mini_net import WEIGHTS_FILE
from evalkit.features.tensors import read_tensors
from evalkit.features.weights import WEIGHTS, weights_dir
from evalkit.imaging.resizes import RESIZES
from evalkit.protocols.catalog import PROTOCOLS

STEM = "inception_2015_12_05_stem192.npz"


def test_the_catalogue_imports_no_torch():
    code = (
        "import sys, evalkit.features.catalog as c, evalkit.features.weights as w\n"
        "c.weights_status('inception-tf2015', ('192',)); w.verify()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


def test_every_protocol_can_be_served():
    for spec in PROTOCOLS.values():
        assert set(judge_of(spec).weights) <= set(WEIGHTS)
        if spec.capability is not None:
            continue
        info = EXTRACTORS[spec.extractor]
        assert spec.layer in info.layers
        assert spec.resize in info.resizes
    for info in EXTRACTORS.values():
        assert set(info.weights) <= set(WEIGHTS)
        assert set(info.resizes) <= set(RESIZES)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("minni", {}, r"unknown extractor 'minni' \(nearest: mini\); `evalkit list extractors`"),
        ("mini", {"layers": ["feature"]}, r"mini has no layer 'feature' \(nearest: features\); it has"),
        ("mini", {"layers": []}, r"no layer of mini was named; it has features, logits"),
        ("mini", {"resize": "clean"}, r"mini has no resize 'clean' .*; it has antialiased-bilinear"),
        ("mini", {"precision": "bf16"}, r"mini has no precision 'bf16' .*; it has float32, bfloat16"),
        ("mini", {"overrides": {"inception": Path("x.pth")}},
         r"--weights inception=x.pth: no weights are called 'inception' \(nearest: inception-tf2015.*\); "
         r"`evalkit list weights` shows all 7"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_explained(name: str, options: dict, message: str):
    with pytest.raises(UsageError, match=message):
        load_extractor(name, **{"layers": ["features"], **options})


def test_missing_weights_name_every_file_that_would_serve():
    for layers, also in ((["192"], f"; {STEM} would serve as well"), (["192", "2048"], "=FILE")):
        with pytest.raises(
            WeightsError, match=rf"weights inception-tf2015 cannot be used \(missing\).*{also}$"
        ):
            load_extractor("inception-tf2015", layers=layers)
        state = weights_status("inception-tf2015", layers)
        assert not state.ok
        assert state.detail.endswith(also)
    assert weights_status("mini", ["logits"]).ok


def test_what_is_there_and_wrong_is_named_before_what_is_missing(tmp_path: Path):
    (tmp_path / STEM).write_bytes(b"half")
    with pytest.raises(
        WeightsError, match=rf"stem192 cannot be used \(wrong\): {STEM} is incomplete .*6726825d.pth "
    ):
        load_extractor("inception-tf2015", layers=["64"], weights_dir=tmp_path)
    with pytest.raises(WeightsError, match=r"inception-tf2015 cannot be used \(missing\)"):
        load_extractor("inception-tf2015", layers=["768"], weights_dir=tmp_path)


def test_the_stem_serves_its_layers_alone(tmp_path: Path, data_dir: Path):
    (tmp_path / STEM).symlink_to(data_dir / "weights" / STEM)
    assert weights_status("inception-tf2015", ("64", "192"), weights_dir=tmp_path).ok
    assert not weights_status("inception-tf2015", ("192", "768"), weights_dir=tmp_path).ok
    loaded = load_extractor("inception-tf2015", layers=["192"], weights_dir=tmp_path)
    assert loaded.weights_file == str(tmp_path / STEM)
    for name in ("inception-tf2015", "inception-tf2015-stem192"):
        chosen = load_extractor("inception-tf2015", layers=["192"], overrides={name: tmp_path / STEM})
        assert chosen.layer_sha256 == loaded.layer_sha256
        with pytest.raises(
            WeightsError,
            match=r"stem192.npz does not fit inception-tf2015, layer 2048: it has no tensor 'Mixed_5b.branch"
            r"1x1.conv.weight' \(445 are missing\); it serves layer 64, 192 alone",
        ):
            load_extractor("inception-tf2015", layers=["2048"], overrides={name: tmp_path / STEM})


def test_a_named_file_wins_over_the_folder(tmp_path: Path):
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"")
    info = EXTRACTORS["mini"]
    assert find_weights(info, ["features"], weights_dir(), {"mini": mine}) == mine
    assert find_weights(info, ["features"], weights_dir(), {"vgg16": mine}) == WEIGHTS_FILE


def test_what_is_asked_alike_is_loaded_once_and_let_go(tmp_path: Path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(WEIGHTS_FILE.read_bytes())
    first = load_extractor("mini", layers=["features"], overrides={"mini": copy})
    assert load_extractor("mini", layers=["features"], overrides={"mini": copy}) is first
    assert load_extractor("mini", layers=["logits"], overrides={"mini": copy}) is not first
    os.utime(copy, ns=(1, 1))  # another file under the same name
    assert load_extractor("mini", layers=["features"], overrides={"mini": copy}) is not first
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None


# --- what a file may hold


def stem_tensors() -> dict[str, torch.Tensor]:
    return {name: torch.rand(shape) + 0.5 for name, shape in Inception.shapes("64").items()}


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
def test_the_kind_of_file_does_not_matter(tmp_path: Path, suffix: str):
    tensors, path = stem_tensors(), tmp_path / f"stem{suffix}"
    if suffix == ".pth":
        torch.save(tensors, path)
    elif suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in tensors.items()})
    else:
        save_file(tensors, path)
    loaded = load_extractor("inception-tf2015", layers=["64"], overrides={"inception-tf2015": path})
    assert loaded.layer_sha256 == Inception(
        EXTRACTORS["inception-tf2015"], tensors, layers=["64"], resize="clean", precision="float32",
        device="cpu", weights_file="none",
    ).layer_sha256  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("Conv2d_2a_3x3.bn.bias"),
         r"no tensor 'Conv2d_2a_3x3.bn.bias' \(1 are missing\); give the file that `evalkit weights path "),
        (lambda t: t.update({"Conv2d_2a_3x3.bn.bias": torch.zeros(31)}),
         r"'Conv2d_2a_3x3.bn.bias' has shape \(31,\) and should have \(32,\)"),
        (lambda t: t.update({"Conv2d_2a_3x3.bn.bias": torch.full((32,), torch.nan)}),
         "holds NaN or infinite values"),
        (lambda t: t.update({"AuxLogits.conv0.conv.weight": torch.zeros(1)}),
         "holds 1 tensors that the network does not have, such as 'AuxLogits.conv0.conv.weight'"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_refused(tmp_path: Path, change, message: str):
    tensors, path = stem_tensors(), tmp_path / "stem.pth"
    change(tensors)
    torch.save(tensors, path)
    with pytest.raises(WeightsError, match=f"stem.pth does not fit inception-tf2015.*{message}"):
        load_extractor("inception-tf2015", layers=["64"], overrides={"inception-tf2015": path})


class NotData:
    """Something that only runs as code."""


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        (
            "net.pth",
            lambda path: torch.save({"model": NotData()}, path),
            "holds Python objects beside tensors",
        ),
        (
            "net.pth",
            lambda path: torch.save({"model": {"a": torch.ones(1)}}, path),
            "is not a plain state dict",
        ),
        ("net.pth", lambda path: torch.save([1, 2], path), "is not a plain state dict"),
        ("net.pth", lambda path: path.write_bytes(b"hello"), "net.pth"),
        ("net.npz", lambda path: path.write_bytes(b"hello"), "cannot be read as a .npz file of tensors"),
        (
            "net.npz",
            lambda path: np.savez(path, a=np.array([{}], dtype=object)),
            "cannot be read as a .npz file",
        ),
        ("net.safetensors", lambda path: path.write_bytes(b"hello"), "cannot be read as a .safetensors file"),
        ("net.onnx", lambda path: path.write_bytes(b"hello"), "is no weight file evalkit reads"),
    ],
)
def test_files_that_are_not_named_tensors_are_refused(tmp_path: Path, name: str, write, message: str):
    write(tmp_path / name)
    with pytest.raises(WeightsError, match=message):
        read_tensors(tmp_path / name)


def test_a_truncated_file_is_refused(tmp_path: Path):
    torch.save(stem_tensors(), tmp_path / "net.pth")
    content = (tmp_path / "net.pth").read_bytes()
    (tmp_path / "net.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match=r"cannot be read as a .pth file of tensors .* get it again"):
        read_tensors(tmp_path / "net.pth")
