"""Network files of the official tools: every tensor, every argument, and the images recorded with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from evalkit.adapters.nvidia_pickle import NvidiaPickle, StoredNetwork, read_nvidia_pickle
from evalkit.errors import CheckpointError
from golden_cases import FOLDER, find_cases, fitting
from reference_models import ops
from reference_models.convert.inspect import inspect_checkpoint
from reference_models.loading import load_checkpoint
from reference_models.stylegan2 import convert as stylegan2_convert
from reference_models.stylegan2 import discriminator as stylegan2_discriminator
from reference_models.stylegan2 import generator as stylegan2_generator
from reference_models.stylegan3 import convert as stylegan3_convert
from reference_models.stylegan3 import generator as stylegan3_generator

HANDLES = ("pickle_*",)

CASES = {name: json.loads(path.read_text()) for name, path in find_cases().items() if fitting(name, HANDLES)}
FILES = [
    f"{name}/{file}" for name, case in CASES.items() if case["kind"] == "pickle" for file in case["files"]
]
BAD = [
    FOLDER / name / file
    for name, case in CASES.items()
    if case["kind"] == "pickle_bad"
    for file in case["files"]
]
GENERATORS: dict[str, tuple[ModuleType, ModuleType]] = {
    "stylegan2": (stylegan2_convert, stylegan2_generator),
    "stylegan3": (stylegan3_convert, stylegan3_generator),
}


def test_every_case_is_handled():
    assert {name.split("/")[0] for name in FILES} | {path.parent.name for path in BAD} == set(CASES)


def networks(found: NvidiaPickle) -> dict[str, StoredNetwork]:
    pipe = found.augment_pipe  # may be None or missing in a file
    return dict(found.networks) if pipe is None else {**found.networks, "augment_pipe": pipe}


@pytest.mark.parametrize("file", FILES)
def test_tensors_and_arguments(file: str):
    path = FOLDER / file
    case = json.loads((path.parent / "case.json").read_text())
    expected = load_file(path.parent / "weights.safetensors")
    found = read_nvidia_pickle(path)
    got = {f"{key}.{name}": a for key, net in networks(found).items() for name, a in net.tensors.items()}
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
        assert got[name].dtype == value.dtype
    for key, net in networks(found).items():
        assert [list(net.init_args), net.init_kwargs] == case["init_args_kwargs"][key]
        assert net.source == ""
    assert found.training_set_kwargs == case["training_set_kwargs"]


def images_of(io: dict[str, torch.Tensor], key: str) -> dict[str, float]:
    """Names of a network's recorded images, and the truncation of each."""
    found = {name: re.fullmatch(rf"out\.{key}\.img_const(?:_psi(-?[\d.]+))?", name) for name in sorted(io)}
    return {name: float(match[1] or 1) for name, match in found.items() if match}


@pytest.mark.parametrize("path", ["reference", "fast"])
@pytest.mark.parametrize("file", FILES)
def test_images(file: str, path: str):
    case = json.loads((FOLDER / file).with_name("case.json").read_text())
    io = {
        name: torch.from_numpy(a)
        for name, a in load_file((FOLDER / file).with_name("io.safetensors")).items()
    }
    found = read_nvidia_pickle(FOLDER / file)
    left = {name for name in io if name.startswith("out.")}

    def close(name: str, got: torch.Tensor) -> None:
        left.discard(name)
        wanted = io[name]
        assert got.shape == wanted.shape
        allowed = case["atol"] + case["rtol"] * float(wanted.abs().max())
        assert float((got - wanted).abs().max()) <= allowed, name

    with torch.no_grad(), ops.use(path):
        for key in ("G", "G_ema"):
            stored = found.networks[key]
            assert stored.kind is not None
            convert, networks = GENERATORS[stored.kind]
            config = convert.config_from_official(stored.init_kwargs)
            generator = networks.Generator(config)
            generator.load_state_dict(convert.from_official(stored.tensors, config), strict=True)
            generator.eval()
            close(f"out.{key}.ws", generator.mapping(io["in.z"], io["in.c"]))
            for name, psi in images_of(io, key).items():
                ws = generator.mapping(io["in.z"], io["in.c"], truncation_psi=psi)
                close(name, generator.synthesis(ws))
        stored = found.networks["D"]
        config = stylegan2_convert.discriminator_config_from_official(
            stored.init_kwargs, ada="stylegan2-ada" in case["repo"]
        )
        judge = stylegan2_discriminator.Discriminator(config)
        judge.load_state_dict(stylegan2_convert.from_official(stored.tensors, config), strict=True)
        close("out.D.logits", judge.eval()(io["in.img"], io["in.c"]))
    assert not left


@pytest.mark.parametrize("file", FILES)
def test_the_checkpoint_as_evaluations_ask_it(file: str):
    io = {
        name: torch.from_numpy(a)
        for name, a in load_file((FOLDER / file).with_name("io.safetensors")).items()
    }
    case = json.loads((FOLDER / file).with_name("case.json").read_text())
    model = load_checkpoint(FOLDER / file)
    labels = io["in.c"].argmax(1).numpy() if model.num_classes else None
    for name, psi in images_of(io, "G_ema").items():
        got = model.synthesise(model.map(io["in.z"], labels, truncation_psi=psi))
        allowed = case["atol"] + case["rtol"] * float(io[name].abs().max())
        assert float((got - io[name]).abs().max()) <= allowed, name


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name)
def test_bad_files(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    case = json.loads(path.with_name("case.json").read_text())
    expected = case["files"][path.name]
    monkeypatch.chdir(tmp_path)
    if expected["expected"] == "accept":
        assert "G_ema" in read_nvidia_pickle(path).networks
    else:
        with pytest.raises(CheckpointError, match=r"\.pkl"):
            read_nvidia_pickle(path)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
    try:
        found = inspect_checkpoint(path)
    except CheckpointError:
        assert expected["expected"] == "reject"
    else:
        assert found["safe"] is (expected["expected"] == "accept") or found["problem"]
        hostile = {"os_system": "posix.system", "builtins_eval": "builtins.eval"}
        hostile |= dict.fromkeys(("nested_storage_payload", "payload_in_init_kwargs"), "posix.system")
        if path.stem in hostile:
            assert hostile[path.stem] in found["globals"]
            assert found["safe"] is False
    assert not list(tmp_path.iterdir())
