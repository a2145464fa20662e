"""What every source promises, by table: the same images, order and fingerprint however they are asked for."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evalkit.errors import SourceError
from evalkit.sources.base import ImageSource
from evalkit.sources.resolve import describe_sources, resolve

NUM = 7
PIXELS = np.random.default_rng(0).integers(0, 256, (NUM, 12, 10, 3), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9, 2])


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def names() -> list[str]:
    return [f"00000/img{i:08d}.png" for i in range(NUM)]


def dataset_json() -> str:
    return json.dumps({"labels": [[name, int(label)] for name, label in zip(names(), LABELS, strict=True)]})


def as_folder(folder: Path, pixels: np.ndarray) -> object:
    root = folder / "images"
    for name, image in zip(names(), pixels, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(image))
    (root / "dataset.json").write_text(dataset_json())
    return root


def as_zip(folder: Path, pixels: np.ndarray) -> object:
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, image in zip(names(), pixels, strict=True):
            archive.writestr(name, png(image))
        archive.writestr("dataset.json", dataset_json())
    return path


def as_tar(folder: Path, pixels: np.ndarray, mode: str = "w", ending: str = "tar") -> object:
    path = folder / f"images.{ending}"
    with tarfile.open(path, mode) as archive:
        entries = [*((name, png(image)) for name, image in zip(names(), pixels, strict=True))]
        for name, content in [*entries, ("dataset.json", dataset_json().encode())]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def as_npz(folder: Path, pixels: np.ndarray) -> object:
    np.savez_compressed(folder / "images.npz", arr_0=pixels, arr_1=LABELS)
    return folder / "images.npz"


def as_split(folder: Path, pixels: np.ndarray) -> object:
    path = folder / "splits.npz"
    np.savez(path, train_images=pixels[:2], test_images=pixels, test_labels=LABELS)
    return f"{path}:test"


def as_npy(folder: Path, pixels: np.ndarray) -> object:
    np.save(folder / "images.npy", pixels)
    return folder / "images.npy"


class Items(torch.utils.data.Dataset):
    """Pillow images with labels, as torchvision's data sets have them."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.targets = LABELS.tolist()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.pixels[index]), self.targets[index]


def as_callable(pixels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def images(seeds: np.ndarray) -> np.ndarray:
        return pixels[seeds]

    return images


SOURCES: dict[str, tuple[Callable[[Path, np.ndarray], object], bool]] = {
    "folder": (as_folder, True),
    "zip": (as_zip, True),
    "tar": (as_tar, True),
    "tar.gz": (lambda folder, pixels: as_tar(folder, pixels, "w:gz", "tar.gz"), True),
    "tar.xz": (lambda folder, pixels: as_tar(folder, pixels, "w:xz", "tar.xz"), True),
    "npz": (as_npz, True),
    "npz split": (as_split, True),
    "npy": (as_npy, False),
    "array NHWC": (lambda folder, pixels: pixels, False),
    "array NCHW": (lambda folder, pixels: np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), False),
    "tensor": (lambda folder, pixels: torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()), False),
    "dataset": (lambda folder, pixels: Items(pixels), True),
    "callable": (lambda folder, pixels: as_callable(pixels), False),
}


def make(kind: str, folder: Path, pixels: np.ndarray = PIXELS, **options) -> ImageSource:
    folder.mkdir(parents=True, exist_ok=True)
    found = resolve(SOURCES[kind][0](folder, pixels), usual_num=NUM, **options)
    assert isinstance(found, ImageSource)
    return found


