"""Records: whole or absent, the same result files the same name, edits are noticed, nothing but JSON."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.digest import canonical_json, digest
from evalkit.errors import StoreError
from evalkit.records.manifest import git_commit, provenance
from evalkit.records.schema import DataUse, Record, Training, record_from_dict
from evalkit.records.store import RecordStore, read_records, slug

ROOT = Path(__file__).resolve().parents[2]

SAMPLES = DataUse(
    name="model a", spec="samples/a", fingerprint="a" * 64, num=100, notes=("alpha was dropped",)
)
REAL = DataUse(name="real", spec="bundled:digits", fingerprint="b" * 64, num=90)
RECORD = Record(
    metric="fd_mini", value=1.25, standard_error=0.5, ci95=(0.25, 2.25), ci_method="closed form", bias=0.1,
    higher_is_better=False, extras={"std": 0.25}, notes=("note",), seed=0,
    protocol={"name": "fd_mini", "version": 1, "digest": "c" * 64, "fields": {"k": 3}},
    extractor={"name": "mini", "layer": "features", "weights_sha256": "d" * 64},
    samples=SAMPLES, data=REAL, provenance={"created": "2026-01-01T00:00:00+00:00"},
)  # fmt: skip


def test_a_record_comes_back_equal(tmp_path: Path):
    store = RecordStore(tmp_path / "results")
    assert store.append(RECORD)
    assert read_records([tmp_path / "results"]) == [RECORD]
    assert read_records([store.path_of(RECORD)]) == [RECORD]


def test_the_same_result_is_filed_once_whenever_and_wherever_it_was_made(tmp_path: Path):
    store = RecordStore(tmp_path)
    store.append(RECORD)
    again = dataclasses.replace(RECORD, provenance={"created": "later", "device": "another"})
    assert again.record_id == RECORD.record_id
    assert not store.append(again)
    assert len(list(tmp_path.rglob("*.json"))) == 1


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Record)])
def test_everything_but_the_provenance_decides_the_id(field: str):
    other: dict[str, object] = {
        "metric": "x", "value": 2.0, "standard_error": 0.1, "ci95": (0.0, 1.0), "ci_method": "x", "bias": 0.2,
        "higher_is_better": True, "extras": {"std": 0.3}, "notes": (), "seed": 1, "protocol": {"name": "x"},
        "extractor": {"name": "x"}, "samples": REAL, "data": None, "per_image": {"a.png": 1.0},
        "schema_version": 2,
    }  # fmt: skip
    if field == "provenance":
        changed = dataclasses.replace(RECORD, provenance={})
        assert changed.record_id == RECORD.record_id
    elif field == "reason":
        changed = dataclasses.replace(RECORD, value=None, reason="the model failed")
        assert changed.record_id != RECORD.record_id
    else:
        assert dataclasses.replace(RECORD, **{field: other[field]}).record_id != RECORD.record_id


def test_a_result_without_a_value_needs_a_reason_and_is_null_in_json():
    with pytest.raises(ValueError, match="either a value or a reason"):
        dataclasses.replace(RECORD, value=None)
    missing = dataclasses.replace(RECORD, value=None, reason="not applicable")
    assert json.loads(missing.to_json())["value"] is None


def test_a_value_that_is_not_a_number_cannot_be_filed(tmp_path: Path):
    with pytest.raises(ValueError, match="no canonical JSON form"):
        RecordStore(tmp_path).append(dataclasses.replace(RECORD, value=float("nan")))
    assert list(tmp_path.rglob("*.json")) == []


def _spoil(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": 0.5}, "the content does not match its record_id, so the file was edited"),
        ({"schema_version": 99}, "schema version 99, this evalkit reads version 1; update evalkit"),
        ({"colour": "red"}, r"not an evalkit record \(.*colour.*\); move the file out"),
        ({"samples": None}, "not an evalkit record"),
    ],
)
def test_an_edited_or_foreign_record_is_named(tmp_path: Path, changes: dict, message: str):
    store = RecordStore(tmp_path)
    store.append(RECORD)
    _spoil(store.path_of(RECORD), **changes)
    with pytest.raises(StoreError, match=message) as caught:
        read_records([tmp_path])
    assert str(store.path_of(RECORD)) in str(caught.value)


def test_files_that_are_no_records_are_named(tmp_path: Path):
    (tmp_path / "notes.json").write_text("{")
    with pytest.raises(StoreError, match=r"notes\.json: not JSON .* move the file out"):
        read_records([tmp_path])
    (tmp_path / "notes.json").write_text("[]")
    with pytest.raises(StoreError, match=r"notes\.json: not an evalkit record"):
        read_records([tmp_path])


def test_missing_and_empty_results_say_what_files_some(tmp_path: Path):
    with pytest.raises(StoreError, match=r"no results at .*nowhere; `evalkit run … --output .*nowhere`"):
        read_records([tmp_path / "nowhere"])
    with pytest.raises(StoreError, match="no records below"):
        read_records([tmp_path])


_FILE_MANY = """
import dataclasses, json, sys
from pathlib import Path
from evalkit.records.schema import record_from_dict
from evalkit.records.store import RecordStore

