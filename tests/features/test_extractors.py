"""What every extractor keeps: rows of the stated width that depend on their image alone, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from evalkit.features.base import Extractor, tensors_sha256
from evalkit.features.catalog import EXTRACTORS, load_extractor
from evalkit.features.inception import BN_TENSORS, Inception
from evalkit.features.mini_net import WEIGHTS_FILE
from evalkit.features.tensors import read_tensors

Load = Callable[..., Extractor]


@pytest.fixture(scope="session", params=list(EXTRACTORS))
def load(request: pytest.FixtureRequest) -> Load:
    """Loads the extractor of this run with its random weights."""
    name: str = request.param
    fixture = {"inception-tf2015": "inception_file", "vgg16": "vgg16_file"}.get(name)
    overrides = {} if fixture is None else {name: request.getfixturevalue(fixture)}
    return lambda **options: load_extractor(
        name, **{"layers": list(EXTRACTORS[name].layers), "overrides": overrides, **options}
    )


@pytest.fixture(scope="session")
def extractor(load: Load) -> Extractor:
    return load()


@pytest.fixture(scope="session")
def rows(extractor: Extractor, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    return extractor(images)


def test_rows_have_the_stated_form(
    extractor: Extractor, rows: dict[str, np.ndarray], images: list[np.ndarray]
):
    assert list(rows) == list(extractor.info.layers)
    for layer, width in extractor.info.layers.items():
        assert rows[layer].shape == (len(images), width)
        assert rows[layer].dtype == np.float32
        assert np.isfinite(rows[layer]).all()
        assert rows[layer].std(axis=0).max() > 1e-3
    empty = extractor([])
    assert all(empty[layer].shape == (0, width) for layer, width in extractor.info.layers.items())


def test_an_image_has_the_same_row_at_any_place_among_any_neighbours(
    extractor: Extractor, rows: dict[str, np.ndarray], images: list[np.ndarray]
):
    order = np.random.default_rng(1).permutation(len(images))
    shuffled = extractor([images[i] for i in order])
    others = extractor([images[9], images[9], images[3]])
    for layer, want in rows.items():
        np.testing.assert_array_equal(shuffled[layer], want[order])
        np.testing.assert_array_equal(others[layer], want[[9, 9, 3]])


def test_the_number_of_threads_does_not_move_a_bit(
    extractor: Extractor, rows: dict[str, np.ndarray], images: list[np.ndarray]
):
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        again = extractor(images[:2])
    finally:
        torch.set_num_threads(threads)
    for layer, want in rows.items():
        np.testing.assert_array_equal(again[layer], want[:2])


def test_a_layer_alone_is_the_layer_among_others(
    load: Load, extractor: Extractor, rows: dict[str, np.ndarray], images: list[np.ndarray]
):
    for layer in tuple(extractor.info.layers)[: 1 if extractor.info.name == "vgg16" else None]:
        alone = load(layers=[layer])
        assert alone.layer_sha256 == {layer: extractor.layer_sha256[layer]}
        np.testing.assert_array_equal(alone(images[:1])[layer], rows[layer][:1])


@pytest.mark.parametrize(("name", "layer"), [("mini", "features"), ("inception-tf2015", "64")])
def test_a_network_draws_no_global_random_numbers(
    name: str, layer: str, inception_file: Path, images: list[np.ndarray]
):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_extractor(name, layers=[layer], overrides={"inception-tf2015": inception_file})(images[:1])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "layer"), [("mini", "features"), ("inception-tf2015", "192")])
def test_bfloat16_is_near_and_another_number(
    name: str, layer: str, inception_file: Path, images: list[np.ndarray]
):
    fine, rough = (
        load_extractor(
            name, layers=[layer], precision=precision, overrides={"inception-tf2015": inception_file}
        )(images[:2])[layer]
        for precision in ("float32", "bfloat16")
    )
    assert rough.dtype == np.float32
    assert 0 < np.linalg.norm(rough - fine) < 0.05 * np.linalg.norm(fine)


def test_every_resize_is_another_number(inception_file: Path, images: list[np.ndarray]):
    found = [
        load_extractor(
            "inception-tf2015", layers=["64"], resize=resize, overrides={"inception-tf2015": inception_file}
        )(images[:1])["64"]
        for resize in EXTRACTORS["inception-tf2015"].resizes
    ]
    for one in range(3):
        assert np.abs(found[one] - found[(one + 1) % 3]).max() > 1e-3


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu(load: Load, rows: dict[str, np.ndarray], images: list[np.ndarray]):
    found = load(device="cuda")(images)
    for layer, want in rows.items():
        distance = np.linalg.norm(found[layer] - want, axis=1) / np.linalg.norm(want, axis=1)
        assert distance.max() < 1e-4


# --- digests of layers


def test_one_changed_value_changes_the_digest_of_the_layers_that_use_it(inception_file: Path, tmp_path: Path):
    tensors = read_tensors(inception_file)
    whole = load_extractor(
        "inception-tf2015", layers=["192", "2048"], overrides={"inception-tf2015": inception_file}
    )
    tensors["Mixed_6a.branch3x3.bn.bias"][5] += 1e-3
    torch.save(tensors, tmp_path / "changed.pth")
    changed = load_extractor(
        "inception-tf2015", layers=["192", "2048"], overrides={"inception-tf2015": tmp_path / "changed.pth"}
    )
    assert changed.layer_sha256["192"] == whole.layer_sha256["192"]
    assert changed.layer_sha256["2048"] != whole.layer_sha256["2048"]


def test_a_layer_uses_exactly_the_tensors_before_it():
    depth = {layer: Inception.shapes(layer) for layer in EXTRACTORS["inception-tf2015"].layers}
    assert {layer: len(shapes) for layer, shapes in depth.items()} == {
        "64": 15, "192": 25, "768": 350, "2048": 470, "logits_unbiased": 471, "logits": 472,
    }  # fmt: skip
    assert "fc.bias" not in depth["logits_unbiased"]
    parts = {name.rsplit(".", 1)[1] for name in depth["64"] if ".bn." in name}
    assert parts == set(BN_TENSORS)


def test_names_and_shapes_are_torch_fidelitys(inception_file: Path):
    held = {
        name: tuple(value.shape)
        for name, value in read_tensors(inception_file).items()
        if not name.endswith("num_batches_tracked")
    }
    assert held == dict(Inception.shapes("logits"))


def test_the_digest_of_tensors_sees_names_shapes_and_values():
    one = {"a": torch.ones(2, 3), "b": torch.zeros(1)}
    digests = {
        tensors_sha256(tensors)
        for tensors in (
            one,
            {"a": torch.ones(3, 2), "b": torch.zeros(1)},
            {"a": torch.ones(2, 3), "c": torch.zeros(1)},
            {"a": torch.ones(2, 3), "b": torch.ones(1)},
        )
    }
    assert len(digests) == 4
    assert tensors_sha256(dict(reversed(one.items()))) == tensors_sha256(one)
    assert tensors_sha256({name: value.double() for name, value in one.items()}) == tensors_sha256(one)


def test_the_digest_of_the_bundled_weights_is_known():
    whole = load_extractor("mini", layers=["features", "logits"])
    assert whole.layer_sha256["features"].startswith("0e78d6d141eb")
    assert whole.layer_sha256["logits"] == tensors_sha256(read_tensors(WEIGHTS_FILE))
