"""Whole evaluations: the same digits for any batch size, order, number of processes, and after any crash."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evalkit
from evalkit.records.schema import Record

ROOT = Path(__file__).resolve().parents[2]
METRICS = "fd_mini,kd_mini,is_mini,prdc_mini,pr_mini,fd_inf_mini"


def images(num: int, seed: int, side: int = 32) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (num, side // 4, side // 4, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def bodies(records: list[Record]) -> list[dict]:
    return [record.body for record in records]


@pytest.fixture(scope="module")
def sets() -> tuple[np.ndarray, np.ndarray]:
    return images(90, 0), images(100, 1)


@pytest.fixture(scope="module")
def expected(sets: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return evaluate(sets, tmp_path_factory.mktemp("expected"))


def evaluate(sets: tuple[np.ndarray, np.ndarray], folder: Path, **more) -> list[Record]:
    return evalkit.evaluate(
        samples=sets[0],
        data=sets[1],
        metrics=METRICS,
        output=folder / "results",
        cache_dir=folder / "cache",
        name="samples",
        data_name="data",
        **more,
    )


def test_every_value_of_every_protocol_is_filed_once(expected: list[Record]):
    assert [record.metric for record in expected] == [
        "fd_mini",
        "kd_mini",
        "is_mini",
        "prdc_mini_precision",
        "prdc_mini_recall",
        "prdc_mini_density",
        "prdc_mini_coverage",
        "pr_mini_precision",
        "pr_mini_recall",
        "fd_inf_mini",
    ]
    for record in expected:
        assert record.value is not None
        assert record.ci_method
        assert record.standard_error is not None
        assert record.ci95 is not None
        assert record.ci95[0] <= record.ci95[1]
        assert record.samples.num == 90
        assert len(record.samples.fingerprint) == 64


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_the_batch_size_moves_no_bit(sets, expected: list[Record], tmp_path: Path, batch_size: int):
    assert bodies(evaluate(sets, tmp_path, batch_size=batch_size)) == bodies(expected)


def test_the_order_of_the_images_moves_no_bit_of_what_is_a_property_of_the_set(
    sets, expected, tmp_path: Path
):
    shuffle = np.random.default_rng(3).permutation(len(sets[0]))
    other = evaluate((sets[0][shuffle], sets[1][::-1].copy()), tmp_path)
    for before, after in zip(expected, other, strict=True):
        if before.metric.startswith(("fd_mini", "prdc_mini", "pr_mini")):
            assert (after.value, after.standard_error, after.ci95) == (
                before.value,
                before.standard_error,
                before.ci95,
            ), before.metric


def test_a_second_run_computes_no_feature_and_files_no_second_record(sets, tmp_path: Path):
    first = evaluate(sets, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert bodies(evaluate(sets, tmp_path)) == bodies(first)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_reference_file_gives_the_value_of_the_images_themselves(sets, expected, tmp_path: Path):
    header = evalkit.build_reference(sets[1], tmp_path / "ref.npz", protocol="fd_mini", cache_dir=tmp_path)
    assert header["num"] == 100
    (record,) = evalkit.evaluate(
        samples=sets[0], data=tmp_path / "ref.npz", metrics="fd_mini", output=None, cache_dir=tmp_path
    )
    assert record.value == pytest.approx(expected[0].value, rel=1e-9)
    assert any("statistics file, taken as exact" in note for note in record.notes)
    assert record.data is not None
    assert record.data.num == 100


def test_dry_runs_compute_and_file_nothing(sets, tmp_path: Path):
    costs = evalkit.plan(samples=sets[0], data=sets[1], metrics=METRICS, cache_dir=tmp_path)
    assert [(cost.step.role, cost.num_stored, cost.step.num_images) for cost in costs.steps] == [
        ("samples", 0, 90),
        ("data", 0, 100),
    ]
    assert all(cost.seconds is not None and cost.seconds > 0 for cost in costs.steps)
    json.dumps(costs.to_dict())
    assert not list(tmp_path.rglob("*.npy"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of three shards each, so that there is something to interrupt."""
    root = tmp_path_factory.mktemp("folders")
    for name, seed in (("samples", 0), ("data", 1)):
        (root / name).mkdir()
        for i, image in enumerate(images(600, seed)):
            Image.fromarray(image).save(root / name / f"{i:04d}.png")
    return root / "samples", root / "data"


