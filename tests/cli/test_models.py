"""The verbs that take models: ``run --model``, ``sample``, ``checkpoint``, ``list models``."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import evalkit
import reference_models
import run_eval
from evalkit.cli.options import parse_seeds
from evalkit.engine.sampling import tiled
from evalkit.errors import UsageError


class Hostile:
    """An object whose pickle runs a command when it is read by Python's own reader."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def call(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert run_eval.main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_run_measures_a_model_by_name(capsys, tmp_path: Path):
    out, _ = call(
        capsys, "run", "--model", "stylegan2:tiny-random", "--data", "bundled:digits", "--data-limit", 50,
        "--metrics", "mini", "-o", tmp_path / "results", "--json",
    )  # fmt: skip
    records = json.loads(out)
    assert {record["samples"]["name"] for record in records} == {"stylegan2:tiny-random"}
    assert {record["samples"]["num"] for record in records} == {50}
    assert len(records) == 7
    again, err = call(
        capsys, "run", "--model", "stylegan2:tiny-random", "--data", "bundled:digits", "--data-limit", 50,
        "--metrics", "mini", "-o", tmp_path / "results", "--json",
    )  # fmt: skip
    assert [record["record_id"] for record in json.loads(again)] == [
        record["record_id"] for record in records
    ]
    assert "features of 50 images were on file" in err


def test_sample_draws_a_grid_and_keeps_images(capsys, tmp_path: Path):
    grid, folder, archive = tmp_path / "grid.png", tmp_path / "images", tmp_path / "images.npz"
    _, err = call(
        capsys, "sample", "stylegan3:tiny-random", "-n", 5, "--grid", grid, "--seeds", "3-9", "--truncation",
        0.7,
        "--output", folder,
    )  # fmt: skip
    assert f"written to {grid}" in err
    with Image.open(grid) as picture:
        assert picture.size == (96, 64)
    assert sorted(path.name for path in folder.iterdir()) == [f"seed{seed:08d}.png" for seed in range(3, 8)]
    call(capsys, "sample", "stylegan3:tiny-random", "--seeds", "3,4", "--truncation", 0.7, "-o", archive)
    with np.load(archive) as kept, Image.open(folder / "seed00000004.png") as picture:
        np.testing.assert_array_equal(kept["images"][1], np.asarray(picture))
    twin = evalkit.sample(reference_models.build("stylegan3"), [3, 4], truncation_psi=0.7)
    with np.load(archive) as kept:
        np.testing.assert_array_equal(kept["images"].transpose(0, 3, 1, 2), twin)


def test_a_grid_is_filled_line_by_line():
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((5, 3, 2, 2), np.uint8)
    assert tiled(images)[0, ::2, ::2].tolist() == [[1, 2, 3], [4, 5, 0]]


def test_convert_and_inspect(capsys, tmp_path: Path):
    model = reference_models.build("stylegan2", seed=2)
    first = reference_models.save_checkpoint(model, tmp_path / "first.safetensors")
    call(capsys, "checkpoint", "convert", first, tmp_path / "second.safetensors")
    assert reference_models.load_checkpoint(tmp_path / "second.safetensors").identity == model.identity
    out, _ = call(capsys, "checkpoint", "inspect", first, "--json")
    found = json.loads(out)
    assert found["model"] == "stylegan2"
    out, _ = call(capsys, "checkpoint", "inspect", first)
    assert "stylegan2" in out
    call(capsys, "checkpoint", "convert", first, tmp_path / "official.pth")
    state = torch.load(tmp_path / "official.pth", weights_only=True)
    assert state.keys() == model.generator.state_dict().keys()
    _, err = call(capsys, "checkpoint", "convert", first, tmp_path / "second.zip", code=2)
    assert "give a file whose name ends in .safetensors or .pth" in err


