"""The folder of a run: one trainer, nothing overwritten, refusals before any work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from evalkit.errors import StoreError, UsageError
from reference_models.training import folder as folder_module
from reference_models.training.folder import RunFolder

HOLD = """
import sys
from pathlib import Path
from reference_models.training.folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_trainer_is_told_who_is_at_work_and_where(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(UsageError, match=f"process {process.pid}\\) is at work in {tmp_path}"):
            RunFolder(tmp_path).locked().__enter__()
    finally:
        process.communicate("")
    with RunFolder(tmp_path).locked():  # free again
        pass


def test_a_lock_of_a_killed_trainer_does_not_bar_the_next(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    process.kill()
    process.communicate()
    with RunFolder(tmp_path).locked():
        pass


def test_a_folder_with_a_run_is_not_begun_anew(tmp_path):
    run = RunFolder(tmp_path)
    run.check_fresh()
    run.write_config({})
    run.check_fresh()  # nothing was trained yet
    run.network.write_bytes(b"")
    with pytest.raises(UsageError, match="holds a training run already; go on with it by --resume auto"):
        run.check_fresh()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="not allowed to write .*choose a folder you own"):
            RunFolder(tmp_path / "run").check_writable()
    finally:
        tmp_path.chmod(0o700)


def test_a_place_that_can_be_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another path"):
        RunFolder(tmp_path / "file" / "run").check_writable()


def test_the_check_leaves_nothing_behind(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.check_writable()
    assert [path.name for path in run.root.rglob("*")] == ["checkpoints"]
    assert not run.holds_a_run()
    assert folder_module.RunFolder(tmp_path).fakes(20_500).name == "fakes-000020.500kimg.png"