def command(
    folders: tuple[Path, Path], folder: Path, metrics: str = "fd_mini,kd_mini,prdc_mini"
) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "run_eval.py"),
        "run",
        "--samples",
        str(folders[0]),
        "--data",
        str(folders[1]),
        "--metrics",
        metrics,
        "--output",
        str(folder / "results"),
        "--cache-dir",
        str(folder / "cache"),
        "--device",
        "cpu",
        "--json",
    ]


def filed(folder: Path) -> list[dict]:
    return [record.body for record in evalkit.read_records([folder / "results"])]


def shards(folder: Path) -> dict[Path, tuple[int, int]]:
    found = (folder / "cache").rglob("??????-*.npy")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


@pytest.fixture(scope="module")
def uninterrupted(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    subprocess.run(command(folders, folder), check=True, capture_output=True)
    return filed(folder)


def interrupt(folders: tuple[Path, Path], folder: Path, when: str, how: signal.Signals) -> int:
    process = subprocess.Popen(
        command(folders, folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    wanted = {"first shard": 1, "third shard": 3, "fifth shard": 5}.get(when)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if wanted is not None and len(shards(folder)) >= wanted:
            break
        if when == "start" and (folder / "cache").exists():
            break
        if when == "first record" and list(folder.glob("results/*/*/*.json")):
            break
        time.sleep(0.002)
    process.send_signal(how)
    process.communicate(timeout=60)
    return process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("when", ["start", "first shard", "third shard", "fifth shard", "first record"])
def test_a_killed_run_goes_on_and_files_what_an_uninterrupted_one_does(
    folders: tuple[Path, Path], uninterrupted: list[dict], tmp_path: Path, when: str
):
    interrupt(folders, tmp_path, when, signal.SIGKILL)
    finished = shards(tmp_path)
    done = subprocess.run(command(folders, tmp_path), check=True, capture_output=True, text=True)
    assert filed(tmp_path) == uninterrupted
    assert [record["metric"] for record in json.loads(done.stdout)] == [
        "fd_mini",
        "kd_mini",
        "prdc_mini_precision",
        "prdc_mini_recall",
        "prdc_mini_density",
        "prdc_mini_coverage",
    ]
    after = shards(tmp_path)
    assert {path: after.get(path) for path in finished} == finished
    assert len(after) == 6


SLOW = """
import time
import numpy as np

def images(seeds):
    time.sleep(0.25)
    return np.stack([np.random.default_rng(s).integers(0, 256, (8, 8, 3), dtype=np.uint8) for s in seeds])
"""


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(tmp_path: Path):
    (tmp_path / "slow_model.py").write_text(SLOW)
    words = (
        "run",
        "--samples",
        "slow_model:images",
        "--num",
        "400",
        "--data",
        "bundled:digits",
        "--metrics",
        "fd_mini",
    )
    run = [sys.executable, str(ROOT / "run_eval.py"), *words, "--cache-dir", "cache", "--output", "results"]
    process = subprocess.Popen(
        run, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not shards(tmp_path) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "everything finished is kept: run the same command again" in err
    assert "Traceback" not in err
    finished = shards(tmp_path)
    assert finished
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)
    after = shards(tmp_path)
    assert {path: after.get(path) for path in finished} == finished
    assert [record["metric"] for record in filed(tmp_path)] == ["fd_mini"]


@pytest.mark.slow
def test_two_processes_share_the_work_and_file_the_same_records(
    folders: tuple[Path, Path], uninterrupted: list[dict], tmp_path: Path
):
    runs = [
        subprocess.Popen(
            command(folders, tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
        )
        for rank in (0, 1)
    ]
    outputs = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert filed(tmp_path) == uninterrupted
    assert len(shards(tmp_path)) == 6


@pytest.mark.slow
def test_results_of_two_runs_at_once_stand_beside_each_other(
    folders: tuple[Path, Path], uninterrupted: list[dict], tmp_path: Path
):
    runs = [
        subprocess.Popen(
            command(folders, tmp_path, metrics), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        for metrics in ("fd_mini,kd_mini", "prdc_mini,fd_mini")
    ]
    for run in runs:
        _, err = run.communicate(timeout=300)
        assert run.returncode == 0, err
    assert filed(tmp_path) == uninterrupted
    shutil.rmtree(tmp_path / "cache")
