"""What commands about restorations are tried on: small originals, restorations of them, and a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from restorers import disturbed, picture, write

import run_eval

# A model from outside, which prints where results are to stand.
MODULE = """
import torch
print("imported")

def draws():
    print("built")

    def restore(x, seed, temperature=0.5):
        print("restoring")
        large = x.repeat_interleave(4, -1).repeat_interleave(4, -2)
        noise = torch.randn(large.shape, generator=torch.Generator().manual_seed(seed))
        made = large + 0.02 * temperature * noise
        if temperature > 5 and x.mean() > 0.5:
            made[0, 0, 0, 0] = torch.nan
        return made

    return restore

def signed():
    def restore(x):
        if x.min() >= 0:
            raise ValueError(f"images from {x.min():.1f} up")
        return x.repeat_interleave(4, -1).repeat_interleave(4, -2)

    return restore

def cropped():
    return lambda x: x.repeat_interleave(4, -1).repeat_interleave(4, -2)[..., 1:]
"""


@pytest.fixture
def sr_cli(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, str]]:
    """Runs a command in a folder with originals ``hr``, two restorations of each ``sr``, and ``mine.py``."""
    monkeypatch.chdir(tmp_path)
    originals = {
        "a": picture(24, 32),
        "b": np.clip(picture(32, 24) + 60, 0, 255).astype(np.uint8),
        "c": picture(24, 24),
    }
    write(Path("hr"), {f"{name}.png": image for name, image in originals.items()})
    write(Path("sr"), {
        f"{name}_{k}.png": disturbed(image, seed=k, by=5 + ord(name) - ord("a"))
        for name, image in originals.items() for k in range(2)
    })  # fmt: skip
    Path("mine.py").write_text(MODULE)

    def call(*words: object, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        given = run_eval.main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert given == code, err
        return out, err

    return call
