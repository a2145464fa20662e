"""Archives: the layouts people pack, the traps, and reading from several threads and processes at once."""

from __future__ import annotations

import concurrent.futures
import gc
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evalkit.errors import SourceError
from evalkit.sources.labels import labels_of
from evalkit.sources.resolve import resolve

RNG = np.random.default_rng(2)


def png(value: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 250, (9, 9, 3), dtype=np.uint8) + np.uint8(value)).save(buffer, "PNG")
    return buffer.getvalue()


def pack_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **fields) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(content))


def pack_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            add(archive, name, content)
    return path


FILES = {f"{i // 3}/{i}.png": png() for i in range(7)}


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_zip_methods(tmp_path: Path, method: int):
    source = resolve(pack_zip(tmp_path / "a.zip", FILES, method))
    assert source.fingerprint == resolve(pack_tar(tmp_path / "a.tar", FILES)).fingerprint


@pytest.mark.parametrize(("mode", "ending"), [("w:gz", "tgz"), ("w:bz2", "tar.bz2"), ("w:xz", "TAR.XZ")])
def test_tar_compressions(tmp_path: Path, mode: str, ending: str):
    packed = resolve(pack_tar(tmp_path / f"a.{ending}", FILES, mode))
    plain = resolve(pack_tar(tmp_path / "a.tar", FILES))
    assert packed.fingerprint == plain.fingerprint
    np.testing.assert_array_equal(np.stack(packed.load(range(7))), np.stack(plain.load(range(7))))


def test_the_order_in_an_archive_is_that_of_a_folder(tmp_path: Path):
    backwards = dict(reversed(FILES.items()))
    folder = tmp_path / "folder"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    expected = resolve(folder).fingerprint
    assert resolve(pack_zip(tmp_path / "a.zip", backwards)).fingerprint == expected
    with_dots = {f"./{name}": content for name, content in backwards.items()}
    assert resolve(pack_tar(tmp_path / "a.tar", with_dots)).fingerprint == expected


@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_everything_in_one_folder_has_the_labels_of_that_folder(tmp_path: Path, pack):
    table = json.dumps({"labels": [[name, i] for i, name in enumerate(FILES)]}).encode()
    for inside in ("", "data/"):
        files = {f"{inside}{name}": content for name, content in {**FILES, "dataset.json": table}.items()}
        source = resolve(pack(tmp_path / f"a.{'zip' if pack is pack_zip else 'tar'}", files))
        np.testing.assert_array_equal(source.labels, np.arange(7))


def test_macos_extras_are_passed_over(tmp_path: Path):
    extras = {"__MACOSX/0/._0.png": b"x", "0/._0.png": b"x", ".DS_Store": b"x"}
    assert len(resolve(pack_zip(tmp_path / "a.zip", {**FILES, **extras}))) == len(FILES)


def test_links_in_a_tar(tmp_path: Path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "a.png", png())
        add(archive, "b.png", type=tarfile.LNKTYPE, linkname="a.png")
    source = resolve(path)
    first, second = source.load(range(2))
    np.testing.assert_array_equal(first, second)
    with tarfile.open(path, "a") as archive:
        add(archive, "c.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    with pytest.raises(SourceError, match=r"c\.png is a link or a special file.*--dereference"):
        resolve(path)


@pytest.mark.parametrize("name", ["C:\\a.png", "..\\a.png", "a/../../b.png", "\\a.png"])
def test_names_of_other_systems_that_leave_the_folder(tmp_path: Path, name: str):
    with pytest.raises(SourceError, match="leads out of the archive's folder"):
        resolve(pack_tar(tmp_path / "a.tar", {name: png()}))


def test_an_encrypted_entry_is_refused(tmp_path: Path):
    path = pack_zip(tmp_path / "a.zip", {"a.png": png()})
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1  # the flag of encryption, in both headers
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.png is encrypted; unpack the archive"):
        resolve(path)


def test_a_flipped_byte_in_a_zip_is_found_and_named(tmp_path: Path):
    path = pack_zip(tmp_path / "a.zip", {"a.png": png(), "b.png": png()})
    content = bytearray(path.read_bytes())
    content[content.index(b"b.png") + 80] ^= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.zip: b\.png cannot be read .*--skip-broken"):
        resolve(path).load(range(2))
    source = resolve(path, skip_broken=True)
    assert (len(source), source.broken) == (1, (f"{path}: b.png",))


@pytest.mark.parametrize("kept", [0.1, 0.25, 0.3])
@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_cut_archives_are_refused(tmp_path: Path, ending: str, kept: float):
    mode = "w:gz" if ending == "tar.gz" else "w"
    path = tmp_path / f"a.{ending}"
    path = pack_zip(path, FILES) if ending == "zip" else pack_tar(path, FILES, mode)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(SourceError, match=r"cannot be read as a (zip|tar) archive .*cut off"):
        resolve(path)


def test_a_damaged_header_inside_a_tar_hides_nothing(tmp_path: Path):
    path = pack_tar(tmp_path / "a.tar", FILES)
    content = bytearray(path.read_bytes())
    content[content.index(b"1/4.png")] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        SourceError, match="cannot be read as a tar archive .*no end of archive after 4 files"
    ):
        resolve(path)


