"""``evalkit attributes``: training, testing and showing bundles from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import run_eval


def call(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert run_eval.main(["attributes", *(str(word) for word in words)]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out, " ".join(captured.err.split())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Thirty images and a CSV: dark ones and light ones."""
    rng = np.random.default_rng(0)
    lines = ["file,light"]
    for index in range(30):
        grey = rng.integers(0, 90, (10, 10, 3), dtype=np.uint8) + 160 * (index % 2)
        path = tmp_path / "images" / f"{index:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(grey.astype(np.uint8)).save(path)
        lines.append(f"{path.name},{index % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path / "images"


def train(capsys, images: Path, output: Path, *more: object, code: int = 0) -> tuple[str, str]:
    labels = images.with_name("labels.csv")
    return call(
        capsys, "train", "--data", images, "--labels", labels, "-o", output, "--side", 8, "--epochs", 20,
        *more, code=code,
    )  # fmt: skip


def test_train_test_and_show(capsys, images: Path, tmp_path: Path):
    output = tmp_path / "new" / "light.safetensors"
    out, err = train(capsys, images, output, "--kind", "logistic", "--val-fraction", 0.2)
    assert "logistic, images resized to 8 x 8" in out
    assert "24 images of" in out
    assert "of 6 images kept apart: mean 1.0000" in out
    assert f"written to {output}" in err
    assert "training: " in err
    assert "reading " in err

    out, _ = call(capsys, "show", output)
    assert "light" in out
    about = json.loads(call(capsys, "show", output, "--json")[0])
    assert about["names"] == ["light"]
    assert about["accuracy"] == [1.0]
    assert about["num_train"] == 24
    assert len(about["sha256"]) == 64

    words = ("test", output, "--data", images, "--labels", images.with_name("labels.csv"))
    found = json.loads(call(capsys, *words, "--json")[0])
    assert found == {"num": 30, "attributes": {"light": {"accuracy": 1.0, "positive": 0.5}}}
    assert "1.0000" in call(capsys, *words)[0]


def test_the_same_command_writes_the_same_file(capsys, images: Path, tmp_path: Path):
    for name in ("one", "two"):
        train(capsys, images, tmp_path / f"{name}.safetensors")
    train(capsys, images, tmp_path / "other.safetensors", "--seed", 1)
    one, two, other = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other


def test_the_bundled_one_is_shown_by_name(capsys):
    out, _ = call(capsys, "show", "digits")
    assert "cnn, images resized to 16 x 16" in out
    assert "809 images of bundled:digits:train, seed 0, 30 epochs" in out
    for digit in range(10):
        assert f"is {digit}" in out


def test_a_table_that_does_not_fit_leaves_no_file(capsys, images: Path, tmp_path: Path):
    output = tmp_path / "light.safetensors"
    labels = images.with_name("labels.csv")
    labels.write_text(labels.read_text().replace("07.png", "7.png"))
    _, err = train(capsys, images, output, code=2)
    assert "has no image '7.png' (nearest: " in err
    labels.write_text("file,light\n" + "\n".join(f"{index:02d}.png,1" for index in range(30)))
    _, err = train(capsys, images, output, code=2)
    assert "are the same for all 27 images" in err
    assert not output.exists()


def test_a_place_that_cannot_be_written_is_found_before_the_work(capsys, images: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.safetensors").mkdir()
    for output, message in (
        ("file/light.safetensors", f"while preparing to write into {tmp_path / 'file'}; choose another path"),
        ("folder.safetensors", "that is a folder; name the file to write"),
    ):
        _, err = train(capsys, images, tmp_path / output, code=2)
        assert message in err
        assert "reading" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("train", "--data", "bundled:digits", "--labels", "own", "-o", "x.pth"),
            "end its name in .safetens",
        ),
        (("train", "--data", "bundled:digit", "--labels", "own", "-o", "x.safetensors"), "nearest: digits"),
        (
            ("train", "--data", "bundled:digits", "--labels", "own", "-o", "x.safetensors", "--side", "9"),
            "--side 9: choose one of 8, 16",
        ),
        (
            (
                "train",
                "--data",
                "bundled:digits",
                "--labels",
                "own",
                "-o",
                "x.safetensors",
                "--seed",
                "99999999999999999999",
            ),
            "--seed 99999999999999999999: give a whole number from 0 to 2^63 - 1",
        ),
        (("show", "digit"), "unknown attribute bundle 'digit' (nearest: digits)"),
        (
            ("test", "digits", "--data", "bundled:digits", "--labels", "x.csv"),
            "there is no such file; give `own`",
        ),
    ],
)
def test_what_cannot_be_meant(capsys, words: tuple[str, ...], message: str):
    out, err = call(capsys, *words, code=2)
    assert out == ""
    assert message in err


def test_statistics_are_no_images(capsys, tmp_path: Path):
    np.savez(tmp_path / "stats.npz", mu=np.zeros(4), sigma=np.eye(4))
    _, err = call(
        capsys, "test", "digits", "--data", tmp_path / "stats.npz", "--labels", "own", code=2
    )  # fmt: skip
    assert "holds statistics of images; give the images themselves" in err
