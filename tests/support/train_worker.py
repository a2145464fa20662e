"""One process of a small training, which may die in the middle: ``OUTPUT DATA KIMG RESUME DIE_AT``.

RESUME is ``auto`` or ``none``; the process kills itself before iteration DIE_AT, never where it is negative.
With ``pause`` for DIE_AT it says ``ready`` and goes on slowly, so that a signal meets it at work.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import torch
from small_tasks import STYLEGAN2

from evalkit.errors import EvalkitError
from reference_models.training.config import RunConfig
from reference_models.training.logs import Screen
from reference_models.training.loop import train
from reference_models.training.start import prepare


def main(output: str, data: str, kimg: str, resume: str, die_at: str) -> int:
    """Trains, and returns the exit code of the command."""
    run = RunConfig(
        model="stylegan2", data=data, output=output, kimg=float(kimg), seed=5, mirror=True, cond=True,
        overrides=STYLEGAN2, snapshot_kimg=0.064, keep=2, grid=4,
    )  # fmt: skip
    task, images = prepare(run)
    iterate = task.iterate

    def watched(iteration):
        if die_at == "pause":
            print("ready", flush=True)
            time.sleep(0.05)
        elif iteration.index == int(die_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return iterate(iteration)

    task.iterate = watched
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums of several threads have other roundings
    try:
        result = train(task, images, run, resume=None if resume == "none" else resume, screen=Screen())
    except EvalkitError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        torch.set_num_threads(threads)
    return 130 if result.stopped == "SIGINT" else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
