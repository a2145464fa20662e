"""The loop: what it leaves behind, what falls due when, and how it ends where it cannot go on."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import re

import numpy as np
import pytest
import torch
from small_tasks import STYLEGAN2

from evalkit.errors import (
    CheckpointError,
    MetricError,
    SourceError,
    StoreError,
    TrainingError,
    UsageError,
)
from reference_models.loading import load_checkpoint
from reference_models.training import checkpoint
from reference_models.training.config import EvalSpec
from reference_models.training.logs import Screen
from reference_models.training.loop import iteration_seed, train
from reference_models.training.start import prepare
from reference_models.training.task import Report, Score

pytestmark = pytest.mark.slow


def go(run, *, resume=None, evaluator=None, iterate=None):
    task, data = prepare(run)
    if iterate is not None:
        task.iterate = iterate(task.iterate)
    return train(task, data, run, resume=resume, evaluator=evaluator)


class Judge:
    """Scores that a table says; it keeps what it was asked."""

    def __init__(self, values, higher_is_better=False):
        self.values, self.higher, self.asked, self.checked = list(values), higher_is_better, [], None

    def check(self, metrics):
        if "unknown" in metrics:
            raise UsageError("unknown protocol 'unknown'")
        self.checked = list(metrics)

    def measure(self, model, *, metrics, data, num, name, kimg, checkpoint_sha256, output):
        images = model.sample(np.arange(2))
        assert images.shape == (2, 3, 8, 8)
        assert model.training == {"kimg": kimg, "checkpoint_sha256": checkpoint_sha256}
        self.asked.append((kimg, tuple(metrics), data, num, name))
        value = self.values.pop(0)
        return [Score(metric, value, (value - 1, value + 1), self.higher) for metric in metrics]


def log(run):
    with open(os.path.join(run.output, "log.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_a_run_leaves_all_that_is_promised(run):
    result = go(run)
    folder = result.network.parent
    assert result.images == 64
    assert result.stopped is None
    assert [path.name for path in checkpoint.checkpoints(folder / "checkpoints")] == [
        "state-000000.064kimg.safetensors",
        "state-000000.032kimg.safetensors",
    ]
    for name in ("config.json", "log.jsonl", "curves.png", "samples/reals.png"):
        assert (folder / name).stat().st_size, name
    assert sorted(path.name for path in (folder / "samples").glob("fakes-*")) == [
        f"fakes-000000.{images}kimg.png" for images in ("000", "032", "064")
    ]
    rows = log(run)
    assert [row["images"] for row in rows] == [8, 16, 24, 32, 40, 48, 56, 64]
    assert all(math.isfinite(value) for row in rows for value in row.values() if not isinstance(value, str))
    assert {"loss/G", "loss/D", "augment/p", "time/s_per_kimg", "kimg"} <= rows[0].keys()
    model = load_checkpoint(result.network)
    assert model.training["kimg"] == 0.064
    description = json.loads(result.network.with_suffix(".json").read_text())
    assert description["preset"] == "tiny"
    assert description["overrides"]["batch"] == 8
    assert description["data"]["spec"] == run.data
    assert not any(module.training for module in [model.generator])


def test_runs_repeat_and_their_seed_matters(run, tmp_path):
    folders = [str(tmp_path / name) for name in "abc"]
    found = [
        go(dataclasses.replace(run, output=folder, seed=seed)).network.read_bytes()
        for folder, seed in zip(folders, (1, 1, 2), strict=True)
    ]
    assert found[0] == found[1] != found[2]


def test_seeds_of_iterations_are_documented_and_apart():
    assert iteration_seed(0, 0, 0) == 8654066043134414398
    seen = {iteration_seed(seed, index, rank) for seed in range(5) for index in range(5) for rank in range(5)}
    assert len(seen) == 125
    assert all(0 <= each < 2**63 for each in seen)


def test_evaluations_fall_due_at_their_periods_and_the_best_network_is_kept(run):
    judge = Judge([5.0, 3.0, 4.0, 4.0])
    evals = (EvalSpec.parse("fd_mini@0.016kimg"), EvalSpec.parse("kid_mini"))
    result = go(dataclasses.replace(run, evals=evals, eval_num=50, keep=1), evaluator=judge)
    both = ("fd_mini", "kid_mini")
    assert judge.checked == ["fd_mini", "kid_mini"]
    assert [(kimg, metrics) for kimg, metrics, *_ in judge.asked] == [
        (0.016, ("fd_mini",)), (0.032, both), (0.048, ("fd_mini",)), (0.064, both),
    ]  # fmt: skip
    assert judge.asked[0][2:] == (run.data, 50, "stylegan2-tiny")
    assert result.best == {"metric": "fd_mini", "value": 3.0, "images": 32, "kimg": 0.032}
    folder = result.network.parent
    assert load_checkpoint(folder / "best.safetensors").training["kimg"] == 0.032
    assert [checkpoint.images_of(path) for path in checkpoint.checkpoints(folder / "checkpoints")] == [64, 32]
    rows = {row["images"]: row for row in log(run)}
    assert rows[16]["metrics/fd_mini"] == 5.0
    assert "metrics/kid_mini" not in rows[16]
    assert rows[64]["metrics/kid_mini"] == 4.0
    assert result.scores["kid_mini"].value == 4.0


def test_the_best_is_the_highest_where_higher_is_better(run):
    evals = (EvalSpec.parse("is_mini@0.032kimg"),)
    result = go(dataclasses.replace(run, evals=evals), evaluator=Judge([2.0, 3.0], higher_is_better=True))
    assert result.best["value"] == 3.0


def test_another_first_evaluation_chooses_anew(run):
    by = {name: (EvalSpec.parse(f"{name}@0.032kimg"),) for name in ("fd_mini", "kd_mini")}
    go(dataclasses.replace(run, evals=by["fd_mini"]), evaluator=Judge([2.0, 1.0]))
    other = dataclasses.replace(run, kimg=0.096, evals=by["kd_mini"])
    result = go(other, resume="auto", evaluator=Judge([7.0]))
    assert result.best == {"metric": "kd_mini", "value": 7.0, "images": 96, "kimg": 0.096}


def test_the_best_network_of_another_folder_is_not_counted_on(run, tmp_path):
    evaluated = dataclasses.replace(run, evals=(EvalSpec.parse("fd_mini@0.032kimg"),))
    first = go(evaluated, evaluator=Judge([2.0, 1.0]))
    here = dataclasses.replace(evaluated, output=str(tmp_path / "here"), kimg=0.096)
    result = go(here, resume=str(first.checkpoint), evaluator=Judge([4.0]))
    assert result.best["value"] == 4.0
    assert load_checkpoint(tmp_path / "here" / "best.safetensors").training["kimg"] == 0.096


def test_an_evaluation_that_fails_loses_no_training(run, tmp_path):
    class Broken(Judge):
        def measure(self, *args, **kwargs):
            raise MetricError("no number")

    evaluated = dataclasses.replace(run, evals=(EvalSpec.parse("fd_mini@0.048kimg"),))
    with pytest.raises(MetricError, match="no number"):
        go(evaluated, evaluator=Broken([]))
    # Between two snapshots, and yet saved and in the log.
    saved = [checkpoint.images_of(path) for path in checkpoint.checkpoints(tmp_path / "run" / "checkpoints")]
    assert saved == [48, 32]
    assert [row["images"] for row in log(run)] == [8, 16, 24, 32, 40, 48]
    again = go(evaluated, resume="auto", evaluator=Judge([1.0]))
    whole = go(dataclasses.replace(run, output=str(tmp_path / "whole")))
    assert again.network.read_bytes() == whole.network.read_bytes()


def test_evaluations_that_cannot_be_are_refused_before_training(run):
    with pytest.raises(SourceError, match="absent"):
        prepare(dataclasses.replace(run, evals=(EvalSpec.parse("fd_mini"),), eval_data="absent.npz"))
    with pytest.raises(UsageError, match="needs an evaluator"):
        go(dataclasses.replace(run, evals=(EvalSpec.parse("fd_mini"),)))
    with pytest.raises(UsageError, match="unknown protocol"):
        go(dataclasses.replace(run, evals=(EvalSpec.parse("unknown"),)), evaluator=Judge([]))
    assert not os.path.exists(os.path.join(run.output, "config.json"))


def test_longer_training_goes_on_and_a_finished_one_has_nothing_to_do(run, tmp_path):
    go(run)
    longer = dataclasses.replace(run, kimg=0.096)
    assert go(longer, resume="auto").images == 96
    whole = go(dataclasses.replace(longer, output=str(tmp_path / "whole")))
    assert whole.network.read_bytes() == (tmp_path / "run" / "network.safetensors").read_bytes()
    assert go(longer, resume="auto").images == 96


def test_resume_of_nothing_begins(run):
    assert go(run, resume="auto").images == 64


def test_another_machine_is_mentioned(run, capsys):
    task, data = prepare(run)
    train(task, data, run, screen=Screen())
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        task, data = prepare(run)
        train(task, data, dataclasses.replace(run, keep=2), resume="auto", screen=Screen())
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().err
    assert "settings that changed: keep: 3 -> 2" in said
    assert re.search(
        rf"threads {threads}, torch .*going on with .*threads {threads + 1}, .*not bit for", said
    )
    assert "nothing is left to do" in said


def test_a_folder_with_a_run_needs_resume(run):
    go(run)
    with pytest.raises(UsageError, match="holds a training run already.*--resume auto"):
        go(run)


def test_settings_that_change_numbers_are_listed_and_refused(run):
    go(run)
    other = dataclasses.replace(run, seed=9, overrides={**STYLEGAN2, "G_lrate": 0.5}, keep=9)
    with pytest.raises(
        UsageError, match=r"other settings.*seed: 0 -> 9; recipe.G_lrate: 0.006 -> 0.5\. Resume with"
    ):
        go(other, resume="auto")


def test_other_data_under_the_same_name_are_noticed(run, tmp_path):
    path = tmp_path / "images.npz"
    rng = np.random.default_rng(1)
    here = dataclasses.replace(run, data=str(path))
    np.savez(path, images=rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8))
    go(here)
    np.savez(path, images=rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8))
    with pytest.raises(UsageError, match="other settings.*data: "):
        go(here, resume="auto")


def test_an_older_checkpoint_leads_to_another_folder_only(run, tmp_path):
    result = go(run)
    older = checkpoint.checkpoints(result.checkpoint.parent)[1]
    with pytest.raises(CheckpointError, match="two histories; give another --output"):
        go(run, resume=str(older))
    elsewhere = dataclasses.replace(run, output=str(tmp_path / "other"))
    other = go(elsewhere, resume=str(older))
    assert other.network.read_bytes() == result.network.read_bytes()
    with pytest.raises(UsageError, match="holds a training run already"):
        go(elsewhere, resume=str(older))


def test_two_trainers_in_one_folder(run):
    def second(iterate):
        def iterating(iteration):
            with pytest.raises(UsageError, match=f"process {os.getpid()}\\) is at work in"):
                go(run, resume="auto")
            return iterate(iteration)

        return iterating

    assert go(dataclasses.replace(run, kimg=0.008), iterate=second).images == 8


def test_divergence_names_the_last_good_checkpoint_and_what_to_try(run):
    def sick(iterate):
        def iterating(iteration):
            report = iterate(iteration)
            values = {**report.values, **({"loss/G": math.nan} if iteration.index == 5 else {})}
            return Report(report.images, values)

        return iterating

    with pytest.raises(TrainingError) as caught:
        go(run, iterate=sick)
    text = str(caught.value)
    assert text.startswith("training diverged after 0.048 kimg: loss/G is nan; the last good checkpoint is ")
    assert "state-000000.032kimg.safetensors" in text
    assert "--set G_lrate=0.003" in text
    assert [row["images"] for row in log(run)] == [8, 16, 24, 32, 40]


def test_weights_that_are_not_finite_are_never_saved(run):
    def sick(iterate):
        def iterating(iteration):
            report = iterate(iteration)
            if iteration.index == 3:
                next(iter(task.networks["D"].parameters())).fill_(math.inf)
            return report

        return iterating

    task, data = prepare(run)
    task.iterate = sick(task.iterate)
    with pytest.raises(
        TrainingError, match=r"diverged after 0.032 kimg: D\..* hold NaN or infinities; there"
    ):
        train(task, data, run)
    assert not checkpoint.checkpoints(run_checkpoints(run))


def run_checkpoints(run):
    from pathlib import Path

    return Path(run.output) / "checkpoints"


def test_memory_that_runs_out_says_which_batch_would_fit(run):
    def hungry(iterate):
        def iterating(iteration):
            torch.empty(2**50)

        return iterating

    with pytest.raises(TrainingError, match="with 8 images at once; 4 should fit: give --set batch_gpu=4"):
        go(run, iterate=hungry)


def test_a_full_disk_keeps_the_checkpoint_before(run, monkeypatch):
    sync, full = os.fsync, []

    def fsync(handle):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    def filling(iterate):
        def iterating(iteration):
            if iteration.index == 7:
                full.append(True)
            return iterate(iteration)

        return iterating

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreError, match="No space left.*--resume auto|no space left"):
        go(run, iterate=filling)
    full.clear()
    found, notes = checkpoint.latest(run_checkpoints(run))
    assert found.facts["images"] == 32
    assert notes == []
    assert go(run, resume="auto").images == 64


def test_data_smaller_than_a_batch_are_refused(run):
    with pytest.raises(UsageError, match="has 40 images, fewer than a batch of 48; give more images, or"):
        go(dataclasses.replace(run, overrides={**STYLEGAN2, "batch": 48}))
    mirrored = dataclasses.replace(run, mirror=True, overrides={**STYLEGAN2, "batch": 48}, kimg=0.001)
    assert go(mirrored).images == 48