def test_list_models(capsys):
    out, _ = call(capsys, "list", "models", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert set(rows) == {"progan", "stylegan", "stylegan2", "stylegan3", "vdvae", "nvae", "ncp_vae", "srflow"}
    assert "ffhq1024" in rows["stylegan2"]["presets"]


@pytest.mark.parametrize(
    ("words", "num", "seeds"),
    [
        ("0-3", None, [0, 1, 2, 3]),
        ("1,5,9", None, [1, 5, 9]),
        ("7-", 2, [7, 8]),
        ("0-63", 2, [0, 1]),
        ("3,7-", 3, [3, 7, 8]),
    ],
)
def test_seeds_are_read(words: str, num: int | None, seeds: list[int]):
    assert parse_seeds(words, num).tolist() == seeds


@pytest.mark.parametrize(
    ("words", "num", "message"),
    [
        ("a-b", None, "--seeds a-b: write whole numbers, such as 0-63"),
        ("9-3", None, "9-3 runs backwards; the smaller seed comes first"),
        ("0-3", 9, r"-n 9 asks for more images than --seeds 0-3 has seeds \(4\)"),
        ("0-9999999", None, "more than 1,000,000 images"),
        ("-4", None, "write whole numbers"),
        ("\u00b2", None, "write whole numbers"),
        ("99999999999999999999", None, "write whole numbers"),
        ("0-", 0, "-n is 0; ask for 1 image or more"),
    ],
)
def test_seeds_that_cannot_be(words: str, num: int | None, message: str):
    with pytest.raises(UsageError, match=message):
        parse_seeds(words, num)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "stylegan2:tiny-random"], "nothing would be kept: name a picture with --grid"),
        (["sample", "stylegan2:tiny-random", "--grid", "out.jpg"], "end its name in .png"),
        (["sample", "stylegan2:tiny-random", "-o", "out.zip"], "or a file whose name ends in .npz"),
        (["sample", "progan:tiny-random", "--grid", "a.png", "--truncation", "0.7"], "truncation"),
        (["sample", "stylegan2:tiny-random", "--grid", "a.png", "--labels", "1"], "knows no classes"),
        (["sample", "stylegan2:tny-random", "--grid", "a.png"], "nearest: tiny"),
        (["sample", "stylgan2:tiny-random", "--grid", "a.png"], "'stylgan2' (nearest: stylegan2"),
        (["sample", "stylegan2:tiny-random", "--grid", "a.png", "--z-dim", "9"], "leave --z-dim, --range"),
        (["sample", "gone.pkl", "--grid", "a.png"], "gone.pkl"),
        (["run", "--metrics", "mini", "--data", "bundled:digits"], "neither of --samples"),
        (["run", "--model", "stylegan2:tiny-random", "--metrics", "is_mini"], "say how many with --num"),
        (["checkpoint", "inspect", "gone.pkl"], "gone.pkl"),
    ],
)  # fmt: skip
def test_bad_words_end_in_one_message(capsys, monkeypatch, tmp_path: Path, words: list[str], message: str):
    monkeypatch.chdir(tmp_path)
    out, err = call(capsys, *words, code=2)
    assert out == ""
    assert err.startswith("evalkit: ")
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_inspect_calls_an_unsafe_file_by_name_and_ends_in_1(capsys, tmp_path: Path):
    marker = tmp_path / "ran"
    file = tmp_path / "network.pkl"
    file.write_bytes(pickle.dumps({"G_ema": Hostile(f"touch {marker}")}, protocol=4))
    out, _ = call(capsys, "checkpoint", "inspect", file, code=1)
    assert "posix.system" in out
    assert not marker.exists()
    _, err = call(capsys, "sample", file, "--grid", tmp_path / "a.png", code=2)
    assert f"{file} is no checkpoint of a reference model: it would call posix.system, and nothing" in err
    assert not marker.exists()


def test_a_grid_that_cannot_be_written_there(capsys, tmp_path: Path):
    (tmp_path / "file").touch()
    _, err = call(
        capsys, "sample", "stylegan2:tiny-random", "--seeds", 1, "--grid", tmp_path / "file" / "a.png", code=2
    )
    assert "a.png; choose another path" in err


def test_what_a_factory_prints_is_no_result(capsys, monkeypatch, tmp_path: Path):
    (tmp_path / "loud.py").write_text(
        "import sys, torch\n"
        "def factory():\n    print('hello')\n    net = torch.nn.Sequential(torch.nn.Linear(4, 192), "
        "torch.nn.Tanh(), "
        "torch.nn.Unflatten(1, (3, 8, 8)))\n    net.z_dim = 4\n    return net\n"
        "def leaves():\n    sys.exit(0)\n"
    )
    monkeypatch.chdir(tmp_path)
    out, err = call(
        capsys, "run", "--model", "loud.py:factory", "--num", 20, "--data", "bundled:digits",
        "--data-limit", 20, "--metrics", "fd_mini", "--json",
    )  # fmt: skip
    assert json.loads(out)[0]["metric"] == "fd_mini"
    assert "hello" in err
    _, err = call(capsys, "sample", "loud.py:leaves", "--grid", "a.png", code=2)
    assert "SystemExit" in err


def test_a_checkpoint_of_ours_holds_one_network(capsys, tmp_path: Path):
    first = reference_models.save_checkpoint(
        reference_models.build("stylegan2"), tmp_path / "first.safetensors"
    )
    _, err = call(
        capsys, "checkpoint", "convert", first, tmp_path / "second.safetensors", "--network", "D", code=2
    )
    assert "holds one network, the one it was converted from, and no network 'D'" in err
