"""Judges of restorations: the lpips package as the oracle, laws of numbers and maps, bad input."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from evalkit.errors import MetricError, UsageError, WeightsError
from evalkit.features.lpips import DISTANCES, load_distance
from evalkit.features.lpips_nets import BACKBONES
from evalkit.features.perceptual import Perceptual, load_perceptual
from evalkit.features.tensors import read_tensors

PACKAGE_NAMES = {"lpips-alex": "alex", "lpips-vgg16": "vgg", "lpips-squeeze": "squeeze"}


@pytest.fixture(scope="module")
def judges(backbone_files: dict[str, Path]) -> dict[str, Perceptual]:
    return {name: load_perceptual(name, overrides=backbone_files) for name in DISTANCES}


@pytest.fixture(scope="module")
def packaged(backbone_files: dict[str, Path]) -> dict[str, Any]:
    """The package's own networks with the same weights."""
    lpips, found = pytest.importorskip("lpips"), {}
    for name, net in PACKAGE_NAMES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls torchvision as in its day
            found[name] = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
        # Its slices keep torchvision's numbers: sliceK.N.… is features.N.…
        state, names = read_tensors(backbone_files[DISTANCES[name].weights]), found[name].net.state_dict()
        found[name].net.load_state_dict({key: state[f"features.{key.split('.', 1)[1]}"] for key in names})
    return found


