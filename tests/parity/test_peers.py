"""Files to numbers, against the installed torch-fidelity and clean-fid: same folders, same weights."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import evalkit
from evalkit.engine.procedures.distribution import measure
from evalkit.protocols.catalog import PROTOCOLS

torch_fidelity = pytest.importorskip("torch_fidelity")
random_weights = pytest.importorskip("benchmarks.random_weights")

NUM = 32
# The peers keep means and kernels in float32; numbers agree to 1e-5 of their size.
CLOSE = 1e-5


def fidelity(samples: Path, data: Path | None, **options: Any) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its data loader warns about the number of workers
        found: dict[str, float] = torch_fidelity.calculate_metrics(
            input1=str(samples), input2=None if data is None else str(data), cuda=False, cache=False,
            verbose=False, **options,
        )  # fmt: skip
    return found


def ours(samples: Any, data: Any, metrics: str, **options: Any) -> dict[str, evalkit.Record]:
    records = evalkit.evaluate(
        samples=samples, data=data, metrics=metrics, output=None, device="cpu", **options
    )
    return {record.metric: record for record in records}


def write(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:04d}.png")
    return folder


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights.once(tmp_path_factory.getbasetemp(), "inception")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders of pictures that differ in brightness."""
    root = tmp_path_factory.mktemp("folders")
    brighter = np.clip(random_weights.pictures(NUM, 80, seed=1).astype(int) + 15, 0, 255).astype(np.uint8)
    return write(root / "samples", brighter), write(root / "data", random_weights.pictures(NUM, 80, seed=2))


def test_fid_kid_is_and_prc_are_torch_fidelitys(folders: tuple[Path, Path], inception_file: Path):
    want = fidelity(
        *folders, fid=True, kid=True, isc=True, prc=True, kid_subset_size=NUM,
        feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(inception_file),
    )  # fmt: skip
    got = ours(*folders, "fid,kid,is,prdc", k=3, weights={"inception-tf2015": inception_file})
    assert want["frechet_inception_distance"] > 1
    assert want["inception_score_mean"] > 1.2
    assert 0 < want["precision"] < 1
    assert got["fid"].value == pytest.approx(want["frechet_inception_distance"], rel=CLOSE)
    assert got["kid"].value == pytest.approx(want["kernel_inception_distance_mean"], rel=CLOSE)
    assert got["is"].value == pytest.approx(want["inception_score_mean"], rel=CLOSE)
    assert got["is"].extras["std"] == pytest.approx(want["inception_score_std"], rel=10 * CLOSE)
    assert got["prdc@k3_precision"].value == pytest.approx(want["precision"], rel=CLOSE)
    assert got["prdc@k3_recall"].value == pytest.approx(want["recall"], rel=CLOSE)