@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_archives_without_images(tmp_path: Path, pack):
    path = pack(tmp_path / f"a.{'zip' if pack is pack_zip else 'tar'}", {"readme.txt": b"", "a.gif": b""})
    with pytest.raises(SourceError, match="holds no image among its 2 entries; accepted are PNG"):
        resolve(path)


def test_nothing_is_left_behind_by_a_decompressed_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    source = resolve(pack_tar(tmp_path / "a.tar.gz", FILES, "w:gz"))
    source.load([0])
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    del source
    gc.collect()
    if handles is not None:
        assert len(os.listdir("/proc/self/fd")) < handles


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_threads_read_one_archive_at_once(tmp_path: Path, ending: str):
    source = resolve((pack_zip if ending == "zip" else pack_tar)(tmp_path / f"a.{ending}", FILES))
    whole = source.load(range(7))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for index, images in enumerate(pool.map(lambda i: source.load([i % 7, 6 - i % 7]), range(70))):
            np.testing.assert_array_equal(images[0], whole[index % 7])
            np.testing.assert_array_equal(images[1], whole[6 - index % 7])


@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_reads_beside_its_parent(tmp_path: Path, ending: str):
    source = resolve((pack_zip if ending == "zip" else pack_tar)(tmp_path / f"a.{ending}", FILES))
    whole = np.stack(source.load(range(7)))
    child = os.fork()
    for _ in range(50):
        equal = np.array_equal(np.stack([source.load([i])[0] for i in range(7)]), whole)
        if not equal:
            break
    if child == 0:
        os._exit(0 if equal else 1)
    assert equal
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat/1.png", "cat/2.png", "dog/1.png"], [0, 0, 1]),
        (["0/a.png", "1/a.png", "10/a.png", "2/a.png"], [0, 1, 2, 3]),
        (["cat/deep/1.png", "dog/1.png"], [0, 1]),
        (["cat/1.png", "cat/2.png"], None),
        (["cat/1.png", "dog/1.png", "loose.png"], None),
        (["00000/img00000000.png", "00001/img00001000.png"], None),
        (["a.png", "b.png"], None),
    ],
)
def test_first_level_folders_are_classes_where_they_can_be(names: list[str], expected: list[int] | None):
    labels = labels_of(names, None, "x")
    assert (None if labels is None else labels.tolist()) == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"{", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"{}", "KeyError"),
        (b'{"labels": 3}', "TypeError"),
        (b'{"labels": [["a.png", 1]]}', r"no label for b\.png"),
        (b'{"labels": [["a.png", 1], ["b.png", [0.5, 0.5]]]}', r"the label \[0\.5, 0\.5\] for b\.png"),
        (b'{"labels": [["a.png", 1], ["b.png", true]]}', "the label True"),
    ],
)
def test_a_table_of_labels_that_cannot_be_used(table: bytes, message: str):
    with pytest.raises(SourceError, match=rf"x: dataset\.json .*{message}.* expected is"):
        labels_of(["a.png", "b.png"], table, "x")


def test_a_table_that_says_there_are_none():
    assert labels_of(["cat/1.png", "dog/1.png"], b'{"labels": null}', "x") is None
