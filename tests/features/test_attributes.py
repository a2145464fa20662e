"""Bundles of attribute classifiers: what they tell, what may not matter, and files that are none."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from evalkit.errors import SourceError, TrainingError, UsageError, WeightsError
from evalkit.features import train_attributes as training
from evalkit.features.attribute_labels import AttributeLabels, read_attribute_labels
from evalkit.features.attributes import (
    KEY,
    Attributes,
    find_bundle,
    load_attributes,
    prepare,
    read_info,
    write_bundle,
)
from evalkit.features.base import tensors_sha256
from evalkit.features.train_attributes import TrainSettings, accuracy, train_attributes
from evalkit.features.weights import WEIGHTS
from evalkit.sources.arrays import ArraySource
from evalkit.sources.bundled import open_bundled


def coloured(num: int = 80, seed: int = 0, side: int = 12) -> tuple[ArraySource, AttributeLabels]:
    """Images with two attributes: red beats blue, and the upper half is lighter."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (num, side, side, 3), dtype=np.uint8)
    red, light = rng.random(num) < 0.5, rng.random(num) < 0.3
    images[red, :, :, 0] += 120
    images[~red, :, :, 2] += 120
    images[light, : side // 2, :, 1] += 120
    images[~light, side // 2 :, :, 1] += 120
    return ArraySource(images, None, "coloured"), AttributeLabels(("red", "light"), np.stack([red, light], 1))


SMALL = TrainSettings(side=8, epochs=12, val_fraction=0.25)


@pytest.fixture(scope="module")
def small() -> Attributes:
    return train_attributes(*coloured(), SMALL)


@pytest.fixture
def file(small: Attributes, tmp_path: Path) -> Path:
    write_bundle(tmp_path / "small.safetensors", small.info, small.tensors)
    return tmp_path / "small.safetensors"


@pytest.mark.parametrize("kind", ["logistic", "cnn"])
def test_attributes_are_learned_and_told_of_new_images(kind: str):
    bundle = train_attributes(*coloured(), dataclasses.replace(SMALL, kind=kind, epochs=40))
    assert bundle.info.num_train == 60
    assert bundle.info.num_held_out == 20
    assert min(bundle.info.accuracy) >= 0.9
    found = accuracy(bundle, *coloured(60, seed=5, side=20))
    assert min(found.values()) >= 0.9
    assert list(found) == ["red", "light"]


def test_the_bundle_of_the_digits_tells_digits_it_never_saw():
    bundle = load_attributes("digits")
    test = open_bundled("digits", "test")
    assert bundle.names == tuple(f"is {digit}" for digit in range(10))
    assert bundle.info.data == "bundled:digits:train"
    found = accuracy(bundle, test, read_attribute_labels("own", test))
    assert min(found.values()) > 0.99
    assert np.mean(list(found.values())) > 0.997
    logits = bundle(np.stack(test.load(range(len(test)))))
    assert (logits.argmax(axis=1) == test.labels).mean() > 0.99


def test_the_bundle_that_ships_is_the_one_of_the_catalogue():
    entry = WEIGHTS["attributes-digits"]
    content = find_bundle("attributes-digits").read_bytes()
    assert len(content) == entry.size < 400_000
    assert hashlib.sha256(content).hexdigest() == entry.sha256
    info = read_info(find_bundle("digits"))
    assert (info.kind, info.side, info.num_train, info.num_held_out) == ("cnn", 16, 809, 90)


def test_training_repeats_itself_and_a_seed_changes_it(small: Attributes):
    state = torch.random.get_rng_state()
    again = train_attributes(*coloured(), SMALL)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert again.sha256 == small.sha256
    assert again.info == small.info
    other = train_attributes(*coloured(), dataclasses.replace(SMALL, seed=1))
    assert other.sha256 != small.sha256
    source, labels = coloured()
    flipped = train_attributes(source, labels._replace(values=~labels.values), SMALL)
    assert flipped.info.data_sha256 != small.info.data_sha256


def test_a_file_holds_the_bundle_whole(small: Attributes, file: Path):
    loaded = load_attributes(file)
    images = np.stack(coloured()[0].load(range(20)))
    np.testing.assert_array_equal(loaded(images), small(images))
    assert loaded.info == small.info
    assert loaded.sha256 == small.sha256 == tensors_sha256(small.tensors)
    assert loaded.side == 8
    again = file.with_name("again.safetensors")
    write_bundle(again, loaded.info, loaded.tensors)
    assert again.read_bytes() == file.read_bytes()
    assert load_attributes(str(file)).names == ("red", "light")


def test_forty_attributes_fit_in_a_file(tmp_path: Path):
    rng = np.random.default_rng(0)
    source, _ = coloured(60)
    labels = AttributeLabels(tuple(f"Attribute_{index}" for index in range(40)), rng.random((60, 40)) < 0.5)
    made = train_attributes(source, labels, TrainSettings(side=32, epochs=1))
    write_bundle(tmp_path / "forty.safetensors", made.info, made.tensors)
    loaded = load_attributes(tmp_path / "forty.safetensors")
    assert loaded(np.stack(source.load(range(3)))).shape == (3, 40)
    assert loaded.info.widths == (32, 64, 128, 128)


def test_an_image_has_the_same_logits_in_any_company(small: Attributes):
    images = np.random.default_rng(1).integers(0, 256, (70, 3, 17, 23), dtype=np.uint8)
    together = small(images)
    assert together.dtype == np.float32
    assert together.shape == (70, 2)
    np.testing.assert_array_equal(np.concatenate([small(image[None]) for image in images]), together)
    order = np.random.default_rng(2).permutation(70)
    np.testing.assert_array_equal(small(images[order]), together[order])
    np.testing.assert_array_equal(small(torch.from_numpy(images)), together)
    assert small(images[:0]).shape == (0, 2)


def test_the_logits_are_those_of_the_network_that_was_described(small: Attributes):
    """The header's description, computed with nothing of this project but the resize."""
    images = np.random.default_rng(1).integers(0, 256, (5, 3, 24, 24), dtype=np.uint8)
    x = prepare(torch.from_numpy(images), 8)
    assert x.min() >= -1
    assert x.max() <= 1
    x = x.double()
    for place in range(len(small.info.widths)):
        weight, bias = (small.tensors[f"convs.{place}.{name}"].double() for name in ("weight", "bias"))
        x = torch.relu(torch.nn.functional.conv2d(x, weight, bias, stride=2 if place else 1, padding=1))
    expected = x.flatten(1) @ small.tensors["linear.weight"].double().T + small.tensors["linear.bias"]
    np.testing.assert_allclose(small(images), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 8, 8), np.float32), r"take uint8 RGB images \(n, 3, h, w\), got torch.float32"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"got torch.uint8 \(2, 8, 8, 3\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"got torch.uint8 \(3, 8, 8\)"),
    ],
)
def test_other_arrays_are_refused(small: Attributes, images: object, message: str):
    with pytest.raises(UsageError, match=message):
        small(images)  # type: ignore[arg-type]


