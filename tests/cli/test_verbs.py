"""The verbs: JSON to standard output and nothing else, the same answers as their Python twins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evalkit
import run_eval
from evalkit.protocols.catalog import GROUPS, PROTOCOLS

ROOT = Path(__file__).resolve().parents[2]


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, str]:
    capsys.readouterr()
    assert run_eval.main([str(word) for word in words]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for name in ("samples", "data"):
        np.savez(tmp_path / f"{name}.npz", arr_0=rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8))
    return tmp_path / "samples.npz", tmp_path / "data.npz"


def test_run_prints_the_records_it_files_and_only_those(capsys, sets: tuple[Path, Path], tmp_path: Path):
    out, err = call(
        capsys,
        "run",
        "--samples",
        sets[0],
        "--data",
        sets[1],
        "--metrics",
        "fd_mini,prdc_mini",
        "--name",
        "mine",
        "--data-name",
        "theirs",
        "-o",
        tmp_path / "results",
        "--json",
    )
    printed = json.loads(out)
    assert [record["metric"] for record in printed][:2] == ["fd_mini", "prdc_mini_precision"]
    filed = evalkit.read_records([tmp_path / "results"])
    assert {record["record_id"] for record in printed} == {record.record_id for record in filed}
    assert (tmp_path / "results" / "theirs" / "mine").is_dir()
    twin = evalkit.evaluate(
        samples=sets[0],
        data=sets[1],
        metrics=["fd_mini", "prdc_mini"],
        name="mine",
        data_name="theirs",
        output=None,
    )
    assert [record["record_id"] for record in printed] == [record.record_id for record in twin]
    assert "mini on cpu" in err or "mini on" in err


def test_run_shows_values_with_error_bars_and_how_they_were_made(capsys, sets, tmp_path: Path):
    out, err = call(
        capsys, "run", "--samples", sets[0], "--data", sets[1], "--metrics", "fd_mini", "-o", tmp_path / "r"
    )
    assert out == ""
    for part in ("fd_mini", "95 % interval", "± s.e.", "filed in"):
        assert part in err


def test_a_record_is_self_contained(capsys, sets, tmp_path: Path):
    out, _ = call(
        capsys,
        "run",
        "--samples",
        sets[0],
        "--data",
        sets[1],
        "--metrics",
        "fd_mini",
        "-o",
        tmp_path,
        "--json",
    )
    (record,) = json.loads(out)
    assert set(record) >= {
        "schema_version",
        "record_id",
        "metric",
        "value",
        "standard_error",
        "ci95",
        "ci_method",
        "bias",
        "seed",
        "protocol",
        "extractor",
        "samples",
        "data",
        "provenance",
    }
    assert record["protocol"]["digest"] == PROTOCOLS["fd_mini"].digest
    assert record["protocol"]["fields"]["resize"] == "antialiased-bilinear"
    assert len(record["extractor"]["weights_sha256"]) == 64
    assert record["samples"]["num"] == record["data"]["num"] == 20
    assert {"created", "packages", "device", "seconds", "argv", "evalkit_commit"} <= set(record["provenance"])


def test_dry_run_prints_the_plan_and_its_cost(capsys, sets, tmp_path: Path):
    words = (
        "run",
        "--samples",
        sets[0],
        "--data",
        sets[1],
        "--metrics",
        "mini",
        "-o",
        tmp_path / "r",
        "--dry-run",
    )
    out, err = call(capsys, *words)
    assert out == ""
    assert "will measure" in err
    assert "will compute" in err
    plan = json.loads(call(capsys, *words, "--json")[0])
    assert [m["protocol"].split("/")[0] for m in plan["measurements"]] == list(GROUPS["mini"])
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("kind", ["protocols", "sources", "extractors", "weights"])
def test_lists(capsys, kind: str):
    rows = json.loads(call(capsys, "list", kind, "--json")[0])
    table = call(capsys, "list", kind)[0]
    assert rows
    assert "│" in table or "|" in table
    if kind == "protocols":
        assert [row["name"] for row in rows] == [*PROTOCOLS, *GROUPS]


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_show_prints_every_field_of_a_protocol_and_what_it_rests_on(capsys, name: str):
    text = call(capsys, "show", name)[0]
    fields = json.loads(call(capsys, "show", name, "--json")[0])
    spec = PROTOCOLS[name]
    assert fields["digest"] == spec.digest
    for part in (spec.digest, spec.extractor, spec.layer, spec.resize, spec.about.source):
        assert part in text
    assert fields["files"]


def test_doctor_says_what_can_run_now(capsys):
    text = call(capsys, "doctor")[0]
    found = json.loads(call(capsys, "doctor", "--json")[0])
    assert found["protocols"]["fd_mini"] == "ready"
    assert "evalkit weights fetch" in found["protocols"]["fid"]
    assert "can run now: " in text
    assert "fd_mini" in text.split("can run now: ")[1].splitlines()[0]
    assert found["extras"].keys() == {"clip", "hf", "site", "sql"}


def test_version_and_module_agree(capsys):
    assert call(capsys, "--version")[0].strip() == f"evalkit {evalkit.__version__}"


def test_the_console_script_and_the_file_are_one_program():
    script = Path(sys.executable).with_name("evalkit")
    if not script.exists():
        pytest.skip("evalkit is not installed in this environment")
    answers = [
        subprocess.run([*program, "list", "protocols", "--json"], capture_output=True, check=True).stdout
        for program in ([str(script)], [sys.executable, str(ROOT / "run_eval.py")])
    ]
    assert answers[0] == answers[1]


def test_an_unknown_name_of_the_package_lists_what_there_is():
    with pytest.raises(AttributeError, match="no attribute 'evaluat'; it has .*evaluate"):
        _ = evalkit.evaluat
    assert set(evalkit.__all__) <= set(dir(evalkit))


def test_limits_by_seed_are_part_of_the_data_and_not_of_the_command(capsys, sets, tmp_path: Path):
    def fingerprint(*more: object) -> str:
        out, _ = call(
            capsys,
            "run",
            "--samples",
            sets[0],
            "--metrics",
            "is_mini",
            "-o",
            tmp_path,
            "--json",
            "--limit",
            12,
            *more,
        )
        return json.loads(out)[0]["samples"]["fingerprint"]

    first, drawn, again = fingerprint(), fingerprint("--subset-seed", 5), fingerprint("--subset-seed", 5)
    assert first != drawn
    assert drawn == again
