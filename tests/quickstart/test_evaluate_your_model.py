"""The page "Evaluate your own model", followed to the letter in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import run_eval
from evalkit.adapters.external import load_external
from golden_cases import FOLDER

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "evaluate-your-model.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


def files() -> dict[str, str]:
    found = re.findall(r"^```python\n# (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return dict(found)


def commands(text: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


# How many numbers each choice of metrics gives.
VALUES = {"mini": 7, "ppl_mini,equivariance": 4}
TITLES = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)


def test_the_page_has_what_it_promises():
    assert files().keys() == {"my_model.py", "export.py"}
    assert sum(len(commands(section(title))) for title in TITLES) == len(commands(PAGE)) >= 15


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all sections: the features of the real images are the same."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.parametrize("title", [title for title in TITLES if commands(section(title))])
def test_a_section(
    title: str,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVALKIT_CACHE", str(cache))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    for name, text in files().items():
        Path(name).write_text(text)
    if "network.pkl" in section(title):
        given = FOLDER / "pickle_sg2" / "network.pkl"
        if not given.exists():
            pytest.skip(f"no official checkpoint at {given}")
        shutil.copy(given, "network.pkl")
    if "mnist.npz" in section(title):
        data = provided()
        shutil.copy(ROOT / "docs" / "examples" / "mnist_cwgan_gp.py", ".")
        for path in data:
            Path(path.name).symlink_to(path)
    if "waves.py" in section(title):
        shutil.copy(ROOT / "docs" / "examples" / "waves.py", ".")
    values = 0
    for line in commands(section(title)):
        words = shlex.split(line)
        if words[0] == "python":
            subprocess.run([sys.executable, *words[1:]], check=True, capture_output=True)
            continue
        assert words[0] == "evalkit"
        assert run_eval.main(words[1:]) == 0, f"{line}\n{capsys.readouterr().err}"
        if "--grid" in words:
            assert Path(words[words.index("--grid") + 1]).stat().st_size > 1000
        if words[1] == "run":
            values += VALUES[words[words.index("--metrics") + 1]]
    records = [json.loads(path.read_text()) for path in (tmp_path / "results").rglob("*.json")]
    assert len({record["record_id"] for record in records}) == len(records) == values
    assert all(record["value"] is not None for record in records)


def provided() -> list[Path]:
    folder = Path(os.environ.get("EVALKIT_DATA", ROOT.parent / "shared" / "data"))
    names = ("mnist.npz", "weights/mnist_cwgan_gp_generator.pth")
    if missing := [name for name in names if not (folder / name).exists()]:
        pytest.skip(f"no {', '.join(missing)} in {folder}; set $EVALKIT_DATA to run this test")
    return [folder / name for name in names]


def test_what_the_example_says_of_its_architecture(monkeypatch: pytest.MonkeyPatch):
    """Statistics of a batch agree with the stored ones; a classifier sees the digits asked for."""
    provided()
    folder = Path(os.environ.get("EVALKIT_DATA", ROOT.parent / "shared" / "data")) / "weights"
    monkeypatch.setenv("MNIST_CWGAN_GP", str(folder / "mnist_cwgan_gp_generator.pth"))
    model = load_external(f"{ROOT / 'docs' / 'examples' / 'mnist_cwgan_gp.py'}:factory")
    seeds = np.arange(512)
    images = model.sample(seeds, seeds % 10)
    net = model._function
    stored = {place: net.conv_blocks[place].running_var.clone() for place in (3, 7)}
    with torch.no_grad():
        for place in (0, 3, 7):
            net.conv_blocks[place].momentum = 1.0
        net.train()(model.latents(seeds), torch.from_numpy(seeds % 10))
    for place, variance in stored.items():
        apart = (net.conv_blocks[place].running_var / variance).log().abs().mean()
        assert float(apart) < 0.02
    lenet = torch.load(folder / "lenet_mnist.pth", weights_only=True)
    x = F.interpolate(images[:, :1].float() / 255, size=(32, 32), mode="bilinear")
    for name, is_pooled in (("c1", True), ("c3", True), ("c5", False)):
        x = F.conv2d(x, lenet[f"convnet.{name}.weight"], lenet[f"convnet.{name}.bias"]).tanh()
        x = F.max_pool2d(x, 2) if is_pooled else x
    x = F.linear(x.flatten(1), lenet["fc.f6.weight"], lenet["fc.f6.bias"]).tanh()
    seen = F.linear(x, lenet["fc.f7.weight"], lenet["fc.f7.bias"]).argmax(1)
    # A classifier with an accuracy of 99 % says so of about 56 % of the images; chance is 10 %.
    assert float((seen.numpy() == seeds % 10).mean()) > 0.5
