"""DISTS: closed forms on the image itself, laws, the peer, and a package that is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.errors import MetricError, WeightsError
from evalkit.features.dists import Dists
from evalkit.features.lpips_nets import VGG16
from evalkit.features.perceptual import load_perceptual
from evalkit.features.tensors import read_tensors
from evalkit.imaging.exact import exact_float32

CHANNELS = 3 + sum(VGG16.widths)


@pytest.fixture(scope="module")
def convolutions(vgg16_file: Path) -> dict[str, torch.Tensor]:
    found = read_tensors(vgg16_file)
    return {name: found[name] for name in VGG16.shapes()}


def weighted(convolutions: dict[str, torch.Tensor], alpha: torch.Tensor, beta: torch.Tensor) -> Dists:
    shaped = {"alpha": alpha.view(1, -1, 1, 1), "beta": beta.view(1, -1, 1, 1)}
    return Dists({**convolutions, **shaped}, torch.device("cpu"))


def distance(dists: Dists, a: torch.Tensor, b: torch.Tensor) -> float:
    with exact_float32():
        return dists.compare(
            *(dists.maps(image.contiguous(memory_format=torch.channels_last)) for image in (a, b))
        )


def noise(seed: int, height: int = 32, width: int = 41) -> torch.Tensor:
    levels = np.random.default_rng(seed).integers(0, 256, (1, 3, height, width))
    return torch.from_numpy(levels).float()


def test_the_likeness_of_the_image_itself_in_closed_form(convolutions: dict[str, torch.Tensor]):
    none, image_alone = torch.zeros(CHANNELS), torch.zeros(CHANNELS)
    image_alone[:3] = 5.0  # they are brought to a sum of 1
    a, b = noise(0), noise(1)
    x, y = (each[0].flatten(1).double().numpy() / 255 for each in (a, b))
    mean_x, mean_y = x.mean(axis=1), y.mean(axis=1)
    texture = (2 * mean_x * mean_y + 1e-6) / (mean_x**2 + mean_y**2 + 1e-6)
    by_texture = weighted(convolutions, image_alone, none)
    assert distance(by_texture, a, b) == pytest.approx(1 - texture.mean(), rel=1e-4)
    # The same pixels elsewhere have the same texture and another structure.
    moved = a.flip(3)
    assert distance(by_texture, a, moved) == pytest.approx(0, abs=1e-9)
    structure = [np.cov(*rows, bias=True) for rows in zip(x, y, strict=True)]
    expected = [(2 * c[0, 1] + 1e-6) / (c[0, 0] + c[1, 1] + 1e-6) for c in structure]
    by_structure = weighted(convolutions, none, image_alone)
    assert distance(by_structure, a, b) == pytest.approx(1 - np.mean(expected), rel=1e-5)
    assert distance(by_structure, a, a + 10) == pytest.approx(0, abs=1e-9)
    assert distance(by_structure, a, 255 - a) == pytest.approx(2, abs=1e-4)


def test_laws(convolutions: dict[str, torch.Tensor]):
    rng = torch.Generator().manual_seed(0)
    dists = weighted(convolutions, *(torch.rand(CHANNELS, generator=rng) for _ in range(2)))
    a, b = noise(0), noise(1)
    assert distance(dists, a, a) == 0
    assert distance(dists, a, b) == distance(dists, b, a) > 0
    assert distance(dists, a, (3 * a + b) / 4) < distance(dists, a, b)


def test_it_is_that_of_torchmetrics(vgg16_file: Path, monkeypatch: pytest.MonkeyPatch):
    peer = pytest.importorskip("torchmetrics.functional.image.dists", reason="needs evalkit[iqa]")
    torchvision = pytest.importorskip("torchvision")

    def local(**_: Any) -> torch.nn.Module:
        with torch.device("meta"):
            network = torchvision.models.vgg16(weights=None)
        network.load_state_dict(read_tensors(vgg16_file), assign=True)
        return network

    monkeypatch.setattr(peer, "vgg16", local)  # it would download its weights
    theirs = peer.DISTSNetwork()
    ours = load_perceptual("dists", overrides={"vgg16": vgg16_file})
    images = [noise(seed, 40, 53) for seed in range(3)]
    samples = torch.cat(images[:2]).byte().numpy()
    found = ours(samples, images[2][0].byte().numpy())
    assert found.dtype == np.float64
    for number, image in zip(found, images, strict=False):
        expected = float(theirs(image / 255, images[2] / 255).detach())
        assert number == pytest.approx(expected, abs=2e-6)
    assert not ours(samples[:1], samples[0]).any()
    with pytest.raises(
        MetricError, match="dists compares images as wholes and has no maps; take one of lpips"
    ):
        ours.maps(samples, samples[0])


def test_a_package_that_is_missing_or_another(
    vgg16_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Spec:
        origin = str(tmp_path / "torchmetrics" / "__init__.py")

    found: list[Any] = [Spec, None]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found[0])
    with pytest.raises(WeightsError, match="torchmetrics lacks its file functional/.*--force-reinstall"):
        load_perceptual("dists", overrides={"vgg16": vgg16_file})
    found.reverse()
    with pytest.raises(
        WeightsError, match=r"torchmetrics, which is not installed; pip install 'evalkit\[iqa\]'"
    ):
        load_perceptual("dists", overrides={"vgg16": vgg16_file})