def test_pr_is_torch_fidelitys_on_vgg16(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    file = random_weights.once(tmp_path_factory.getbasetemp(), "vgg16")
    samples = write(tmp_path / "samples", random_weights.pictures(12, 60, seed=5))
    data = write(tmp_path / "data", random_weights.pictures(10, 90, seed=6))
    want = fidelity(
        samples, data, prc=True, feature_extractor="vgg16", feature_extractor_weights_path=str(file)
    )
    got = ours(samples, data, "pr", weights={"vgg16": file})
    assert 0 < want["precision"] < 1
    assert got["pr_precision"].value == pytest.approx(want["precision"], rel=CLOSE)
    assert got["pr_recall"].value == pytest.approx(want["recall"], rel=CLOSE)


class _CleanFid(NamedTuple):
    module: Any
    samples: Path
    data: Path
    features: Callable[[torch.Tensor], torch.Tensor]

    def options(self) -> dict[str, Any]:
        device = torch.device("cpu")
        return {"mode": "clean", "num_workers": 0, "batch_size": 30, "device": device, "verbose": False}


@pytest.fixture(scope="module")
def clean_fid(tmp_path_factory: pytest.TempPathFactory, inception_file: Path) -> _CleanFid:
    """clean-fid on the first 64 features, of which 90 images give covariances of full rank.

    Its matrix square root does not survive fewer images than features.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its modules warn on import
        module = pytest.importorskip("cleanfid.fid")
    root = tmp_path_factory.mktemp("clean")
    samples = write(root / "samples", random_weights.pictures(90, 80, seed=3))
    data = write(root / "data", random_weights.pictures(90, 80, seed=4)[:, ::-1] // 2 + 60)
    peer = torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["64"], feature_extractor_weights_path=str(inception_file)
    )

    def features(pixels: torch.Tensor) -> torch.Tensor:
        # clean-fid hands its network pixels it has resized, in [0, 255].
        x = (pixels - 128) / 128
        for name in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1"):
            x = getattr(peer, name)(x)
        return x.mean(dim=(2, 3))

    return _CleanFid(module, samples, data, features)


def test_fid_clean_is_clean_fids(clean_fid: _CleanFid, inception_file: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = clean_fid.module.compare_folders(
            str(clean_fid.samples), str(clean_fid.data), clean_fid.features, **clean_fid.options()
        )
    weights = {"inception-tf2015": inception_file}
    got = ours(clean_fid.samples, clean_fid.data, "fid_clean", layer="64", weights=weights)
    assert want > 0.1
    assert got["fid_clean@64"].value == pytest.approx(float(want), rel=CLOSE)


def test_kid_clean_is_clean_fids(clean_fid: _CleanFid, inception_file: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data, samples = (
            clean_fid.module.get_folder_features(str(folder), clean_fid.features, **clean_fid.options())
            for folder in (clean_fid.data, clean_fid.samples)
        )
    np.random.seed(0)  # noqa: NPY002 - it draws from numpy's global generator
    # Subsets smaller than the sets, so that the draws are compared too; its own order: reference, samples.
    want = clean_fid.module.kernel_distance(
        data.astype(np.float64), samples.astype(np.float64), num_subsets=100, max_subset_size=40
    )
    spec = dataclasses.replace(
        PROTOCOLS["kid_clean"], options=dataclasses.replace(PROTOCOLS["kid_clean"].options, subset_size=40)
    )
    (got,) = measure(spec, samples, data, seed=0)
    assert want > 0
    assert got.estimate.value == pytest.approx(want, rel=1e-12)
    weights = {"inception-tf2015": inception_file}
    whole = ours(clean_fid.samples, clean_fid.data, "kid_clean", layer="64", weights=weights)
    want = clean_fid.module.kernel_distance(
        data.astype(np.float64), samples.astype(np.float64), num_subsets=1
    )
    assert whole["kid_clean@64"].value == pytest.approx(want, rel=CLOSE)


# --- the genuine first layers of the FID network


def test_all_metrics_on_layer_192_are_torch_fidelitys_with_genuine_weights(
    data_dir: Path, tmp_path: Path, inception_file: Path
):
    stem = data_dir / "weights" / "inception_2015_12_05_stem192.npz"
    whole = random_weights.with_stem(inception_file, stem, tmp_path / "whole.pth")
    with np.load(data_dir / "cifar10.npz", allow_pickle=False) as cifar:
        # Paler samples: KID of equal sets is a difference of numbers a thousand times its size, of which
        # torch-fidelity keeps seven digits (its kernels are float32); nothing of it could be compared.
        samples = write(tmp_path / "samples", cifar["test_images"][:110] // 2 + 60)
        data = write(tmp_path / "data", cifar["train_images"][:100])
    want = fidelity(
        samples, data, fid=True, kid=True, isc=True, prc=True, kid_subset_size=100,
        feature_layer_fid="192", feature_layer_kid="192", feature_layer_isc="192", feature_layer_prc="192",
        feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(whole),
    )  # fmt: skip
    got = ours(samples, data, "fid,kid,is,prdc", layer="192", k=3, weights={"inception-tf2015-stem192": stem})
    assert got["fid@192"].value == pytest.approx(want["frechet_inception_distance"], rel=CLOSE)
    assert got["kid@192"].value == pytest.approx(want["kernel_inception_distance_mean"], rel=CLOSE)
    assert got["is@192"].value == pytest.approx(want["inception_score_mean"], rel=CLOSE)
    assert got["prdc@192@k3_precision"].value == pytest.approx(want["precision"], rel=CLOSE)
    assert got["prdc@192@k3_recall"].value == pytest.approx(want["recall"], rel=CLOSE)


def test_fid_64_is_the_value_torchmetrics_publishes(data_dir: Path, inception_file: Path):
    # Lightning-AI/torchmetrics@dab0333 src/torchmetrics/image/fid.py, the example in the docstring: 12.6388.
    # Its doctests start from seed 42, and building the network draws numbers before the images are drawn.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(42)
        torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["64"], feature_extractor_weights_path=str(inception_file)
        )
        real = torch.randint(0, 200, (100, 3, 299, 299), dtype=torch.uint8)
        fake = torch.randint(100, 255, (100, 3, 299, 299), dtype=torch.uint8)
    stem = data_dir / "weights" / "inception_2015_12_05_stem192.npz"
    got = ours(fake.numpy(), real.numpy(), "fid", layer="64", weights={"inception-tf2015-stem192": stem})
    assert round(got["fid@64"].value, 4) == 12.6388
