"""What a tired user types: one message that says what to do, exit code 2, no traceback, no number."""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import run_eval

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_eval.main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, " ".join(err.split())

    return call


def write_images(folder: Path, num: int, seed: int = 0, side: int = 16) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(num):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return write_images(tmp_path / "real", 12, seed=1)


def refuse(result: tuple[int, str, str], *parts: str) -> None:
    code, out, err = result
    assert code == 2, err
    assert out == ""
    for part in parts:
        assert part in err, err


def run(cli: Cli, tmp_path: Path, samples: object, data: object, metrics: str = "fd_mini", *more: object):
    return cli(
        "run",
        "--samples",
        samples,
        "--data",
        data,
        "--metrics",
        metrics,
        "--output",
        tmp_path / "results",
        *more,
    )


def test_missing_path(cli: Cli, tmp_path: Path, real: Path):
    write_images(tmp_path / "samples", 12)
    refuse(run(cli, tmp_path, tmp_path / "sample", real), "sample", "nearest", "samples")


def test_empty_folder(cli: Cli, tmp_path: Path, real: Path):
    (tmp_path / "empty").mkdir()
    refuse(run(cli, tmp_path, tmp_path / "empty", real), "empty", "no image")


def test_one_image(cli: Cli, tmp_path: Path, real: Path):
    refuse(run(cli, tmp_path, write_images(tmp_path / "one", 1), real), "fd_mini is not defined on 1 samples")


def test_fewer_images_than_neighbours(cli: Cli, tmp_path: Path, real: Path):
    result = run(cli, tmp_path, write_images(tmp_path / "five", 5), real, "prdc_mini")
    refuse(result, "prdc_mini is not defined on 5 samples", "k + 1 = 6")


def test_a_truncated_file_is_named_and_can_be_skipped_and_counted(cli: Cli, tmp_path: Path, real: Path):
    samples = write_images(tmp_path / "samples", 12)
    broken = samples / "005.png"
    broken.write_bytes(broken.read_bytes()[:-300])
    refuse(run(cli, tmp_path, samples, real), "005.png", "--skip-broken")
    code, out, err = run(cli, tmp_path, samples, real, "fd_mini", "--skip-broken", "--json")
    assert code == 0, err
    (record,) = json.loads(out)
    assert record["samples"]["num_broken"] == 1
    assert record["samples"]["num"] == 11


def test_mixed_sizes_are_said_once(cli: Cli, tmp_path: Path, real: Path):
    samples = write_images(tmp_path / "samples", 12)
    write_images(samples / "more", 3, seed=4, side=20)
    code, _, err = run(cli, tmp_path, samples, real)
    assert code == 0
    assert err.count("2 different image sizes, each resized by the protocol (antialiased-bilinear)") == 1


def test_a_float_npz(cli: Cli, tmp_path: Path, real: Path):
    np.savez(tmp_path / "floats.npz", arr_0=np.zeros((12, 8, 8, 3), np.float32))
    refuse(run(cli, tmp_path, tmp_path / "floats.npz", real), "float32", "uint8")


def test_an_npz_with_pickled_objects(cli: Cli, tmp_path: Path, real: Path):
    np.savez(tmp_path / "objects.npz", arr_0=np.array([{"a": 1}], dtype=object))
    refuse(run(cli, tmp_path, tmp_path / "objects.npz", real), "objects.npz", "pickle")


def test_constant_features(cli: Cli, tmp_path: Path, real: Path):
    np.save(tmp_path / "same.npy", np.full((12, 8, 8, 3), 7, np.uint8))
    refuse(run(cli, tmp_path, tmp_path / "same.npy", real), "samples", "12")


def test_a_zip_that_leaves_its_folder(cli: Cli, tmp_path: Path, real: Path):
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../evil.png", image.getvalue())
    refuse(run(cli, tmp_path, tmp_path / "evil.zip", real), "evil.zip", "../../evil.png")


def test_a_zip_bomb(cli: Cli, tmp_path: Path, real: Path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"\0" * 200_000_000)
    refuse(run(cli, tmp_path, tmp_path / "bomb.zip", real), "bomb.zip", "a.png")


def test_a_reference_of_another_protocol(cli: Cli, tmp_path: Path, real: Path):
    samples = write_images(tmp_path / "samples", 12)
    code, _, err = cli("ref", "build", real, "-o", tmp_path / "ref.npz", "--protocol", "fd_mini")
    assert code == 0, err
    assert run(cli, tmp_path, samples, tmp_path / "ref.npz")[0] == 0
    refuse(
        run(cli, tmp_path, samples, tmp_path / "ref.npz", "fid"),
        "made under protocol 'fd_mini' and cannot serve 'fid'",
        "evalkit ref build",
    )


