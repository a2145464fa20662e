"""The verb ``sweep``: files and standard output agree, plans compute nothing, bad words end in a message."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import evalkit
import run_eval

MODEL = ("--model", "stylegan2:tiny-random")
WORDS = (
    "sweep", *MODEL, "--data", "bundled:digits:test", "--data-limit", "40",
    "--metrics", "fd_mini",
)  # fmt: skip


def call(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert run_eval.main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_a_sweep_prints_what_it_files(capsys, tmp_path: Path):
    out, err = call(capsys, *WORDS, "--truncation", "0.5:1:2", "-o", tmp_path / "s", "--json")
    told = json.loads(out)
    assert told == json.loads((tmp_path / "s" / "sweep.json").read_text(encoding="utf-8"))
    assert told["model"] == "stylegan2:tiny-random"
    assert told["data"] == "bundled:digits:test"
    assert [(point["psi"], point["num"]) for point in told["points"]] == [(0.5, 40), (1.0, 40)]
    filed = {record.record_id for record in evalkit.read_records(tmp_path / "s" / "records")}
    assert {point["record_id"] for point in told["points"]} == filed
    with (tmp_path / "s" / "sweep.csv").open(encoding="utf-8", newline="") as file:
        assert [float(row["psi"]) for row in csv.DictReader(file)] == [0.5, 1.0]
    assert (tmp_path / "s" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert err.index("a sweep over 2 psi: 120 images or draws") < err.index("psi 0.5\n")
    out, err = call(capsys, *WORDS, "--truncation", "0.5,1", "-o", tmp_path / "s")
    assert out == ""
    assert "a sweep over 2 psi: 0 images or draws to pass through networks, 120 on file" in err
    assert "± " in err
    assert {record.record_id for record in evalkit.read_records(tmp_path / "s" / "records")} == filed


def test_dry_run_prints_the_cost_of_every_psi_and_writes_nothing(capsys, tmp_path: Path):
    words = (*WORDS, "--truncation", "0.5:1:3", "-o", tmp_path / "s", "--dry-run")
    out, err = call(capsys, *words)
    assert out == ""
    for part in ("samples at psi 0.5", "samples at psi 0.75", "samples at psi 1.0", "160 images or draws"):
        assert part in err
    told = json.loads(call(capsys, *words, "--json")[0])
    assert told["truncation_psi"] == [0.5, 0.75, 1.0]
    assert [len(point["steps"]) for point in told["points"]] == [2, 2, 2]
    assert list(tmp_path.iterdir()) == []


def test_separability_is_asked_of_the_bundle_that_is_named(capsys, tmp_path: Path):
    words = ("sweep", *MODEL, "--metrics", "ls", "--truncation", "0.5,1", "-o", tmp_path / "s", "--dry-run")
    _, err = call(capsys, *words, code=2)
    assert "name a bundle of attribute classifiers with --attributes" in err
    _, err = call(capsys, *words, "--attributes", "digits")
    assert "draws at psi 0.5" in err
    _, err = call(capsys, *words, "--attributes", "digit", code=2)
    assert "unknown attribute bundle 'digit' (nearest: digits)" in err


def test_weights_that_lack_are_named_in_a_plan(capsys, tmp_path: Path):
    words = (*WORDS[:-1], "fid", "--truncation", "0.5,1", "-o", tmp_path / "s", "--dry-run")
    _, err = call(capsys, *words)
    assert "an unknown time" in err
    assert err.count("evalkit weights fetch") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*MODEL, "--truncation", "a"], "--truncation 'a': write start:stop:count"),
        ([*MODEL, "--truncation", "0:1:1"], "a sweep has 2 or more"),
        (["--samples", "images", "--truncation", "0.5,1"], "--samples are images that are there already"),
        (["--truncation", "0.5,1"], "a sweep truncates a model; name one with --model"),
        (["--model", "progan:tiny-random", "--truncation", "0.5,1"], "a model that can be truncated"),
        ([*MODEL, "--truncation", "0.5,1", "--metrics", ""], "no metric was named"),
        ([*MODEL, "--truncation", "0.5,1", "--metrics", "fd_mni"], "nearest: fd_mini"),
        ([*MODEL, "--truncation", "0.5,1"], "say how many with --num"),
        ([*MODEL, "--truncation", "0.5,1", "--num", "20"], "--data"),
    ],
)  # fmt: skip
def test_bad_words_end_in_one_message(capsys, monkeypatch, tmp_path: Path, words: list[str], message: str):
    monkeypatch.chdir(tmp_path)
    out, err = call(capsys, "sweep", *words, "-o", "out", code=2)
    assert out == ""
    assert err.startswith("evalkit: ")
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
