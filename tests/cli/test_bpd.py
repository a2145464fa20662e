"""The verbs ``bpd convert`` and ``bpd list``: what they print, and how they end."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

import run_eval
from evalkit.metrics.likelihood.conversions import PRINTED

ROOT = Path(__file__).resolve().parents[2]


def call(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert run_eval.main(["bpd", *(str(word) for word in words)]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out, " ".join(captured.err.split())


def fields(text: str) -> dict[str, str]:
    return dict(line.split("  ", 1) for line in text.splitlines())


def test_a_number_in_every_unit_that_can_be_known(capsys):
    out, err = call(capsys, "convert", 1.99, "--from", "vdvae-nats", "--bits", 8)
    found = {name: value.strip() for name, value in fields(out).items()}
    assert found["bits/dim"] == "2.87096"
    assert found["nats/dim"] == "1.99"
    assert (found["bound"], found["bit_depth"], found["dequantisation"]) == ("elbo", "8", "discrete")
    assert "bits/pixel" not in found
    assert "which release of the data" in found["state 1"]
    assert err == ""
    out, _ = call(capsys, "convert", 1.99, "--from", "vdvae-nats")
    found = {name: value.strip() for name, value in fields(out).items()}
    assert found["bit_depth"] == "to be stated"
    assert "FFHQ-256: 5" in found["state 1"]


def test_json_has_every_digit(capsys):
    out, _ = call(capsys, "convert", 78.01, "--from", "nvae-nats", "--dims", "1x28x28", "--json")
    told = json.loads(out)
    assert told["units"]["bits/dim"] == pytest.approx(78.01 / 784 / math.log(2), rel=1e-14)
    assert told["units"]["nats"] == pytest.approx(78.01, rel=1e-14)
    assert (told["bound"], told["bit_depth"], told["unit"], told["value"]) == ("iwae", None, "nats", 78.01)
    assert any("784 dimensions" in each for each in told["state"])


def test_one_unit_alone_is_for_scripts(capsys):
    words = ("convert", 78.01, "--from", "nvae-nats", "--dims", 784, "--to")
    out, _ = call(capsys, *words, "bits/dim")
    assert out == "0.143552\n"
    out, _ = call(capsys, *words, "bits", "--json")
    assert json.loads(out) == pytest.approx(78.01 / math.log(2))
    _, err = call(capsys, *words, "bits/pixel", code=2)
    assert "bits/pixel depends on the size of an image; give --dims CxHxW" in err


def test_negative_numbers_are_numbers(capsys):
    out, _ = call(capsys, "convert", -13.6, "--from", "srflow-nll", "--noise", 256, "--to", "bits/dim")
    assert float(out) == pytest.approx(-13.6 / 3 + 8, abs=1e-5)


def test_the_list_is_what_can_be_converted(capsys):
    out, _ = call(capsys, "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert list(rows) == list(PRINTED)
    assert rows["srflow-nll"]["needs"] == "--noise"
    assert rows["vdvae-nats"]["needs"] == ""
    out, _ = call(capsys, "list")
    assert "vdvae-nats" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((1.99, "--from", "vdvae-nat"), "evalkit: unknown number 'vdvae-nat' (nearest: vdvae-nats"),
        ((1.99, "--from", "nvae-nats"), "without the dimensions of an image; give --dims"),
        ((1.99, "--from", "nvae-nats", "--dims", "3x32"), "--dims 3x32: write CxHxW, such as 3x32x32"),
        ((1.99, "--from", "nvae-nats", "--dims", "0x2x2"), "0 dimensions: an image has 1 or more"),
        ((1.99, "--from", "density-unit", "--dims", 12), "depends on the levels of the images; give --bits"),
        ((1.99, "--from", "srflow-nll"), "give --noise q"),
        (("nan", "--from", "vdvae-bpd"), "nan is no likelihood to convert"),
        ((1.99, "--from", "vdvae-bpd", "--nois", 3), "unexpected extra argument"),
    ],
)
def test_what_is_missing_is_asked_for(capsys, words: tuple, message: str):
    out, err = call(capsys, "convert", *words, code=2)
    assert out == ""
    assert message in err


def test_it_answers_at_once():
    code = (
        "import sys, run_eval\n"
        "code = run_eval.main(['bpd', 'convert', '1.99', '--from', 'vdvae-nats'])\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