def header(file: Path) -> dict:
    return json.loads(json.dumps(dataclasses.asdict(read_info(file))))


def rewrite(file: Path, change: Callable[[dict, dict], object]) -> None:
    """Writes the file again with other fields or tensors."""
    fields, tensors = header(file), load_file(file)
    change(fields, tensors)
    save_file(tensors, file, {KEY: json.dumps(fields)})


def put(fields: dict, **values: object) -> None:
    fields.update(values)


DAMAGE: dict[str, tuple[Callable[[dict, dict], object], str]] = {
    "missing": (lambda f, t: t.pop("linear.bias"), r"no tensor 'linear.bias' \(1 are missing\)"),
    "foreign": (lambda f, t: t.update(x=torch.zeros(1)), "a tensor 'x' that the network does not have"),
    "shape": (lambda f, t: t.update({"linear.bias": torch.zeros(3)}), r"shape \(3,\) and should have \(2,\)"),
    "NaN": (lambda f, t: t["linear.bias"].fill_(float("nan")), "'linear.bias' holds NaN or infinite values"),
    "kind": (lambda f, t: put(f, kind="forest"), "its header says kind = 'forest'"),
    "version": (lambda f, t: put(f, version=2), "its header says version = 2"),
    "side": (lambda f, t: put(f, side=10**9), "its header says side = 1000000000"),
    "channels": (lambda f, t: put(f, channels=1), "its header says channels = 1"),
    "widths": (lambda f, t: put(f, widths=[32, -1]), r"its header says widths = \(32, -1\)"),
    "no widths": (lambda f, t: put(f, widths=[]), r"its header says widths = \(\)"),
    "names": (lambda f, t: put(f, names=["red", "red"]), r"its header says names = \('red', 'red'\)"),
    "accuracy": (lambda f, t: put(f, accuracy=[0.5, 7]), r"its header says accuracy = \(0.5, 7\)"),
    "field": (lambda f, t: f.pop("side"), "its header cannot be understood"),
    "further": (lambda f, t: put(f, colour="red"), "its header cannot be understood"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_bundle_is_refused(file: Path, name: str):
    change, message = DAMAGE[name]
    rewrite(file, change)
    with pytest.raises(WeightsError, match=f"small.safetensors is no attribute bundle: .*{message}"):
        load_attributes(file)


def test_other_files_are_refused(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(WeightsError, match="it cannot be read as safetensors"):
        load_attributes(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="its header has no 'evalkit_attributes'.*attributes train"):
        load_attributes(path)
    save_file({"weight": torch.zeros(2)}, path, {KEY: "[1, 2]"})
    with pytest.raises(WeightsError, match="its header cannot be understood"):
        load_attributes(path)


def test_names_that_are_not_known(tmp_path: Path):
    with pytest.raises(
        UsageError, match=r"unknown attribute bundle 'digit' \(nearest: digits\); known are dig"
    ):
        load_attributes("digit")
    with pytest.raises(
        UsageError, match=r"there is no attribute bundle at .*none.safetensors; check the path"
    ):
        load_attributes(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "forest"}, "--kind forest: choose logistic or cnn"),
        ({"side": 20}, "--side 20: choose one of 8, 16, 32"),
        ({"val_fraction": 0.0}, "--val-fraction 0: give a share above 0 and below 1"),
        ({"val_fraction": 1.0}, "--val-fraction 1: give a share"),
        ({"epochs": 0}, "--epochs 0: give 1 or more"),
        ({"seed": -1}, r"--seed -1: give a whole number from 0 to 2\^63 - 1"),
        ({"seed": 2**63}, r"--seed 9223372036854775808: give a whole number from 0 to 2\^63 - 1"),
    ],
)
def test_settings_that_cannot_be(change: dict, message: str):
    with pytest.raises(UsageError, match=message):
        train_attributes(*coloured(), dataclasses.replace(SMALL, **change))


def test_images_that_cannot_be_learned_from(monkeypatch: pytest.MonkeyPatch):
    source, labels = coloured()
    values = labels.values.copy()
    values[:, 1] = True
    with pytest.raises(
        SourceError, match="1 of 2 attributes are the same for all 60 images.*learned: light;"
    ):
        train_attributes(source, labels._replace(values=values), SMALL)
    with pytest.raises(SourceError, match="coloured has 2 images, of which 1 are kept apart"):
        train_attributes(*coloured(2), SMALL)
    with pytest.raises(SourceError, match=r"no attribute 'red' \(nearest: Red\), which the bundle tells"):
        accuracy(
            train_attributes(source, labels, dataclasses.replace(SMALL, epochs=1)),
            source,
            labels._replace(names=("Red", "light")),
        )
    monkeypatch.setattr(training.attributes, "prepare", lambda pixels, side: pixels * float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan after 1 steps"):
        train_attributes(source, labels, dataclasses.replace(SMALL, epochs=1, batch_size=60))
