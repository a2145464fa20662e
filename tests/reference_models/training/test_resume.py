"""Training that is killed and goes on ends with the bits of one that was not, alone and in two processes.

The model has ADA, lazy regularisation of both networks, path lengths, mirrored images and classes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import train_worker

from reference_models.training import checkpoint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
KIMG, SNAPSHOT, BATCH = 0.24, 64, 8
TOTAL = 240


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(
        path,
        images=rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8),
        labels=np.arange(40, dtype=np.int64) % 3,
    )
    return path


def start(output, data, *, size=1, resume="none", die_at="-1", dies=None):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(size):
        env = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
        env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}"}
        if size > 1:
            env |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        at = die_at if dies is None or rank == dies else "-1"
        words = [str(output), str(data), str(KIMG), resume, at]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "train_worker", *words], env=env, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
    return processes


def finish(processes):
    said = [process.communicate(timeout=300)[1] for process in processes]
    return [process.returncode for process in processes], said


def here(output, data, resume="none"):
    # In this process: it costs no start.
    assert train_worker.main(str(output), str(data), str(KIMG), resume, "-1") == 0


def rows(folder):
    kept = []
    for line in (folder / "log.jsonl").read_text().splitlines():
        row = json.loads(line)
        kept.append({k: v for k, v in row.items() if not k.startswith(("time/", "memory/"))})
    return kept


def assert_same(a, b, *, logs=True):
    first, second = (checkpoint.load(checkpoint.checkpoints(each / "checkpoints")[0]) for each in (a, b))
    assert first.facts["images"] == second.facts["images"] == TOTAL
    assert first.tensors.keys() == second.tensors.keys()
    assert [
        name for name in first.tensors if not torch.equal(first.tensors[name], second.tensors[name])
    ] == []
    for fact in ("numbers", "iteration", "position", "optimisers", "health"):
        assert first.facts[fact] == second.facts[fact], fact
    assert (a / "network.safetensors").read_bytes() == (b / "network.safetensors").read_bytes()
    if logs:
        assert rows(a) == rows(b)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, data):
    found = {size: tmp_path_factory.mktemp(f"whole-{size}") for size in (1, 2)}
    here(found[1], data)
    codes, said = finish(start(found[2], data, size=2))
    assert codes == [0, 0], said
    return found


@pytest.mark.parametrize("size", [1, 2])
def test_killed_and_resumed_is_bit_identical(tmp_path, data, uninterrupted, size):
    die_at = int(np.random.default_rng().integers(SNAPSHOT // BATCH, TOTAL // BATCH))
    # In a group the last process dies alone: the others must notice and not wait for ever.
    codes, said = finish(start(tmp_path, data, size=size, die_at=str(die_at), dies=size - 1))
    assert codes[-1] == -signal.SIGKILL, (die_at, said)
    if size > 1:
        assert codes[0] == 2, (die_at, said)
        assert "another process of this training has stopped" in said[0]
    assert (checkpoint.images_of(checkpoint.checkpoints(tmp_path / "checkpoints")[0]) or 0) <= die_at * BATCH
    if size == 1:
        here(tmp_path, data, "auto")
    else:
        codes, said = finish(start(tmp_path, data, size=size, resume="auto"))
        assert codes == [0] * size, (die_at, said)
        assert "resumed from" in said[0]
        assert "resumed from" not in said[1]  # one process talks
    assert_same(tmp_path, uninterrupted[size])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_saves_at_the_end_of_the_iteration_and_says_how_to_go_on(
    tmp_path, data, uninterrupted, number, code
):
    (process,) = start(tmp_path, data, die_at="pause")
    for _ in range(11):
        assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    codes, said = finish([process])
    assert codes == [code], said
    assert "resume with: evalkit train stylegan2 --data" in said[0]
    assert "--resume auto" in said[0]
    images = checkpoint.images_of(checkpoint.checkpoints(tmp_path / "checkpoints")[0])
    assert images % SNAPSHOT, "the signal was meant to fall between two snapshots"
    here(tmp_path, data, "auto")
    assert_same(tmp_path, uninterrupted[1])


def test_after_a_damaged_newest_checkpoint_the_one_before_leads_to_the_same_end(
    tmp_path, data, uninterrupted, capsys
):
    folder = shutil.copytree(uninterrupted[1], tmp_path / "run")
    newest, before = checkpoint.checkpoints(folder / "checkpoints")
    newest.write_bytes(newest.read_bytes()[:-50])
    here(folder, data, "auto")
    said = capsys.readouterr().err
    assert f"{newest} cannot be read" in said
    assert "going back to the checkpoint before it" in said
    assert f"resumed from {before}" in said
    assert_same(folder, uninterrupted[1])
