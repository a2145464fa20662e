"""Data sets as objects and by name: torch's, torchvision's and Hugging Face's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from evalkit.errors import SourceError, UsageError
from evalkit.sources.resolve import resolve
from evalkit.sources.torch_dataset import DATASETS

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 256, (20, 9, 11, 3), dtype=np.uint8)


class Items:
    """A map-style data set of any items."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.reads = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item


def images() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in PIXELS]


@pytest.mark.parametrize(
    "items",
    [
        images(),
        [(image, 0) for image in images()],
        [torch.from_numpy(pixels.transpose(2, 0, 1).copy()) for pixels in PIXELS],
        [(pixels, "text") for pixels in PIXELS],
    ],
    ids=["pillow", "pillow and label", "tensor", "array and text"],
)
def test_items_of_any_usual_form(items: list[Any]):
    source = resolve(Items(items))
    np.testing.assert_array_equal(np.stack(source.load(range(20))), PIXELS.transpose(0, 3, 1, 2))
    assert (source.labels is not None) == (isinstance(items[0], tuple) and items[0][1] == 0)


def test_grey_tensors_have_two_axes_or_three():
    grey = PIXELS[..., 0]
    for items in (
        [torch.from_numpy(g.copy()) for g in grey],
        [torch.from_numpy(g[None].copy()) for g in grey],
    ):
        np.testing.assert_array_equal(
            np.stack(resolve(Items(items)).load(range(20))), np.repeat(grey[:, None], 3, axis=1)
        )


@pytest.mark.parametrize("label", [int, np.int64, torch.tensor], ids=["int", "numpy", "tensor"])
def test_labels_of_items_are_read_once(label: Any):
    data = Items([(image, label(i % 3)) for i, image in enumerate(images())])
    source = resolve(data)
    np.testing.assert_array_equal(source.labels, np.arange(20) % 3)
    named = Items(images())
    named.targets = [i % 3 for i in range(20)]
    assert source.fingerprint == resolve(named).fingerprint
    assert data.reads <= 1 + 20 + 8  # the first look, one pass for labels and digests, the second reading


def test_a_part_of_a_data_set_keeps_its_labels():
    data = Items([(image, i) for i, image in enumerate(images())])
    part = torch.utils.data.Subset(data, [4, 2, 7])  # type: ignore[arg-type]
    np.testing.assert_array_equal(resolve(part).labels, [4, 2, 7])


def test_random_transforms_are_found():
    class Augmented(Items):
        def __getitem__(self, index: int) -> Any:
            image = PIXELS[index]
            return image[:, ::-1] if np.random.default_rng().random() < 0.5 else image

    with pytest.raises(SourceError, match="is another image each time it is read; leave random transforms"):
        _ = resolve(Augmented(list(PIXELS))).fingerprint


@pytest.mark.parametrize("labelled", [False, True])
def test_an_item_that_raises_is_named_and_can_be_left_out(labelled: bool):
    items: list[Any] = [(image, i) if labelled else image for i, image in enumerate(images())]
    items[3] = OSError("no such file")
    with pytest.raises(SourceError, match=r"image 3 of dataset Items .*OSError: no such file.*--skip-broken"):
        resolve(Items(items)).load(range(20))
    source = resolve(Items(items), skip_broken=True)
    assert (len(source), source.broken) == (19, ("image 3 of dataset Items",))
    if labelled:
        assert 3 not in source.labels
        assert len(source.labels) == 19
    assert len(source.fingerprint) == 64


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([torch.zeros(3, 8, 8)], "holds float32, and images must be uint8; round floats by evalkit"),
        ([torch.zeros(3, 8, 8, dtype=torch.int64)], "holds int64"),
        ([torch.zeros(5, 8, 9, dtype=torch.uint8)], "accepted are"),
        (["a.png"], "is of type str; expected is a Pillow image"),
        ([{"image": 1}], "is of type dict; expected is a Pillow image"),
        ([None], "is of type NoneType"),
    ],
)
def test_items_that_are_no_images(items: list[Any], message: str):
    with pytest.raises(SourceError, match=f"image 0 of dataset Items .*{message}"):
        resolve(Items(items)).load([0])


def test_an_empty_data_set():
    with pytest.raises(SourceError, match="dataset Items holds no image"):
        resolve(Items([]))


def test_a_data_set_without_a_length():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(PIXELS)

    with pytest.raises(UsageError, match="Stream is no source of images"):
        resolve(Stream())


@pytest.mark.parametrize("name", DATASETS)
def test_every_name_and_split_reaches_its_torchvision_class(name: str, tmp_path: Path):
    for split in DATASETS[name].splits:
        with pytest.raises(
            SourceError, match=rf"{name}:{split.replace('+', '.')} is not in .*--root.*--download"
        ):
            resolve(f"{name}:{split}", root=tmp_path)


def test_torchvision_is_not_run_for_an_unknown_split(tmp_path: Path):
    with pytest.raises(UsageError, match=r"stl10 has no split 'unlabelled' \(nearest: unlabeled"):
        resolve("stl10:unlabelled", root=tmp_path)


# ------------------------------------------------------------------------------------------ Hugging Face


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    datasets = pytest.importorskip("datasets", reason="the extra hf is not installed")
    kinds = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    return datasets.Dataset.from_dict(
        {"image": images(), "label": [i % 3 for i in range(20)]}, features=kinds
    )


def test_a_saved_folder_and_the_object_itself(saved: Any, tmp_path: Path):
    saved.save_to_disk(str(tmp_path / "one"))
    source = resolve(tmp_path / "one")
    np.testing.assert_array_equal(np.stack(source.load(range(20))), PIXELS.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(source.labels, np.arange(20) % 3)
    assert source.fingerprint == resolve(saved).fingerprint


def test_a_saved_folder_of_splits(saved: Any, tmp_path: Path):
    import datasets

    datasets.DatasetDict(train=saved, test=saved.select([1, 2])).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(SourceError, match="holds several splits; write hf:.*:train or hf:.*:test"):
        resolve(tmp_path / "two")
    assert len(resolve(f"hf:{tmp_path / 'two'}:test")) == 2
    with pytest.raises(SourceError, match=r"no split 'tset' \(nearest: test\); it has train, test"):
        resolve(f"hf:{tmp_path / 'two'}:tset")


def test_columns_of_images(saved: Any, tmp_path: Path):
    import datasets

    with pytest.raises(SourceError, match="no column of type Image"):
        resolve(saved.remove_columns("image"))
    two = datasets.concatenate_datasets(
        [saved, saved.select_columns("image").rename_column("image", "mask")], axis=1
    )
    with pytest.raises(SourceError, match="several image columns"):
        resolve(two)


def test_nothing_is_asked_of_the_hub_unless_that_is_allowed():
    pytest.importorskip("datasets", reason="the extra hf is not installed")
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('the network was asked')\n"
        "socket.getaddrinfo = refuse\n"
        "from evalkit.sources.resolve import resolve\n"
        "from evalkit.errors import SourceError\n"
        "try: resolve('hf:evalkit-test/nothing:train')\n"
        "except SourceError as error: assert '--download' in str(error), error\n"
        "else: raise SystemExit('found what is not there')\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
