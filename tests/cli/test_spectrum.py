"""The verb ``spectrum``: files and standard output agree, sets are whitened alike, bad words end well."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reference_models
import run_eval
from evalkit.engine.spectrum import spectra, write_spectra
from evalkit.errors import EvalkitError, StoreError, UsageError


def call(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert run_eval.main(["spectrum", *(str(word) for word in words)]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def images(num: int, side: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, side, side, 3), dtype=np.uint8)


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    for name, seed in (("real", 0), ("samples", 1)):
        np.savez(tmp_path / f"{name}.npz", arr_0=images(24, seed=seed))
    return tmp_path / "real.npz", tmp_path / "samples.npz"


def test_spectra_of_files_are_printed_and_written(capsys, sets: tuple[Path, Path], tmp_path: Path):
    out, err = call(capsys, "--data", sets[0], "--samples", sets[1], "-o", tmp_path / "out", "--json")
    told = json.loads(out)
    assert (told["side"], told["num_real"], told["num"]) == (12, 24, 24)
    assert told["mean"] == pytest.approx(images(24).mean(), rel=1e-12)
    assert told["std"] == pytest.approx(images(24).std(), rel=1e-12)
    with (tmp_path / "out" / "spectrum.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # 12 pixels padded to 48: frequencies 0 to 24.
    assert [row["slice"] for row in rows] == [name for name in ("0", "45", "radial") for _ in range(25)]
    for row, point in zip(rows, told["rows"], strict=True):
        assert {key: float(value) for key, value in row.items() if key != "slice"} == {
            key: value for key, value in point.items() if key != "slice"
        }
        gap = float(row["generated_db"]) - float(row["real_db"])
        assert float(row["gap_db"]) == pytest.approx(gap, abs=1e-12)
        errors = float(row["real_standard_error_db"]), float(row["generated_standard_error_db"])
        assert float(row["gap_standard_error_db"]) == pytest.approx(math.hypot(*errors), rel=1e-12)
        assert abs(float(row["gap_db"])) < 5 * float(row["gap_standard_error_db"])
    ends = [max(float(row["frequency"]) for row in rows if row["slice"] == name) for name in ("0", "45")]
    assert ends == pytest.approx([0.5, math.sqrt(0.5)])
    with Image.open(tmp_path / "out" / "spectrum.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    assert "written to" in err
    out, err = call(capsys, "--data", sets[0], "--samples", sets[1], "-o", tmp_path / "out")
    assert out == ""
    assert "mean |gap|" in err


def test_a_model_is_asked_for_as_many_images_as_there_are_real_ones(capsys, tmp_path: Path):
    words = ("--data", "bundled:digits:test", "--data-limit", 30, "--model", "stylegan2:tiny-random")
    out, _ = call(capsys, *words, "--truncation", 0.5, "--seed", 5, "-o", tmp_path / "a", "--json")
    told = json.loads(out)
    assert (told["num"], told["num_real"], told["side"]) == (30, 30, 32)
    twin = spectra(
        data="bundled:digits:test", data_limit=30, model=reference_models.build("stylegan2"), seed=5,
        truncation_psi=0.5, batch_size=7,
    )  # fmt: skip
    assert twin.rows() == told["rows"]
    out, _ = call(capsys, *words, "--num", 12, "--interpolation", 1, "-o", tmp_path / "b", "--json")
    told = json.loads(out)
    assert told["num"] == 12
    assert len(told["rows"]) == 3 * 17


def test_equal_sets_have_no_gap_and_equal_files(sets: tuple[Path, Path], tmp_path: Path):
    same = spectra(data=sets[0], samples=sets[0])
    assert all(row["gap_db"] == 0 for row in same.rows())
    first = [path.read_bytes() for path in write_spectra(same, tmp_path / "one")]
    assert [path.read_bytes() for path in write_spectra(same, tmp_path / "two")] == first


def test_batches_leave_no_trace(sets: tuple[Path, Path]):
    first = spectra(data=sets[0], samples=sets[1], batch_size=1)
    assert spectra(data=sets[0], samples=sets[1], batch_size=24).rows() == first.rows()


def test_blurred_samples_lack_high_frequencies():
    real = images(40, side=16)
    wide = real.astype(float)
    blurred = (wide + np.roll(wide, 1, axis=2)) / 2
    found = spectra(data=real, samples=np.rint(blurred).astype(np.uint8))
    gap, error = found.gap("0")
    frequency = found.real.curves["0"].frequency
    # The mean of two neighbours passes cos² of a frequency; at its zero, rounding is what is left.
    low = frequency < 0.4
    expected = 20 * np.log10(np.cos(math.pi * frequency[low]))
    assert np.all(np.abs(gap[low] - expected) < np.maximum(4 * error[low], 0.5))
    assert gap[-1] < -15
    vertical = found.generated.power[len(found.generated.power) // 2 :, len(found.generated.power) // 2]
    assert np.abs(10 * np.log10(vertical)).max() < 4


@pytest.mark.parametrize("side", [8, 9])
def test_small_and_odd_sizes(side: int, tmp_path: Path):
    found = spectra(data=images(6, side), samples=images(5, side, 1))
    assert found.real.power.shape == (4 * side, 4 * side)
    assert all(path.exists() for path in write_spectra(found, tmp_path))


def test_images_of_another_size_are_named(capsys, tmp_path: Path):
    for number, side in enumerate((12, 12, 16)):
        folder = tmp_path / "mixed"
        folder.mkdir(exist_ok=True)
        Image.fromarray(images(1, side)[0]).save(folder / f"{number}.png")
    np.savez(tmp_path / "real.npz", arr_0=images(4))
    np.savez(tmp_path / "wide.npz", arr_0=images(4)[:, :, :10])
    np.savez(tmp_path / "large.npz", arr_0=images(4, 16))
    for given, parts in (
        (("mixed", "real.npz"), ("2.png", "is 16 x 16 pixels and others are 12 x 12")),
        (("real.npz", "large.npz"), ("image 0 of", "large.npz", "16 x 16 pixels and others are 12 x 12")),
        (("wide.npz", "real.npz"), ("image 0 of", "wide.npz", "is 12 x 10 pixels")),
    ):
        data, samples = (tmp_path / name for name in given)
        out, err = call(capsys, "--data", data, "--samples", samples, "-o", tmp_path / "out", code=2)
        assert out == ""
        assert all(part in err for part in parts), err
        assert "square images of one size" in err
        assert not (tmp_path / "out").exists()


def test_sets_that_are_not_square_are_told_so(capsys, tmp_path: Path):
    for name, shape in (("wide", (5, 16, 32, 3)), ("square", (5, 16, 16, 3))):
        np.savez(tmp_path / f"{name}.npz", arr_0=np.zeros(shape, np.uint8))
    wide, square = tmp_path / "wide.npz", tmp_path / "square.npz"
    for data, samples, which in ((wide, wide, "real"), (square, wide, "generated")):
        _, err = call(capsys, "--data", data, "--samples", samples, "-o", tmp_path / "out", code=2)
        assert f"of the {which} images is 16 x 32 pixels, and images must be square" in " ".join(err.split())
        assert "others" not in err


def test_a_place_that_cannot_be_written_is_found_before_the_work(
    capsys, sets: tuple[Path, Path], tmp_path: Path
):
    (tmp_path / "file").touch()
    _, err = call(capsys, "--data", sets[0], "--samples", sets[1], "-o", tmp_path / "file", code=2)
    assert f"while preparing to write into {tmp_path / 'file'}; choose another path" in err
    assert "levels of" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "neither of --samples (images) and --model (what makes them) was given"),
        (("--samples", "bundled:digits", "--model", "stylegan2:tiny-random"), "both of --samples"),
        (("--samples", "bundled:digits", "--truncation", 0.5), "--truncation belongs to a model"),
        (("--model", "progan:tiny-random", "--truncation", 0.5), "no average latent to truncate toward"),
        (("--samples", "bundled:digits", "--interpolation", 0), "the interpolation is 0"),
        (
            ("--samples", "bundled:digits", "--limit", 1),
            "gives 1 generated images, which have no spread; give at least 2 generated images",
        ),
        (
            ("--samples", "bundled:digits", "--data-limit", 1),
            "bundled:digits:test gives 1 real images, which have no spread; give at least 2 real images",
        ),
        (("--samples", "bundled:digits", "--seed", -1), "the seed is -1"),
        (("--samples", "bundled:digits", "--subset-seed", 1), "--subset-seed 1 draws a limited number"),
    ],
)
def test_bad_words_end_in_one_message(capsys, monkeypatch, tmp_path: Path, words: tuple, message: str):
    monkeypatch.chdir(tmp_path)
    out, err = call(capsys, "--data", "bundled:digits:test", *words, "-o", "out", code=2)
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("evalkit: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_what_python_hands_over_is_checked(tmp_path: Path, sets: tuple[Path, Path]):
    statistics = tmp_path / "statistics.npz"
    np.savez(statistics, mu=np.zeros(4), sigma=np.eye(4))
    with pytest.raises(UsageError, match=r"against real images, and .*statistics.npz holds statistics"):
        spectra(data=statistics, samples=sets[0])
    with pytest.raises(UsageError, match="against real images, and no --data was given"):
        spectra(data=None, samples=sets[0])
    with pytest.raises(UsageError, match="batch_size is 0; it must be 1 or more"):
        spectra(data=sets[0], samples=sets[0], batch_size=0)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="choose another path") as caught:
        write_spectra(spectra(data=sets[0], samples=sets[0]), tmp_path / "file")
    assert isinstance(caught.value, EvalkitError)
