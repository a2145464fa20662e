"""The script that trains the references: what it files, and what it takes for a difference."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scripts import load_script

import reference_models
from evalkit.records.schema import DataUse, Record
from evalkit.records.store import RecordStore, read_records
from reference_models import catalog

ROOT = Path(__file__).resolve().parents[2]
RECORD = Record(
    metric="fd_mini", value=0.1, ci95=(0.09, 0.11), higher_is_better=False,
    protocol={"name": "fd_mini", "version": 1, "digest": "c" * 64},
    extractor={"name": "mini", "layer": "features", "weights_sha256": "d" * 64},
    samples=DataUse(name="StyleGAN2 (reference)", spec="x", fingerprint="a" * 64, num=899),
    data=DataUse(name="digits", spec="bundled:digits:test", fingerprint="b" * 64, num=898),
    provenance={"weights_file": "/home/me/mini.safetensors", "argv": ["/home/me/x.py"]},
)  # fmt: skip


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("references")


def change(**fields: object) -> Record:
    return dataclasses.replace(RECORD, **fields)


@pytest.mark.parametrize(
    ("fresh", "said"),
    [
        ([RECORD], []),
        ([change(value=0.12, ci95=(0.11, 0.13))], []),
        (
            [change(value=0.13, ci95=(0.12, 0.14))],
            ["StyleGAN2 (reference), fd_mini: 0.1 (0.09, 0.11) on file, 0.13 (0.12, 0.14) now"],
        ),
        ([change(value=0.1, ci95=None)], []),
        (
            [change(value=0.2, ci95=None)],
            ["StyleGAN2 (reference), fd_mini: 0.1 (0.09, 0.11) on file, 0.2 (0.2, 0.2) now"],
        ),
        ([], ["StyleGAN2 (reference), fd_mini: is on file alone"]),
        ([RECORD, change(metric="kd_mini")], ["StyleGAN2 (reference), kd_mini: is not on file"]),
        (
            [change(protocol={"name": "fd_mini", "version": 2, "digest": "e" * 64}, data=None)],
            ["StyleGAN2 (reference), fd_mini: another protocol and another real images"],
        ),
        (
            [change(value=None, ci95=None, reason="all images are equal")],
            ["StyleGAN2 (reference), fd_mini: 0.1 (0.09, 0.11) on file, no number now"],
        ),
    ],
)
def test_differences_are_told(script: ModuleType, fresh: list[Record], said: list[str]):
    assert script.differences([RECORD], fresh) == said


def test_a_reason_on_file_is_confirmed_by_a_reason_and_not_by_a_number(script: ModuleType):
    nothing = change(value=None, ci95=None, reason="all images are equal")
    assert script.differences([nothing], [nothing]) == []
    assert script.differences([nothing], [RECORD]) == [
        "StyleGAN2 (reference), fd_mini: no number on file, 0.1 (0.09, 0.11) now"
    ]


def test_records_name_no_place_on_this_machine(script: ModuleType):
    told = script.portable(RECORD)
    assert "/home" not in told.to_json()
    assert told.record_id == RECORD.record_id


def test_names_and_titles_are_those_of_the_quickstart(script: ModuleType):
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "docs" / "examples" / "quickstart.py")
    assert spec is not None
    assert spec.loader is not None
    quickstart = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quickstart)
    small = [each for each in script.REFERENCES.values() if not each.is_large]
    assert {each.name: each.title for each in small} == quickstart.TITLES
    assert script.FILED == quickstart.REFERENCES
    assert (script.TRAIN, script.TEST, script.METRICS) == (
        quickstart.TRAIN, quickstart.TEST, quickstart.METRICS
    )  # fmt: skip
    for reference in script.REFERENCES.values():
        assert reference.preset in catalog.presets(reference.model)


def test_seconds_are_those_of_training(script: ModuleType, tmp_path: Path):
    rows = [{"kimg": 2.0, "time/s_per_kimg": 3.0}, {"kimg": 3.0, "time/s_per_kimg": 5.0}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert script.seconds(tmp_path / "log.jsonl") == 11.0


def published(script: ModuleType, name: str, model: Any, run: Path, folder: Path) -> None:
    """Files ``model`` as the reference ``name``, as if it had been trained in ``run``."""
    model.training = {"kimg": 2.0, "checkpoint_sha256": "00"}
    reference_models.save_checkpoint(model, run / "network.safetensors")
    (run / "config.json").write_text(json.dumps({"run": {"output": str(run)}}))
    (run / "log.jsonl").write_text(json.dumps({"kimg": 2.0, "time/s_per_kimg": 3.0}) + "\n")
    (run / "samples").mkdir()
    for picture in ("curves.png", "samples/fakes-000001.png", "samples/fakes-000002.png"):
        (run / picture).write_text(picture)
    script.publish(script.REFERENCES[name], run, folder)


@pytest.fixture
def filed(script: ModuleType, tmp_path: Path) -> Path:
    """A folder with one network, as a run leaves it, published and measured."""
    folder = tmp_path / "filed"
    model = reference_models.build("stylegan2", preset="tiny", img_resolution=8)
    model.enlarge = 4
    published(script, "stylegan2", model, tmp_path / "run", folder)
    script.measure(script.REFERENCES["stylegan2"], folder, folder / "records", "cpu")
    return folder


def test_a_network_is_filed_and_confirmed_and_an_edit_is_noticed(
    script: ModuleType, filed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert (filed / "stylegan2.samples.png").read_text() == "samples/fakes-000002.png"
    assert "run" in json.loads((filed / "stylegan2.run.json").read_text())
    for path in filed.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path.name
    page = script.readme(filed)
    assert "| [StyleGAN2](stylegan2.samples.png) | `stylegan2` | `tiny` | 2 | 6 |" in page
    assert script.main(["--check", "--measure", "--output", str(filed)]) == 0
    assert "6 numbers of 1 networks: 0 differ" in capsys.readouterr().out
    before = sorted(filed.rglob("*"))
    record = next(r for r in read_records(filed / "records") if r.metric == "fd_mini")
    store = RecordStore(filed / "records")
    store.path_of(record).unlink()
    assert record.value is not None
    store.append(dataclasses.replace(record, value=0.5 * record.value, ci95=(0.0, 0.6 * record.value)))
    assert script.main(["--check", "--measure", "--output", str(filed)]) == 1
    assert "StyleGAN2 (reference), fd_mini: " in capsys.readouterr().out
    assert len(sorted(filed.rglob("*"))) == len(before)


def test_trained_facts_are_in_the_records(script: ModuleType, filed: Path):
    for record in read_records(filed / "records"):
        assert record.samples.training is not None
        assert record.samples.training.kimg == 2.0
        assert np.isfinite(record.value)


SHOWN = ("psnr_rgb", "lpips_mini", "lr_psnr", "sr_diversity_mini", "sr_pixel_std", "sr_bpd")


def test_a_network_that_restores_is_filed_beside_the_baselines_and_confirmed(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "filed32"
    published(script, "srflow", reference_models.build("srflow", preset="tiny"), tmp_path / "run", folder)
    words = ["--measure", "--output", str(tmp_path / "filed"), "--only", "srflow", "--limit", "3"]
    assert script.main(words) == 0
    records = {(record.samples.name, record.metric): record for record in read_records(folder / "records")}
    assert {name for name, _ in records} == {"SRFlow x4 (reference)", "nearest", "bicubic", "lanczos"}
    assert {record.data.name for record in records.values() if record.data} == {"digits x4"}
    assert all(len(record.per_image or {}) == 3 for record in records.values())
    for path in folder.rglob("*.json"):
        assert str(tmp_path) not in path.read_text(), path.name
    # One line a name, and of every number what its record says.
    lines = [line.split(" | ") for line in (folder / "README.md").read_text().splitlines() if "| " in line]
    heads = [word.split(",")[0] for word in lines[0]]
    for name, line in zip(("SRFlow x4 (reference)", "nearest", "bicubic", "lanczos"), lines[1:], strict=True):
        told = {head: cell for head, cell in zip(heads, line, strict=True) if head in SHOWN}
        assert list(told) == list(SHOWN)
        for metric, cell in told.items():
            record = records.get((name, metric))
            assert (record is None) == (cell == "–")
            if record is not None:
                assert float(cell.split(" ")[0]) == pytest.approx(record.value, abs=0.051)
    assert told["sr_diversity_mini"] == "0.0"
    capsys.readouterr()
    before = sorted(tmp_path.joinpath("filed32").rglob("*"))
    assert script.main(["--check", *words]) == 0
    assert "25 numbers of 1 networks: 0 differ" in capsys.readouterr().out
    # A baseline that is edited is noticed as a network is.
    store, record = RecordStore(folder / "records"), records["bicubic", "psnr_rgb"]
    store.path_of(record).unlink()
    assert record.value is not None
    store.append(dataclasses.replace(record, value=2 * record.value, ci95=None))
    assert script.main(["--check", *words]) == 1
    assert "bicubic, psnr_rgb: " in capsys.readouterr().out
    assert len(sorted(folder.rglob("*"))) == len(before)


def test_the_page_beside_the_networks_is_what_their_records_say(script: ModuleType):
    for folder in (script.FILED, script.FILED.with_name("digits32")):
        assert (folder / "README.md").read_text(encoding="utf-8") == script.readme(folder), folder.name


def test_the_reference_that_restores_beats_every_rule_where_it_should(script: ModuleType):
    folder = script.FILED.with_name("digits32") / "records" / "digits-x4"
    records = read_records([folder])
    assert {record.data.num for record in records if record.data} == {898}
    found = {(record.samples.name, record.metric): record for record in records}
    for metric in ("psnr_rgb", "ssim_rgb", "lpips_mini", "lr_psnr"):
        own = found["SRFlow x4 (reference)", metric]
        for name in ("nearest", "bicubic", "lanczos"):
            other = found[name, metric]
            assert own.per_image is not None
            assert other.per_image is not None
            assert own.per_image.keys() == other.per_image.keys()
            assert (own.value > other.value) == own.higher_is_better
            assert found[name, "sr_diversity_mini"].value == found[name, "sr_pixel_std"].value == 0.0
    assert found["SRFlow x4 (reference)", "sr_diversity_mini"].value > 0