@pytest.mark.parametrize("kind", SOURCES)
def test_images_come_back_in_order_as_uint8_rgb(kind: str, tmp_path: Path):
    source = make(kind, tmp_path)
    assert len(source) == NUM
    images = source.load(range(NUM))
    assert all(image.dtype == np.uint8 and image.shape == (3, 12, 10) for image in images)
    np.testing.assert_array_equal(np.stack(images), PIXELS.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("kind", SOURCES)
def test_any_way_of_asking_gives_the_same_images(kind: str, tmp_path: Path):
    source = make(kind, tmp_path)
    whole = source.load(range(NUM))
    for order in ([6, 0, 3], [2], [1, 1], list(range(NUM))[::-1]):
        for index, image in zip(order, source.load(order), strict=True):
            np.testing.assert_array_equal(image, whole[index])
    for size in (1, 2, 100):
        batched = [image for _, batch in source.batches(size) for image in batch]
        np.testing.assert_array_equal(np.stack(batched), np.stack(whole))


@pytest.mark.parametrize("kind", SOURCES)
def test_labels_are_there_where_the_data_has_them(kind: str, tmp_path: Path):
    source = make(kind, tmp_path)
    if not SOURCES[kind][1]:
        assert source.labels is None
        return
    assert source.labels is not None
    assert source.labels.dtype == np.int64
    np.testing.assert_array_equal(source.labels, LABELS)


@pytest.mark.parametrize("kind", SOURCES)
def test_equal_content_has_an_equal_fingerprint_and_one_pixel_another(kind: str, tmp_path: Path):
    one = make(kind, tmp_path / "one")
    other = PIXELS.copy()
    other[-1, 3, 3, 1] ^= 1
    assert one.fingerprint == make(kind, tmp_path / "two").fingerprint
    assert one.fingerprint != make(kind, tmp_path / "three", other).fingerprint
    assert one.fingerprint != make(kind, tmp_path / "four", PIXELS[::-1].copy()).fingerprint


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind != "callable"])
def test_limits_take_the_first_or_draw_by_a_seed(kind: str, tmp_path: Path):
    source = make(kind, tmp_path, limit=4)
    assert len(source) == 4
    np.testing.assert_array_equal(np.stack(source.load(range(4))), PIXELS[:4].transpose(0, 3, 1, 2))
    drawn = make(kind, tmp_path / "drawn", limit=4, subset_seed=1)
    again = make(kind, tmp_path / "again", limit=4, subset_seed=1)
    assert drawn.fingerprint == again.fingerprint != source.fingerprint
    if drawn.labels is not None:
        assert len(drawn.labels) == 4


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind != "callable"])
def test_a_limit_above_what_there_is_says_how_many_there_are(kind: str, tmp_path: Path):
    with pytest.raises(SourceError, match=r"has 7 images and the limit asks for 8"):
        make(kind, tmp_path, limit=8)


def test_equal_files_and_equal_pixels_are_equal_in_any_container(tmp_path: Path):
    files = {make(kind, tmp_path / kind).fingerprint for kind in ("folder", "zip", "tar", "tar.gz", "tar.xz")}
    pixels = {
        make(kind, tmp_path / kind).fingerprint for kind in ("npy", "array NHWC", "array NCHW", "tensor")
    }
    labelled = {make(kind, tmp_path / kind).fingerprint for kind in ("npz", "npz split", "dataset")}
    assert len(files) == len(pixels) == len(labelled) == 1


def test_labels_are_part_of_the_fingerprint(tmp_path: Path):
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=LABELS)
    np.savez(tmp_path / "b.npz", images=PIXELS, labels=LABELS[::-1])
    assert resolve(tmp_path / "a.npz").fingerprint != resolve(tmp_path / "b.npz").fingerprint


def test_the_bundled_digits_are_two_disjoint_halves():
    train, test, everything = (resolve(f"bundled:digits{split}") for split in (":train", ":test", ""))
    assert (len(train), len(test), len(everything)) == (899, 898, 1797)
    assert train.load([0])[0].shape == (3, 32, 32)
    np.testing.assert_array_equal(everything.load([1])[0], test.load([0])[0])
    assert set(train.labels) == set(test.labels) == set(range(10))
    assert not set(train.item_digests(range(899))) & set(test.item_digests(range(898)))
    values = np.unique(np.stack(everything.load(range(200))))
    assert values.min() == 0
    assert values.max() == 255


def test_every_spelling_is_described():
    spellings = " ".join(describe_sources())
    for word in (
        "FOLDER",
        ".zip",
        ".tar",
        ".npz",
        ".npy",
        "cifar10:",
        "stl10:",
        "hf:",
        "bundled:digits",
        "module:",
    ):
        assert word in spellings