CALLABLES = """
import numpy as np

def good(seeds):
    return np.stack([np.random.default_rng(s).integers(0, 256, (3, 8, 8), dtype=np.uint8) for s in seeds])

def raises(seeds):
    raise RuntimeError("CUDA out of memory")

def wrong_shape(seeds):
    return np.zeros((len(seeds), 7), np.uint8)

def wrong_count(seeds):
    return good(seeds)[:-1]

def wrong_range(seeds):
    return good(seeds).astype(np.float32)

def not_finite(seeds):
    return np.full((len(seeds), 3, 8, 8), np.nan, np.float32)

not_callable = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"generators_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(CALLABLES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        ("raises", ("RuntimeError", "CUDA out of memory")),
        ("wrong_shape", ("wrong_shape", "7")),
        ("wrong_count", ("wrong_count",)),
        ("wrong_range", ("wrong_range", "[-1, 1]")),
        ("not_finite", ("NaN",)),
        ("not_callable", ("not_callable",)),
        ("goof", ("goof", "good")),
    ],
)
def test_callables_that_fail(
    cli: Cli, tmp_path: Path, real: Path, module: str, function: str, parts: tuple[str, ...]
):
    refuse(run(cli, tmp_path, f"{module}:{function}", real, "fd_mini", "--num", 12), *parts)


def test_a_callable_needs_a_count(cli: Cli, tmp_path: Path, real: Path, module: str):
    refuse(run(cli, tmp_path, f"{module}:good", real), "--num")


def test_a_callable_of_a_module_that_is_not_there(cli: Cli, tmp_path: Path, real: Path):
    refuse(run(cli, tmp_path, "no_such_module:f", real, "fd_mini", "--num", 12), "no_such_module")


def test_an_unknown_metric_is_answered_with_the_nearest(cli: Cli, tmp_path: Path, real: Path):
    refuse(
        run(cli, tmp_path, real, real, "fd_mimi"),
        "unknown protocol 'fd_mimi'",
        "fd_mini",
        "evalkit list protocols",
    )


def test_an_unknown_flag_is_answered_with_the_nearest(cli: Cli, tmp_path: Path, real: Path):
    refuse(run(cli, tmp_path, real, real, "fd_mini", "--sead", 1), "--sead", "--seed")


def test_an_unknown_verb_is_answered_with_the_nearest(cli: Cli):
    refuse(cli("rum"), "rum", "run")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--layer", "191"), ("191",)),
        (("--weights", "mini"), ("--weights mini: write NAME=FILE",)),
        (("--device", "gpu"), ("gpu", "cuda")),
        (("--device", "cuda"), ("torch sees no GPU; use --device cpu",)),
        (("--limit", "0"), ("0",)),
        (("--limit", "99"), ("99", "12")),
        (("--subset-seed", "1"), ("--limit",)),
        (("--batch-size", "0"), ("--batch-size",)),
        (("--num", "many"), ("--num", "integer")),
    ],
)
def test_flags_with_values_that_cannot_be(
    cli: Cli, tmp_path: Path, real: Path, words: tuple[str, ...], parts: tuple[str, ...]
):
    if words == ("--device", "cuda"):
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
    refuse(run(cli, tmp_path, real, real, "fd_mini", *words), *parts)


def test_weights_that_are_not_there(cli: Cli, tmp_path: Path, real: Path):
    refuse(run(cli, tmp_path, real, real, "fid"), "inception", "evalkit weights fetch", "--weights-dir")


def test_a_full_disk_loses_nothing(cli: Cli, tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch):
    samples = write_images(tmp_path / "samples", 12)
    flushed = 0
    fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal flushed
        flushed += 1
        if flushed > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    refuse(run(cli, tmp_path, samples, real), "no space left on the disk", "run the same command again")
    monkeypatch.setattr(os, "fsync", fsync)
    code, _, err = run(cli, tmp_path, samples, real)
    assert code == 0
    assert "features of 12 images were on file" in err


def test_a_flipped_byte_is_found_and_computed_again(cli: Cli, tmp_path: Path, real: Path):
    samples = write_images(tmp_path / "samples", 12)
    first = run(cli, tmp_path, samples, real, "fd_mini", "--json")
    shard = sorted((Path(os.environ["EVALKIT_CACHE"]) / "features").rglob("000000-*.npy"))[0]
    content = bytearray(shard.read_bytes())
    content[-7] ^= 4
    shard.write_bytes(content)
    code, out, err = run(cli, tmp_path, samples, real, "fd_mini", "--json")
    assert code == 0
    assert "1 stored feature shards were damaged; they were computed again" in err
    assert json.loads(out)[0]["value"] == json.loads(first[1])[0]["value"]


def test_one_metric_that_fails_does_not_lose_the_others(cli: Cli, tmp_path: Path, real: Path):
    samples = write_images(tmp_path / "samples", 12)
    other = tmp_path / "wide.npz"
    np.savez(other, mu=np.zeros(64), sigma=np.eye(64))
    code, _, err = run(cli, tmp_path, samples, other, "is_mini,fd_mini")
    assert code == 2
    assert "fd_mini" in err


def test_a_results_folder_that_is_a_file(cli: Cli, tmp_path: Path, real: Path):
    (tmp_path / "results").write_text("")
    refuse(run(cli, tmp_path, real, real), "choose another path")


def test_the_message_is_whole_on_a_narrow_terminal(cli: Cli, tmp_path: Path, real: Path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    _, _, err = run(cli, tmp_path, real, real, "fd_mimi")
    assert "unknown protocol 'fd_mimi'" in err


def test_no_arguments_print_help(cli: Cli):
    code, out, err = cli()
    assert code in (0, 2)
    assert "Measure generative image models" in " ".join((out + err).split())