def images(num: int, height: int = 40, width: int = 49, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    original = rng.integers(0, 256, (3, height, width))
    samples = (original + rng.normal(0, 30, (num, 3, height, width))).clip(0, 255).astype(np.uint8)
    return samples, original.astype(np.uint8)


def scaled(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image[None].astype(np.float32)) / 127.5 - 1


def hold_to_package(judge: Perceptual, theirs: Any, samples: np.ndarray, original: np.ndarray):
    numbers, maps = judge(samples, original), judge.maps(samples, original)
    for sample, number, where in zip(samples, numbers, maps, strict=True):
        found = []
        for theirs.spatial in (False, True):
            with torch.no_grad():
                found.append(theirs(scaled(sample), scaled(original)).numpy())
        assert number == pytest.approx(found[0].item(), rel=1e-5)
        np.testing.assert_allclose(where, found[1][0, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", PACKAGE_NAMES)
def test_numbers_and_maps_are_those_of_the_package(
    name: str, judges: dict[str, Perceptual], packaged: dict[str, Any]
):
    hold_to_package(judges[name], packaged[name], *images(2))


@pytest.mark.parametrize("name", PACKAGE_NAMES)
def test_the_example_patches_of_the_authors(
    name: str, judges: dict[str, Perceptual], packaged: dict[str, Any], data_dir: Path
):
    paths = [data_dir / "lpips" / f"ex_{part}.png" for part in ("p0", "p1", "ref")]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"no example patches in {data_dir / 'lpips'}; set $EVALKIT_DATA to run this test")
    read = [np.moveaxis(np.asarray(Image.open(path).convert("RGB")), -1, 0) for path in paths]
    hold_to_package(judges[name], packaged[name], np.stack(read[:2]), read[2])


@pytest.mark.parametrize("name", DISTANCES)
def test_laws(name: str, judges: dict[str, Perceptual]):
    judge, (samples, original) = judges[name], images(3)
    numbers, maps = judge(samples, original), judge.maps(samples, original)
    assert (numbers.dtype, numbers.shape, maps.dtype) == (np.float64, (3,), np.float32)
    assert maps.shape == (3, *original.shape[1:])
    assert (numbers > 0).all()
    assert (maps >= 0).all()
    assert not judge(original[None], original).any()
    assert not judge.maps(original[None], original).any()
    nearer = ((samples.astype(int) + 3 * original.astype(int)) // 4).astype(np.uint8)
    assert (judge(nearer, original) < numbers).all()
    assert judge(original[None], samples[1])[0] == pytest.approx(numbers[1], rel=1e-6)
    # A sample is judged by itself.
    for place in range(3):
        alone = samples[place : place + 1]
        assert judge(alone, original)[0] == numbers[place]
        assert np.array_equal(judge.maps(alone, original)[0], maps[place])
    assert judge(samples[:0], original).shape == (0,)
    assert judge.maps(samples[:0], original).shape == (0, *original.shape[1:])


@pytest.mark.parametrize("name", DISTANCES)
def test_numbers_are_those_of_the_distance(name: str, judges: dict[str, Perceptual], backbone_files):
    samples, original = images(2)
    distance = load_distance(name, overrides=backbone_files)
    beside = torch.from_numpy(np.stack([original] * 2)).float()
    expected = distance(torch.from_numpy(samples).float(), beside)
    np.testing.assert_allclose(judges[name](samples, original), expected.numpy(), rtol=1e-5)
    assert judges[name].sha256 == distance.sha256
    assert judges[name].weights_file == distance.weights_file


@pytest.mark.parametrize("name", DISTANCES)
def test_maps_show_where_images_differ(name: str, judges: dict[str, Perceptual]):
    _, original = images(1, 96, 128)
    sample = original.copy()
    sample[:, :24, 100:] = 255 - sample[:, :24, 100:]
    found = judges[name].maps(sample[None], original)[0]
    assert found[:24, 100:].mean() > 5 * found[60:, :40].mean()


@pytest.mark.parametrize("name", DISTANCES)
def test_the_smallest_image_passes_and_a_smaller_one_is_refused(name: str, judges: dict[str, Perceptual]):
    judge = judges[name]
    samples, original = images(1, judge.smallest, judge.smallest + 1)
    assert judge.maps(samples, original).shape == (1, *original.shape[1:])
    assert np.isfinite(judge(samples, original)).all()
    small = rf"{name} needs images of {judge.smallest} by {judge.smallest} pixels or more and got"
    for compare in (judge, judge.maps):
        with pytest.raises(MetricError, match=small):
            compare(samples[:, :, 1:], original[:, 1:])


def test_images_that_cannot_be_judged(judges: dict[str, Perceptual]):
    samples, original = images(2)
    for ours, theirs in (
        (samples[0], original), (samples, original[None]), (samples[:, :, :-1], original),
        (samples[:, :1], original[:1]), (samples / 255, original), (samples, original.astype(int)),
    ):  # fmt: skip
        for compare in (judges["lpips-mini"], judges["lpips-mini"].maps):
            with pytest.raises(MetricError, match="compares uint8 RGB samples .* with an original .* got"):
                compare(ours, theirs)


def test_judges_that_cannot_be_loaded(tmp_path: Path, backbone_files: dict[str, Path]):
    with pytest.raises(UsageError, match="unknown judge 'lpips-alexnet'.*lpips-alex"):
        load_perceptual("lpips-alexnet")
    for name, weights, other in (
        ("lpips-alex", "alexnet", "squeezenet"), ("lpips-squeeze", "squeezenet", "alexnet"),
    ):  # fmt: skip
        missing = rf"weights {weights} cannot be used \(missing\).*evalkit weights fetch {weights}"
        with pytest.raises(WeightsError, match=missing):
            load_perceptual(name, weights_dir=tmp_path)
        with pytest.raises(WeightsError, match=f"does not fit {name}: "):
            load_perceptual(name, overrides={weights: backbone_files[other]})


def test_heads_of_every_network_are_verified(
    tmp_path: Path, backbone_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    class Spec:
        origin = str(tmp_path / "lpips" / "__init__.py")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec)
    for name, net in PACKAGE_NAMES.items():
        (tmp_path / "lpips" / "weights" / "v0.1").mkdir(parents=True, exist_ok=True)
        (tmp_path / "lpips" / "weights" / "v0.1" / f"{net}.pth").write_bytes(b"something else")
        if name != "lpips-vgg16":  # which test_lpips tries
            with pytest.raises(
                WeightsError, match=f"lacks its file weights/v0.1/{net}.pth, or holds another"
            ):
                load_perceptual(name, overrides=backbone_files)


def test_the_networks_are_those_of_torchvision():
    torchvision = pytest.importorskip("torchvision")
    for name, builder in (("alex", "alexnet"), ("vgg16", "vgg16"), ("squeeze", "squeezenet1_1")):
        with torch.device("meta"):
            state = getattr(torchvision.models, builder)(weights=None).state_dict()
        features = {key: tuple(value.shape) for key, value in state.items() if key.startswith("features.")}
        assert dict(BACKBONES[f"lpips-{name}"].shapes()) == features