folder, start = Path(sys.argv[1]), int(sys.argv[2])
record = record_from_dict(json.loads(sys.stdin.read()), "stdin")
for i in range(start, start + 40):
    RecordStore(folder).append(dataclasses.replace(record, value=float(i % 50)))
"""


def test_two_runs_may_write_the_same_folder_at_once(tmp_path: Path):
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _FILE_MANY, str(tmp_path), start], stdin=subprocess.PIPE, cwd=ROOT
        )
        for start in ("0", "20")
    ]
    for run in runs:
        assert run.stdin is not None
        run.stdin.write(RECORD.to_json().encode())
        run.stdin.close()
    assert [run.wait(120) for run in runs] == [0, 0]
    assert sorted(record.value or 0.0 for record in read_records([tmp_path])) == [float(i) for i in range(50)]
    assert not list(tmp_path.rglob("*.part"))


def test_names_become_safe_parts_of_a_path():
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("ffhq 1024/ψ=0.7") == "ffhq-1024-0.7"
    assert slug("…") == "unnamed"


def test_a_results_place_that_cannot_be_written_is_found_before_the_work(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another path"):
        RecordStore(tmp_path / "file").check_writable()
    RecordStore(tmp_path / "new" / "results").check_writable()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_provenance_holds_what_a_reader_needs():
    found = provenance(device="cpu", timings={"fid": 1.23456}, weights_file="w.pth", argv=["evalkit", "run"])
    assert found["argv"] == ["evalkit", "run"]
    assert found["seconds"] == {"fid": 1.235}
    assert {"created", "python", "platform", "packages", "evalkit_commit", "device", "weights_file"} <= set(
        found
    )
    assert "torch" in found["packages"]
    json.dumps(found, allow_nan=False)


def test_a_package_inside_a_foreign_checkout_is_not_at_its_commit(tmp_path: Path):
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "mine.py").write_text("")
    git("add", "mine.py")
    git("-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-qm", "first")
    site = tmp_path / "venv" / "evalkit"
    site.mkdir(parents=True)
    (site / "code.py").write_text("")
    assert git_commit(site) is None
    commit = git_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40


def test_records_do_not_depend_on_the_order_of_mappings():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert canonical_json({"b": (1, 2.5), "a": None}) == '{"a":null,"b":[1,2.5]}'
    with pytest.raises(TypeError, match="set has no canonical JSON form"):
        digest({"a": {1}})


def test_a_record_is_refused_with_the_wrong_fields():
    with pytest.raises(StoreError, match="where it came from: not an evalkit record"):
        record_from_dict({"schema_version": 1, "samples": {}, "data": None}, "where it came from")


def test_records_are_read_by_any_spelling_of_their_folder(tmp_path: Path):
    RecordStore(tmp_path).append(RECORD)
    for given in (tmp_path, str(tmp_path), [str(tmp_path)], [tmp_path]):
        assert read_records(given) == [RECORD]


def test_training_comes_back_and_decides_the_id(tmp_path: Path):
    trained = [
        dataclasses.replace(
            RECORD, samples=dataclasses.replace(SAMPLES, training=Training(kimg=kimg, checkpoint_sha256=sha))
        )
        for kimg, sha in ((20.0, "e" * 64), (40.0, "e" * 64), (20.0, "f" * 64))
    ]
    assert len({record.record_id for record in (RECORD, *trained)}) == 4
    for record in trained:
        RecordStore(tmp_path).append(record)
    assert {record.record_id: record for record in read_records(tmp_path)} == {
        record.record_id: record for record in trained
    }


def test_a_record_without_training_is_what_it_was_before_there_was_any():
    # Filed by the version before: its id must come out again, and its text too.
    assert RECORD.record_id == "ec535b76f41cbcb0ed738be2b2a7e30695b85ec3d4ca58c1f450bd6f5f9cd416"
    assert "training" not in RECORD.to_json()


def test_the_number_of_every_image_comes_back_and_decides_the_id(tmp_path: Path):
    numbers = ({"a.png": 1.0, "b.png": 1.5}, {"a.png": 1.0, "b.png": 1.25}, {"a.png": 1.0}, {})
    records = [dataclasses.replace(RECORD, per_image=each) for each in numbers]
    assert len({record.record_id for record in (RECORD, *records)}) == 5
    for record in records:
        RecordStore(tmp_path).append(record)
    assert {record.record_id: record for record in read_records(tmp_path)} == {
        record.record_id: record for record in records
    }
    assert "per_image" not in RECORD.to_json()


def test_a_number_of_one_image_that_is_edited_is_noticed(tmp_path: Path):
    store = RecordStore(tmp_path)
    record = dataclasses.replace(RECORD, per_image={"a.png": 1.0, "b.png": 1.5})
    store.append(record)
    _spoil(store.path_of(record), per_image={"a.png": 1.0, "b.png": 2.5})
    with pytest.raises(StoreError, match="the content does not match its record_id"):
        read_records([tmp_path])


def test_training_that_is_none_is_refused():
    given = RECORD.to_dict()
    for wrong in (None, {"kimg": 1.0}, {"kimg": 1.0, "checkpoint_sha256": "x", "colour": "red"}):
        given["samples"] = {**RECORD.to_dict()["samples"], "training": wrong}
        with pytest.raises(StoreError, match="here: not an evalkit record"):
            record_from_dict(given, "here")
