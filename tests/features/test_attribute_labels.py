"""Tables of attributes: which line is of which image, and tables that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evalkit.errors import SourceError, UsageError
from evalkit.features.attribute_labels import read_attribute_labels
from evalkit.sources.arrays import ArraySource
from evalkit.sources.base import ImageSource
from evalkit.sources.bundled import open_bundled
from evalkit.sources.resolve import resolve

NAMES = ("a/one.png", "a/two.png", "b/one.png", "b/three.png")
EXPECTED = [[True, False], [False, False], [True, True], [False, True]]


@pytest.fixture
def folder(tmp_path: Path) -> ImageSource:
    for name in NAMES:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    found = resolve(str(tmp_path / "images"))
    assert isinstance(found, ImageSource)
    return found


def table(tmp_path: Path, text: str) -> str:
    (tmp_path / "table").write_text(text, encoding="utf-8")
    return str(tmp_path / "table")


def test_own_labels_become_one_attribute_a_class():
    source = open_bundled("digits", "test")
    labels = read_attribute_labels("own", source)
    assert labels.names == tuple(f"is {digit}" for digit in range(10))
    assert labels.values.dtype == np.bool_
    np.testing.assert_array_equal(labels.values.argmax(axis=1), source.labels)
    assert (labels.values.sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    "text",
    [
        "file,smile,hat\na/one.png,1,0\na/two.png,0,0\nb/one.png,1,1\nb/three.png,0,1\n",
        "file,smile,hat\nb/three.png,-1,1\nb/one.png,1,1\na/one.png,1,-1\na/two.png,-1,-1\n",
        "\ufefff, smile, hat\r\n\r\na/one.png, 1.0,0\r\ntwo.png,0,0\r\nimages/b/one.png,1,1\r\nthree.png,0,1",
        "index,smile,hat\n0,1,0\n1,0,0\n3,0,1\n2,1,1\n",
        "4\nsmile hat\na/one.png  1 -1\na/two.png -1 -1\nb/one.png  1  1\nb/three.png -1  1\n",
        "5\nsmile hat\na/one.png 1 -1\nno.png 1 1\na/two.png -1 -1\nb/one.png 1 1\nb/three.png -1 1\n",
    ],
    ids=["names", "signs and order", "spaces", "numbers", "celeba", "celeba of more images"],
)
def test_tables_of_every_form(folder: ImageSource, tmp_path: Path, text: str):
    labels = read_attribute_labels(table(tmp_path, text), folder)
    assert labels.names == ("smile", "hat")
    assert labels.values.tolist() == EXPECTED


def test_an_archive_is_named_as_its_folder(tmp_path: Path, folder: ImageSource):
    import shutil

    shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "images")
    text = "file,hat\na/one.png,1\ntwo.png,0\nb/one.png,1\nb/three.png,0\n"
    labels = read_attribute_labels(table(tmp_path, text), resolve(str(tmp_path / "set.zip")))  # type: ignore[arg-type]
    assert labels.values[:, 0].tolist() == [True, False, True, False]


def test_images_in_an_array_are_named_by_number(tmp_path: Path):
    source = ArraySource(np.zeros((2, 8, 8, 3), np.uint8))
    assert read_attribute_labels(table(tmp_path, "n,hat\n0,1\n1,0\n"), source).values.tolist() == [
        [True],
        [False],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,hat\na/one.png,1\na/two.png,0\nb/one.png,0\n",
            "has no labels for 1 of the 4 images of .*images, such as .*three.png; add their lines",
        ),
        (
            "file,hat\na/on.png,1\n",
            r"line 2: .* has no image 'a/on.png' \(nearest: a/one.png.*correct the name",
        ),
        ("file,hat\none.png,1\n", "line 2: several images of .* are called 'one.png'; write more of"),
        ("file,hat\n0,1\n7,1\n", r"line 3: .* has no image '7' \(it has images 0 to 3\)"),
        ("file,hat\n0,1\n1,0\n0,1\n", "lines 2 and 4 are both of .*one.png; leave one"),
        ("file,hat,nose\n0,1,0\n1,0,2\n", "line 3: nose is '2'; attributes are 0 and 1, or -1 and 1"),
        ("file,hat\n0,yes\n", "line 2: hat is 'yes'; attributes are 0 and 1"),
        ("file,hat\n0,\n", "line 2: hat is ''; attributes are 0 and 1"),
        ("file,hat,nose\n0,1,-1\n1,0,1\n", r"-1 \(line 2, nose\) and 0 \(line 3, hat\)"),
        ("file,hat\n0,1,1\n", "line 2 has 3 columns, and an image and 1 attributes make 2"),
        ("file,hat,hat\n0,1,1\n", "names the attributes hat, hat in its header; give each"),
        ("file\n0\n", r"names the attributes \(none\) in its header"),
        ("", "is empty; its first line should name the attributes"),
        (
            "9\nsmile hat\na/one.png 1 -1\n",
            "says that it lists 9 images and has 1 lines of them; it is cut off",
        ),
        (
            "4\nsmile hat\na/one.png 1 -1\na/two.png 1 1\nb/one.png 1 1\nx.png 1 1\n",
            "no labels for 1 of the 4",
        ),
    ],
)
def test_tables_that_cannot_be_meant(folder: ImageSource, tmp_path: Path, text: str, message: str):
    with pytest.raises(SourceError, match=message):
        read_attribute_labels(table(tmp_path, text), folder)


def test_no_labels_to_read(folder: ImageSource, tmp_path: Path):
    with pytest.raises(UsageError, match="--labels nowhere.csv: there is no such file; give `own`"):
        read_attribute_labels("nowhere.csv", folder)
    with pytest.raises(SourceError, match=r"array\[2, 8, 8, 3\] has no labels of its own; name a CSV"):
        read_attribute_labels("own", ArraySource(np.zeros((2, 8, 8, 3), np.uint8)))
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(SourceError, match="image.png cannot be read as a table of labels"):
        read_attribute_labels(str(tmp_path / "image.png"), folder)
