"""Features against the installed torch-fidelity and clean-fid: same images, same full-size weight file."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from evalkit.features.catalog import EXTRACTORS, load_extractor

fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
fidelity_vgg = pytest.importorskip("torch_fidelity.feature_extractor_vgg16")
random_weights = pytest.importorskip("benchmarks.random_weights")

LAYERS = tuple(EXTRACTORS["inception-tf2015"].layers)


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights.once(tmp_path_factory.getbasetemp(), "inception")


@pytest.fixture(scope="module")
def peer(inception_file: Path) -> torch.nn.Module:
    return fidelity.FeatureExtractorInceptionV3(
        "inception-v3-compat", list(LAYERS), feature_extractor_weights_path=str(inception_file)
    )


def pictures(num: int, size: int) -> np.ndarray:
    """uint8 ``(num, 3, size, size)``."""
    made: np.ndarray = random_weights.pictures(num, size, seed=size)
    return np.ascontiguousarray(made.transpose(0, 3, 1, 2))


def assert_close(got: np.ndarray, want: np.ndarray) -> None:
    """Each image's row within 1e-4 relative, of the row's own size; measured: below 1e-5."""
    assert got.shape == want.shape
    assert np.isfinite(want).all()
    assert want.std(axis=0).mean() > 1e-3, "the peer's features hardly vary: nothing would be tested"
    distance = np.linalg.norm(got - want, axis=1) / np.linalg.norm(want, axis=1)
    assert distance.max() < 1e-4
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * float(np.sqrt((want**2).mean())))


@pytest.mark.parametrize("size", [32, 200, 320])
def test_inception_features_are_torch_fidelitys(peer: torch.nn.Module, inception_file: Path, size: int):
    images = pictures(9, size)
    extractor = load_extractor(
        "inception-tf2015", layers=LAYERS, overrides={"inception-tf2015": inception_file}
    )
    got = extractor(list(images))
    with torch.inference_mode():
        wanted = peer(torch.from_numpy(images))
    for layer, want in zip(LAYERS, wanted, strict=True):
        assert_close(got[layer], want.numpy())


def test_vgg16_features_are_torch_fidelitys(tmp_path_factory: pytest.TempPathFactory):
    file = random_weights.once(tmp_path_factory.getbasetemp(), "vgg16")
    layers = ("fc2", "fc2_relu")
    images = pictures(3, 200)
    got = load_extractor("vgg16", layers=layers, overrides={"vgg16": file})(list(images))
    peer = fidelity_vgg.FeatureExtractorVGG16("vgg16", list(layers), feature_extractor_weights_path=str(file))
    with torch.inference_mode():
        wanted = peer(torch.from_numpy(images))
    for layer, want in zip(layers, wanted, strict=True):
        assert_close(got[layer], want.numpy())


def body(peer: torch.nn.Module, x: torch.Tensor) -> np.ndarray:
    """The 2,048 features of images that are resized and scaled already, by torch-fidelity's own blocks."""
    with torch.inference_mode():
        for name, block in peer.named_children():
            if name != "fc":
                x = block(x)
    return x.flatten(1).numpy()


@pytest.mark.parametrize("size", [64, 320])
def test_the_clean_resize_feeds_the_network_as_clean_fid_does(
    peer: torch.nn.Module, inception_file: Path, size: int
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clean-fid's modules warn on import
        resizer = pytest.importorskip("cleanfid.resize").build_resizer("clean")
    images = pictures(3, size)
    resized = np.stack([resizer(image) for image in images.transpose(0, 2, 3, 1)]).transpose(0, 3, 1, 2)
    want = body(peer, (torch.from_numpy(np.ascontiguousarray(resized)) - 128) / 128)
    extractor = load_extractor(
        "inception-tf2015", layers=["2048"], resize="clean", overrides={"inception-tf2015": inception_file}
    )
    assert_close(extractor(list(images))["2048"], want)


@pytest.mark.parametrize("size", [64, 320])
def test_the_half_pixel_resize_feeds_the_network_as_pytorch_fid_does(
    peer: torch.nn.Module, inception_file: Path, size: int
):
    # pytorch-fid is not installed here; these three lines are its input pipeline: ToTensor, bilinear, 2x - 1.
    images = pictures(3, size)
    unit = torch.from_numpy(images).float().div(255)
    resized = functional.interpolate(unit, size=(299, 299), mode="bilinear", align_corners=False)
    extractor = load_extractor(
        "inception-tf2015", layers=["2048"], resize="half-pixel-bilinear",
        overrides={"inception-tf2015": inception_file},
    )  # fmt: skip
    # A position near pixel 300 is known to 3e-5 in float32, and processors round it with or without a fused
    # multiply-add; neighbouring pixels are at most 2 apart.
    torch.testing.assert_close(extractor.preprocess(list(images)), 2 * resized - 1, rtol=0, atol=6e-5)
    assert_close(extractor(list(images))["2048"], body(peer, 2 * resized - 1))


def test_the_first_layers_of_the_genuine_network_are_torch_fidelitys(
    inception_file: Path, data_dir: Path, tmp_path: Path
):
    stem = data_dir / "weights" / "inception_2015_12_05_stem192.npz"
    whole = random_weights.with_stem(inception_file, stem, tmp_path / "whole.pth")
    peer = fidelity.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["64", "192"], feature_extractor_weights_path=str(whole)
    )
    with np.load(data_dir / "cifar10.npz", allow_pickle=False) as data:
        images = np.ascontiguousarray(data["test_images"][:16].transpose(0, 3, 1, 2))
    got = load_extractor("inception-tf2015", layers=["64", "192"], overrides={"inception-tf2015": stem})(
        list(images)
    )
    with torch.inference_mode():
        wanted = peer(torch.from_numpy(images))
    for layer, want in zip(("64", "192"), wanted, strict=True):
        assert_close(got[layer], want.numpy())
