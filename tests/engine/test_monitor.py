"""Measuring while training: right numbers, records that say when, nothing left behind, one answer for all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evalkit
import reference_models
from evalkit.engine.monitor import Score, TrainingMonitor
from evalkit.errors import SourceError, UsageError, WeightsError

ROOT = Path(__file__).resolve().parents[2]
DATA, SHA = "bundled:digits:test", "ab" * 32
METRICS = ["kd_mini", "prdc_mini"]


def measure(folder: Path, metrics: list[str], **more: object) -> list[Score]:
    options = {"data": DATA, "num": 96, "name": "G", "kimg": 1.5, "checkpoint_sha256": SHA}
    return TrainingMonitor(cache_dir=folder / "cache").measure(
        reference_models.build("stylegan2", preset="tiny"),
        metrics=metrics, output=folder / "run" / "results", **{**options, **more},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("monitor")


@pytest.fixture(scope="module")
def scores(folder: Path) -> list[Score]:
    return measure(folder, METRICS)


def test_scores_are_those_of_a_plain_evaluation(scores: list[Score], folder: Path):
    records = evalkit.evaluate(
        model=reference_models.build("stylegan2", preset="tiny"), data=DATA, num=96, metrics=METRICS,
        output=None, cache_dir=folder / "cache",
    )  # fmt: skip
    assert scores == [(r.metric, r.value, r.ci95, r.higher_is_better) for r in records]
    assert scores[0].metric == "kd_mini"


def test_records_say_when_and_of_which_weights(scores: list[Score], folder: Path):
    records = evalkit.read_records(folder / "run" / "results")
    assert {record.metric for record in records} == {score.metric for score in scores}
    for record in records:
        assert record.samples.name == "G"
        assert record.samples.training is not None
        assert (record.samples.training.kimg, record.samples.training.checkpoint_sha256) == (1.5, SHA)
        assert record.data is not None
        assert record.data.training is None


def test_features_of_samples_are_dropped_and_those_of_reals_kept(scores: list[Score], folder: Path):
    assert [path.name for path in (folder / "run").iterdir()] == ["results"]
    keys = [json.loads(path.read_text()) for path in (folder / "cache").rglob("key.json")]
    real = evalkit.resolve(DATA).fingerprint
    assert real in {key["source"] for key in keys}


def test_a_trained_model_says_so_itself(folder: Path):
    model = reference_models.build("stylegan2", preset="tiny")
    model.training = {"kimg": 20, "checkpoint_sha256": SHA}
    (record,) = evalkit.evaluate(
        model=model, data=DATA, num=96, metrics="kd_mini", output=None, cache_dir=folder / "cache"
    )
    assert record.samples.training is not None
    assert record.samples.training.kimg == 20.0


def test_what_cannot_be_measured_is_refused_before_training(tmp_path: Path):
    monitor = TrainingMonitor(weights_dir=tmp_path)
    monitor.check(["fd_mini", "mini"])
    with pytest.raises(UsageError, match=r"unknown protocol 'fd_mni' \(nearest: .*fd_mini"):
        monitor.check(["fd_mni"])
    with pytest.raises(WeightsError, match="evalkit weights fetch"):
        monitor.check(["fd_mini", "fid50k_full"])


def test_a_failure_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(SourceError, match="nothing is at no-such-place"):
        measure(tmp_path, ["fd_mini"], data="no-such-place")
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").rglob("*"))


_RANK = """
import json, sys
from pathlib import Path
import torch
import reference_models
from evalkit.engine.monitor import TrainingMonitor

torch.distributed.init_process_group("gloo")
folder = Path(sys.argv[1])
model = reference_models.build("stylegan2", preset="tiny")
def measure(num):
    return TrainingMonitor(cache_dir=folder / "cache").measure(
        model, metrics=["kd_mini"], data="bundled:digits:test", num=num, name="G", kimg=1.0,
        checkpoint_sha256="00", output=folder / "results",
    )
print(json.dumps(measure(64)))
import evalkit.engine.run as run
from evalkit.errors import MetricError
whole = run.measure
if torch.distributed.get_rank() == 0:  # only this one computes numbers, so only this one can fail in them
    def fail(*args): raise MetricError("no number")
    run.measure = fail
try:
    measure(64)
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
run.measure = whole
import evalkit.engine.monitor as monitor
if torch.distributed.get_rank() == 1:  # another one fails by itself: the first still has its scores
    def fail(**arguments): raise MetricError("not here")
    monitor.evaluate = fail
try:
    print(json.dumps(measure(64)))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_every_process_gets_the_scores_and_the_failure_of_the_first(tmp_path: Path, free_port: int):
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port)}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _RANK, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]  # fmt: skip
    (first, failed, alone), (second, told, apart) = (
        [json.loads(line) for line in run.communicate(timeout=180)[0].splitlines()] for run in runs
    )
    assert first == second == alone
    assert apart == ["MetricError", "not here"]
    assert np.isfinite(first[0][1])
    assert failed == ["MetricError", "no number"]
    assert told == [
        "TrainingError", "process 1 stops because process 0 could not measure; read what that one says"
    ]  # fmt: skip


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_young_generator_goes_without_a_score_of_what_it_cannot_make(tmp_path: Path):
    import reference_models

    scores = TrainingMonitor(cache_dir=tmp_path / "cache").measure(
        reference_models.build("progan", preset="tiny"), metrics=["ls_mini", "fd_mini", "eqr"],
        data="bundled:digits:test", num=40, name="young", kimg=0.0, checkpoint_sha256="0" * 64,
        output=tmp_path / "results",
    )  # fmt: skip
    # Ten classes of digits are not told apart, and its input cannot be turned: the rest is measured.
    assert [score.metric for score in scores] == ["fd_mini"]
