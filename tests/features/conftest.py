"""Weight files of the networks under test, and pictures of several sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from evalkit.features.lpips_nets import AlexNet, SqueezeNet
from evalkit.features.weights import WeightsEntry


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pytest.importorskip("benchmarks.random_weights").once(tmp_path_factory.getbasetemp(), "inception")


@pytest.fixture(scope="session")
def vgg16_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pytest.importorskip("benchmarks.random_weights").once(tmp_path_factory.getbasetemp(), "vgg16")


@pytest.fixture(scope="session")
def backbone_files(vgg16_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the networks under LPIPS by their names in the weights catalogue, drawn at random."""
    files = {"vgg16": vgg16_file}
    for name, backbone in (("alexnet", AlexNet), ("squeezenet", SqueezeNet)):
        rng = torch.Generator().manual_seed(0)
        state = {}
        for key, shape in backbone.shapes().items():
            scale = 0.05 if len(shape) == 1 else (2 / np.prod(shape[1:])) ** 0.5  # He's keeps the scale
            state[key] = scale * torch.randn(shape, generator=rng)
        files[name] = tmp_path_factory.getbasetemp() / f"random-{name}.pth"
        torch.save(state, files[name])
    return files


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """Ten images, of equal and of different sizes: more than one micro-batch, the second one partial."""
    rng = np.random.default_rng(0)
    sizes = [
        (40, 40),
        (40, 40),
        (32, 32),
        (64, 48),
        (40, 40),
        (40, 40),
        (40, 40),
        (32, 32),
        (32, 32),
        (120, 90),
    ]
    return [rng.integers(0, 256, (3, *size), dtype=np.uint8) for size in sizes]


@pytest.fixture(scope="session")
def content() -> bytes:
    """What the file of `entry_for` holds: 1 MiB."""
    return bytes(range(256)) * 4096


@pytest.fixture(scope="session")
def entry_for(content: bytes) -> Callable[[str | None], WeightsEntry]:
    """Makes an entry of the weights catalogue that is to be fetched from a URL."""
    return lambda url: WeightsEntry(
        name="net", filename="net-file.pth", aliases=("other-name.pth",), url=url,
        sha256=hashlib.sha256(content).hexdigest()[:8], licence="none", what="a test",
    )  # fmt: skip
