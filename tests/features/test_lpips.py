"""Perceptual distances: laws, the lpips package as the oracle, and weights that cannot be used."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.errors import MetricError, UsageError, WeightsError
from evalkit.features.lpips import DISTANCES, PerceptualDistance, load_distance
from evalkit.features.tensors import read_tensors


@pytest.fixture(scope="module")
def distances(backbone_files: dict[str, Path]) -> dict[str, PerceptualDistance]:
    return {name: load_distance(name, overrides=backbone_files) for name in DISTANCES}


def pairs(num: int, height: int = 32, width: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    a = 255 * torch.rand(num, 3, height, width, generator=rng)
    return a, a + 30 * torch.randn(a.shape, generator=rng)


@pytest.mark.parametrize("name", DISTANCES)
def test_laws(name: str, distances: dict[str, PerceptualDistance]):
    distance = distances[name]
    a, b = pairs(5)
    found = distance(a, b)
    assert found.shape == (5,)
    assert found.dtype == torch.float32
    assert (found > 0).all()
    assert torch.equal(found, distance(b, a))
    assert not distance(a, a).any()
    nearer = distance(a, a + (b - a) / 4)
    assert (nearer < found).all()
    assert distance(a[:0], b[:0]).shape == (0,)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_pair_does_not_see_its_neighbours(name: str, distances: dict[str, PerceptualDistance]):
    a, b = pairs(6)
    together = distances[name](a, b)
    alone = torch.cat([distances[name](a[i : i + 1], b[i : i + 1]) for i in range(6)])
    assert torch.equal(together, alone)


def test_lpips_is_that_of_its_package(distances: dict[str, PerceptualDistance], vgg16_file: Path):
    lpips = pytest.importorskip("lpips")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision as in its day
        theirs = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    ours = read_tensors(vgg16_file)
    state = theirs.net.state_dict()
    theirs.net.load_state_dict({name: ours[f"features.{name.split('.', 1)[1]}"] for name in state})
    a, b = pairs(3, 48, 64)
    with torch.no_grad():
        expected = theirs(a / 127.5 - 1, b / 127.5 - 1).flatten()
    torch.testing.assert_close(distances["lpips-vgg16"](a, b), expected, rtol=1e-5, atol=0)


def test_the_mini_distance_by_its_definition():
    """Unit vectors of the maps after the stem, both stages and the head; no weights."""
    from evalkit.features import mini_net

    net, (a, b) = mini_net.load(), pairs(2)
    found = torch.zeros(2)
    with torch.no_grad():
        x, y = mini_net.normalise(a), mini_net.normalise(b)
        stages = (net.stem, net.blocks[:2], net.blocks[2:], net.head)
        for stage in stages:
            x, y = stage(x), stage(y)
            u, v = (torch.nn.functional.normalize(maps, dim=1) for maps in (x, y))
            found += (u - v).square().sum(dim=1).mean(dim=(1, 2))
    torch.testing.assert_close(load_distance("lpips-mini")(a, b), found, rtol=1e-5, atol=0)


def test_digests_are_of_the_tensors_in_use(vgg16_file: Path, tmp_path: Path):
    whole = load_distance("lpips-vgg16", overrides={"vgg16": vgg16_file})
    tensors = read_tensors(vgg16_file)
    parts = {name: value for name, value in tensors.items() if name.startswith("features.")}
    torch.save(parts, tmp_path / "convolutions.pth")
    again = load_distance("lpips-vgg16", overrides={"vgg16": tmp_path / "convolutions.pth"})
    assert whole.sha256 == again.sha256 != load_distance("lpips-mini").sha256
    parts["features.0.bias"] = parts["features.0.bias"] + 1
    torch.save(parts, tmp_path / "other.pth")
    assert load_distance("lpips-vgg16", overrides={"vgg16": tmp_path / "other.pth"}).sha256 != whole.sha256


def test_weights_that_are_missing_or_do_not_fit(vgg16_file: Path, tmp_path: Path):
    with pytest.raises(WeightsError, match=r"vgg16 cannot be used \(missing\).*evalkit weights fetch vgg16"):
        load_distance("lpips-vgg16", weights_dir=tmp_path)
    with pytest.raises(UsageError, match="unknown distance 'lpips-vgg'.*lpips-vgg16"):
        load_distance("lpips-vgg")
    with pytest.raises(UsageError, match="no weights are called 'vgg'"):
        load_distance("lpips-mini", overrides={"vgg": vgg16_file})
    tensors = read_tensors(vgg16_file)
    del tensors["features.28.weight"]
    torch.save(tensors, tmp_path / "less.pth")
    with pytest.raises(WeightsError, match=r"does not fit lpips-vgg16: it has no tensor 'features\.28"):
        load_distance("lpips-vgg16", overrides={"vgg16": tmp_path / "less.pth"})
    tensors["features.28.weight"] = torch.full((512, 512, 3, 3), torch.nan)
    torch.save(tensors, tmp_path / "nan.pth")
    with pytest.raises(WeightsError, match="holds NaN or infinite values"):
        load_distance("lpips-vgg16", overrides={"vgg16": tmp_path / "nan.pth"})


def test_heads_that_are_missing_or_others(vgg16_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Spec:
        origin = str(tmp_path / "lpips" / "__init__.py")

    found: list[Any] = [Spec, None]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found[0])
    with pytest.raises(WeightsError, match="lacks its file weights/v0.1/vgg.pth.*install it again"):
        load_distance("lpips-vgg16", overrides={"vgg16": vgg16_file})
    found.reverse()
    with pytest.raises(WeightsError, match="which is not installed; pip install lpips"):
        load_distance("lpips-vgg16", overrides={"vgg16": vgg16_file})


def test_images_that_cannot_be_compared(distances: dict[str, PerceptualDistance]):
    a, _ = pairs(2)
    for other in (a[:1], a[:, :1], a[:, :, :8]):
        with pytest.raises(MetricError, match="of one shape"):
            distances["lpips-mini"](a, other)
    with pytest.raises(MetricError, match="float RGB"):
        distances["lpips-mini"](a.byte(), a.byte())
    small = a[:, :, :8, :8]
    assert not distances["lpips-mini"](small, small).any()
    with pytest.raises(MetricError, match="lpips-vgg16 needs images of 16 by 16 pixels or more"):
        distances["lpips-vgg16"](small, small)
