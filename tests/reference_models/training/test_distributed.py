"""Processes that train together: means, agreement, failures that reach all. Two processes of gloo."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evalkit.errors import UsageError
from reference_models.training.distributed import ProcessGroup, world

ROOT = Path(__file__).resolve().parents[3]

WORKER = """
import datetime, json, os, sys
import torch
from evalkit.errors import EvalkitError
from reference_models.training.distributed import connect

rank = int(os.environ["RANK"])
found = {}
with connect(torch.device("cpu"), timeout=datetime.timedelta(seconds=20)) as group:
    net = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(net.weight, float(rank + 1))
    group.broadcast({"net": net})
    found["broadcast"] = net.weight.tolist()
    net.weight.grad = torch.full((1, 2), 2.0 * rank)
    if rank == 1:
        net.bias.grad = torch.ones(1)
    group.average_gradients(net.parameters())
    found["gradients"] = [p.grad.flatten().tolist() for p in net.parameters()]
    found["mean"] = group.mean(torch.tensor([float(rank), 4.0])).tolist()
    norm = torch.nn.BatchNorm1d(1)
    norm.running_mean.fill_(float(rank))
    norm.running_var.fill_(5.0 + rank)
    group.average_buffers(norm, ("running_mean",))
    found["buffers"] = [norm.running_mean.item(), norm.running_var.item()]
    found["agree"] = [group.agree(rank == 1), group.agree(False)]

    def fail():
        raise EvalkitError("the disk is full")

    done = []
    group.on_main(lambda: done.append(rank))
    found["done"] = done
    try:
        group.on_main(fail)
    except EvalkitError as error:
        found["failure"] = str(error)
    if rank == 1:
        print(json.dumps(found), flush=True)
        os._exit(3)  # dies without a word
    try:
        while True:
            group.barrier()
    except EvalkitError as error:
        found["orphan"] = str(error)
print(json.dumps(found), flush=True)
"""


def test_two_processes_work_as_one_and_none_waits_for_the_dead():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        env = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
        env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER], env=env, cwd=ROOT, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 3], said
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in said)
    for found in (first, second):
        assert found["broadcast"] == [[1.0, 1.0]]
        assert found["gradients"] == [[1.0, 1.0], [0.5]]  # a missing gradient counts as zeros
        assert found["mean"] == [0.5, 4.0]
        assert found["agree"] == [True, False]
    assert first["buffers"] == [0.5, 5.0]
    assert second["buffers"] == [0.5, 6.0]
    assert (first["done"], second["done"]) == ([0], [])
    assert first["failure"] == "the disk is full"
    assert "process 1 stops because process 0 failed" in second["failure"]
    assert "another process of this training has stopped" in first["orphan"]
    assert "--resume auto" in first["orphan"]


def test_one_process_alone_changes_nothing():
    group, net = ProcessGroup(), torch.nn.Linear(2, 1)
    net.weight.grad = torch.ones(1, 2)
    group.average_gradients(net.parameters())
    assert net.bias.grad is None
    value = torch.tensor(3.0)
    assert group.mean(value) is value
    assert group.is_main
    assert group.agree(True)
    with pytest.raises(ZeroDivisionError):
        group.on_main(lambda: 1 // 0)


@pytest.mark.parametrize(
    "variables", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "one"}, {"WORLD_SIZE": "0"}, {"RANK": "-1"}]
)
def test_an_environment_that_contradicts_itself_is_refused(monkeypatch, variables):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert world() == (0, 1, 0)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="describe no group of processes; start them with torchrun"):
        world()
