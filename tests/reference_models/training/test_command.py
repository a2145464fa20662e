"""The verb ``train``: its words, its exit codes, and that its help is light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_tasks import set_words

import run_eval
from evalkit import cli
from reference_models.cli import Catalogue

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3)).astype(np.uint8))
    return str(path)


def train(data, output, *more):
    changes = [word for word in set_words() if word != "--set" and not word.startswith("batch=")]
    if not any(word.startswith("batch=") for word in more):
        changes.append("batch=8")
    words = [each for word in changes for each in ("--set", word)]
    return run_eval.main(
        ["train", "stylegan2", "--data", data, "--kimg", "0.016", "-o", str(output), "--grid", "4",
         "--device", "cpu", *words, *more]
    )  # fmt: skip


def test_it_trains_refuses_to_begin_twice_and_goes_on(data, tmp_path, capsys):
    assert train(data, tmp_path / "run") == 0
    assert f"trained for 0.016 kimg: {tmp_path / 'run' / 'network.safetensors'}" in capsys.readouterr().err
    assert train(data, tmp_path / "run") == 2
    assert "holds a training run already" in capsys.readouterr().err
    assert train(data, tmp_path / "run", "--resume", "auto", "--kimg", "0.024") == 0
    assert "trained for 0.024 kimg" in capsys.readouterr().err


def test_a_dry_run_prints_what_it_would_cost_and_writes_nothing(data, tmp_path, capsys):
    assert train(data, tmp_path / "run", "--dry-run") == 0
    out = capsys.readouterr().out
    for words in ("parameters  G ", "memory ", "s/kimg", "for 0.016 kimg", '"channel_max": 8'):
        assert words in out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--set", "batch=48"], "fewer than a batch"), (["--eval", "fd_mni"], "nearest: fd_mini")],
)
def test_a_dry_run_refuses_what_training_would_refuse(data, tmp_path, capsys, words, said):
    assert train(data, tmp_path / "run", "--dry-run", *words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "batch"], "NAME=VALUE"),
        (["--set", "btach=3"], "nearest: batch"),
        (["--set", "batch=many"], "batch is 'many'"),
        (["--set", "batch=48"], "24 images, fewer than a batch of 48"),
        (["--preset", "tyni"], "nearest: tiny"),
        (["--eval", "fd_mini@soon"], "'soon' is no period"),
        (["--cond"], "label"),
        (["--precision", "fp16"], "fp16 trains on GPUs alone"),
        (["--resume", "absent.safetensors"], "nothing is at absent.safetensors"),
        (["--kimg", "-1"], "kimg is -1.0; give a number above 0"),
        (["--resolution", "48", "--fit", "crop"], "give a power of two"),
        (["--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_what_cannot_be_ends_with_one_message_and_code_2(data, tmp_path, capsys, words, said):
    assert train(data, tmp_path / "run", *words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "config.json").exists()


def test_without_an_evaluator_evaluations_are_refused(data, tmp_path, capsys):
    argv = ["train", "stylegan2", "--data", data, "--kimg", "1", "-o", str(tmp_path / "run")]
    code = cli.main([*argv, *set_words(), "--eval", "fd_mini"], reference_models=Catalogue())
    assert code == 2
    assert "needs an evaluator" in capsys.readouterr().err


def test_its_help_imports_nothing_heavy():
    code = (
        "import sys, run_eval; run_eval.main(['train', '--help']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib', 'pandas')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "--resume" in found.stdout
