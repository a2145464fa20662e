"""Files as people have them: every format and kind of pixel, the broken named, the hostile refused."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evalkit.errors import SourceError, UsageError
from evalkit.sources.base import ImageSource
from evalkit.sources.decode import decode
from evalkit.sources.resolve import resolve

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (16, 20, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (16, 20), dtype=np.uint8)


def peers_read(path: Path) -> np.ndarray:
    """What torch-fidelity, clean-fid and pytorch-fid do with a file."""
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize(
    "name",
    ["a.png", "a.PNG", "a.jpg", "a.JPEG", "a.webp", "a.bmp", "a.tif", "a.TIFF", "a.ppm", "deep/er/a.png"],
)
def test_formats_in_any_case_read_as_the_peers_read_them(tmp_path: Path, name: str):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(COLOUR).save(path)
    source = resolve(tmp_path)
    assert len(source) == 1
    np.testing.assert_array_equal(source.load([0])[0], peers_read(path))


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGBA", "LA"])
def test_modes_read_as_the_peers_read_them(tmp_path: Path, mode: str):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image = Image.fromarray(COLOUR).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(GREY))
    image.save(path)
    source = resolve(tmp_path)
    np.testing.assert_array_equal(source.load([0])[0], peers_read(path))
    noted = {"RGBA": "alpha", "LA": "alpha", "CMYK": "CMYK"}.get(mode)
    assert [noted in note for note in source.notes] == ([True] if noted else [])


def test_progressive_and_rotated_jpeg(tmp_path: Path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", progressive=True, exif=exif)
    source = resolve(tmp_path)
    assert source.load([0])[0].shape == (3, 16, 20)  # as stored: the orientation is not applied
    np.testing.assert_array_equal(source.load([0])[0], peers_read(tmp_path / "a.jpg"))
    assert any("orientation" in note for note in source.notes)


def test_sixteen_bits_are_scaled(tmp_path: Path):
    deep = np.arange(320, dtype=np.uint16).reshape(16, 20) * 204
    Image.fromarray(deep).save(tmp_path / "a.png")
    source = resolve(tmp_path)
    np.testing.assert_array_equal(source.load([0])[0], np.repeat((deep >> 8).astype(np.uint8)[None], 3, 0))
    assert any("16 bits" in note for note in source.notes)


def test_floats_have_no_white_and_are_refused(tmp_path: Path):
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(SourceError, match=r"a\.tif cannot be read .*floats.*which value is white"):
        resolve(tmp_path).load([0])


def test_grey_is_repeated():
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "PNG")
    np.testing.assert_array_equal(decode(buffer.getvalue(), "x"), np.repeat(GREY[None], 3, axis=0))


def test_the_order_is_that_of_the_names_and_hidden_files_are_passed_over(tmp_path: Path):
    for i, name in enumerate(["b.png", "a/z.png", "a.png", ".hidden.png", "__MACOSX/c.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    source = resolve(tmp_path)
    assert [int(image[0, 0, 0]) for image in source.load(range(len(source)))] == [2, 1, 0]


def test_a_truncated_file_is_named_and_can_be_left_out(tmp_path: Path):
    for i in range(4):
        noise = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    bad = tmp_path / "2.png"
    bad.write_bytes(bad.read_bytes()[:-2000])
    with pytest.raises(SourceError, match=r"2\.png cannot be read as an image .* --skip-broken"):
        resolve(tmp_path).load(range(4))
    source = resolve(tmp_path, skip_broken=True)
    assert len(source) == 3
    assert source.broken == (str(bad),)
    assert len(source.load(range(3))) == 3


def test_nothing_left_after_skipping_is_an_error(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(SourceError, match="none of its 1 images can be read"):
        resolve(tmp_path, skip_broken=True)


def test_symbolic_links_that_go_round_end(tmp_path: Path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(resolve(tmp_path)) == 1


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "b/../../a.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_that_leave_their_folder_are_refused(tmp_path: Path, kind: str, name: str):
    path = tmp_path / f"evil.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, png())
    else:
        with tarfile.open(path, "w") as tar:
            info = tarfile.TarInfo(name)
            info.size = len(png())
            tar.addfile(info, io.BytesIO(png()))
    with pytest.raises(SourceError, match="evil"):
        resolve(path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_decompression_bombs_are_refused(tmp_path: Path, kind: str):
    path, content = tmp_path / f"bomb.{kind}", b"\0" * 150_000_000
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", content)
    else:
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("a.png")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(SourceError, match=r"swells .* as a decompression bomb does"):
        resolve(path)


def test_files_that_are_not_what_they_say(tmp_path: Path):
    for name in ("a.zip", "a.tar", "a.tar.gz", "a.npz", "a.npy"):
        (tmp_path / name).write_bytes(b"not that at all" * 100)
        with pytest.raises(SourceError, match=f"{name}"):
            resolve(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "spec", "message"),
    [
        (
            {"arr_0": np.zeros((3, 8, 8, 3), np.float32)},
            "",
            "holds float32, and images must be uint8; round floats",
        ),
        ({"arr_0": np.zeros((3, 8, 8, 3), np.int64)}, "", "holds int64.* save them as uint8"),
        ({"arr_0": np.zeros((0, 8, 8, 3), np.uint8)}, "", "is empty"),
        ({"arr_0": np.zeros((3, 3, 8, 3), np.uint8)}, "", "channels can be the second or the last axis"),
        ({"arr_0": np.zeros((8, 8, 3), np.uint8)}, "", "one image or several grey ones"),
        ({"arr_0": np.zeros((3, 8), np.uint8)}, "", r"has shape \(3, 8\); accepted are"),
        ({"x": np.zeros(3), "y": np.zeros(4)}, "", "no array of images"),
        (
            {
                "train_images": np.zeros((3, 8, 8, 3), np.uint8),
                "test_images": np.zeros((3, 8, 8, 3), np.uint8),
            },
            "",
            "several arrays of images; choose one by .*:train or .*:test",
        ),
        ({"test_images": np.zeros((3, 8, 8, 3), np.uint8)}, ":tset", r"no array 'tset' .*\(nearest: test"),
        (
            {"images": np.zeros((3, 8, 8, 3), np.uint8), "labels": np.zeros(2, np.int64)},
            "",
            "one whole number for each of the 3 images",
        ),
        ({"arr_0": np.array([{"a": 1}], dtype=object)}, "", "pickled Python objects, which are never loaded"),
    ],
)
def test_arrays_that_are_no_images(tmp_path: Path, arrays: dict, spec: str, message: str):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(SourceError, match=message):
        resolve(f"{tmp_path / 'a.npz'}{spec}")


def test_large_arrays_are_mapped_and_read_alike(tmp_path: Path):
    from evalkit.sources.npz import open_npz

    images = RNG.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images)
    mapped = open_npz(tmp_path / "a.npz", map_above=0)
    np.testing.assert_array_equal(np.stack(mapped.load(range(9))), images.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("bundled:digit", UsageError, "unknown source 'digit' .*digits"),
        ("bundled:digits:tset", UsageError, "unknown source 'tset' .*test"),
        ("cifar10", UsageError, "cifar10 needs a split: write cifar10:train or cifar10:test"),
        ("cifar10:tset", UsageError, r"cifar10 has no split 'tset' \(nearest: test"),
        ("cifra10:train", SourceError, r"unknown source 'cifra10:train' \(nearest: .*cifar10"),
        ("hf:name", UsageError, "write hf:NAME:SPLIT"),
        (3.5, UsageError, "float is no source of images"),
    ],
)
def test_spellings_that_mean_nothing(given: object, error: type, message: str):
    with pytest.raises(error, match=message):
        resolve(given)


def test_a_data_set_that_is_not_there_says_how_to_get_it(tmp_path: Path):
    with pytest.raises(SourceError, match=r"cifar10:test is not in .* --root, or allow .* --download"):
        resolve("cifar10:test", root=tmp_path)


def test_a_torchvision_data_set_is_read_from_its_own_files(tmp_path: Path):
    """MNIST's own file format, written here: magic number, axes, bytes."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    labels = np.arange(6, dtype=np.uint8)
    for split in ("train", "t10k"):
        head = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(
            b"\0\0\x08\x01" + (6).to_bytes(4, "big") + labels.tobytes()
        )
    source = resolve("mnist:test", root=tmp_path)
    assert isinstance(source, ImageSource)
    np.testing.assert_array_equal(np.stack(source.load(range(6)))[:, 1], images)
    np.testing.assert_array_equal(source.labels, labels)


def test_missing_hugging_face_package_names_the_extra():
    try:
        import datasets  # noqa: F401
    except ImportError:
        with pytest.raises(SourceError, match=r"pip install 'evalkit\[hf\]'"):
            resolve("hf:some/name:test")
    else:
        with pytest.raises(SourceError, match="--download"):
            resolve("hf:some/name:test")


def test_one_image_is_not_a_folder(tmp_path: Path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    with pytest.raises(SourceError, match="is one image; name the folder it is in"):
        resolve(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(SourceError, match="no kind of file that holds images"):
        resolve(tmp_path / "a.txt")


def test_real_data_by_name(data_dir: Path):
    source = resolve(f"{data_dir / 'cifar10.npz'}:test")
    assert len(source) == 10_000
    assert np.bincount(source.labels).tolist() == [1000] * 10
    faces = resolve(data_dir / "kodak")
    assert len(faces) == 8
    np.testing.assert_array_equal(faces.load([3])[0], peers_read(data_dir / "kodak" / "kodim04.png"))
