"""Images inside a zip or tar archive, StyleGAN's data set layout included; nothing is unpacked by name.

The order is that of a folder with the same files. A later entry replaces an earlier one of the same name, as
unpacking would have it. Refused: names that leave the archive's folder, entries that swell absurdly when
decompressed, encryption, symbolic links to images. A compressed tar has no random access, so it is
decompressed once to a nameless temporary file in the cache folder, which vanishes with the process.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from evalkit.errors import SourceError
from evalkit.files import cache_root, explain_os_errors
from evalkit.sources.decode import ACCEPTED, broken, is_image_name
from evalkit.sources.encoded import EncodedSource
from evalkit.sources.labels import DATASET_JSON, labels_of

# Images are compressed already: whatever shrinks a hundredfold once more is a trap, or one colour throughout.
MAX_RATIO = 100
FREE_BYTES = 1 << 20  # small entries may shrink as they like
MAX_ENTRY_BYTES = 1 << 30

ZIP_ENDINGS = (".zip",)
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def open_archive(path: Path, spec: str | None = None) -> EncodedSource:
    """The source for an archive, by its ending."""
    name = path.name.lower()
    return (ZipSource if name.endswith(ZIP_ENDINGS) else TarSource)(path, str(path) if spec is None else spec)


class ZipSource(EncodedSource):
    """The images of a zip archive."""

    def __init__(self, path: Path, spec: str) -> None:
        """Reads the archive's directory.

        Raises:
            SourceError: The file is no whole zip archive, holds something unsafe, or holds no image.
        """
        self._path = path
        self._lock = threading.Lock()
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        try:
            entries = {info.filename: info for info in self._zip().infolist() if not info.is_dir()}
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise _not_whole(spec, "zip", error) from error
        for name, info in entries.items():
            _check_name(spec, name)
            if _matters(name):
                _check_entry(spec, info)
        self._names, table, inside = _pick(list(entries), spec)
        self._entries = [entries[name] for name in self._names]
        table_bytes = None if table is None else self._read(entries[table], f"{spec}: {table}")
        super().__init__(spec, len(self._names), labels_of(self._names, table_bytes, spec, inside))

    def read(self, index: int) -> bytes:
        """The bytes of one entry, checked against the archive's checksum."""
        return self._read(self._entries[index], self.item_name(index))

    def file_name(self, index: int) -> str:
        """The entry's name."""
        return self._names[index]

    def item_name(self, index: int) -> str:
        """The archive and the entry's name."""
        return f"{self.spec}: {self._names[index]}"

    def _read(self, info: zipfile.ZipInfo, name: str) -> bytes:
        try:
            return self._zip().read(info)
        except (
            zipfile.BadZipFile,
            OSError,
            EOFError,
            zlib.error,
            lzma.LZMAError,
            NotImplementedError,
        ) as error:
            raise broken(name, error) from error

    def _zip(self) -> zipfile.ZipFile:
        # A forked process would share the file's position with its parent, so each opens the archive anew.
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = (os.getpid(), zipfile.ZipFile(self._path))
            return self._opened[1]


class _Span(NamedTuple):
    offset: int
    size: int


class TarSource(EncodedSource):
    """The images of a tar archive, which may be compressed by gzip, bzip2 or xz."""

    def __init__(self, path: Path, spec: str) -> None:
        """Decompresses where needed, and lists the members with their places in the file.

        Raises:
            SourceError: The file is no whole tar archive, holds something unsafe, or holds no image.
            StoreError: The disk has no room for the decompressed archive.
        """
        with _plain_tar(path, spec) as file:
            spans = _tar_spans(file, spec)
            # The number alone is kept: reads name their place, so threads and forks cannot disturb each
            # other.
            self._handle = os.dup(file.fileno())
        self._closer = weakref.finalize(self, os.close, self._handle)
        self._names, table, inside = _pick(list(spans), spec)
        self._spans = [spans[name] for name in self._names]
        table_bytes = None if table is None else self._read(spans[table], f"{spec}: {table}")
        super().__init__(spec, len(self._names), labels_of(self._names, table_bytes, spec, inside))

    def read(self, index: int) -> bytes:
        """The bytes of one member."""
        return self._read(self._spans[index], self.item_name(index))

    def file_name(self, index: int) -> str:
        """The member's name."""
        return self._names[index]

    def item_name(self, index: int) -> str:
        """The archive and the member's name."""
        return f"{self.spec}: {self._names[index]}"

    def _read(self, span: _Span, name: str) -> bytes:
        data = os.pread(self._handle, span.size, span.offset)
        if len(data) != span.size:
            raise broken(name, EOFError(f"{len(data)} of {span.size} bytes; the archive is cut off"))
        return data


def _plain_tar(path: Path, spec: str) -> BinaryIO:
    """The tar file itself, decompressed to a temporary file if it is not plain."""
    try:
        with path.open("rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise _not_whole(spec, "tar", error) from error
    openers: dict[bytes, Callable[..., object]] = {
        b"\x1f\x8b": gzip.open,
        b"BZh": bz2.open,
        b"\xfd7zXZ\x00": lzma.open,
    }
    opener = next((opener for start, opener in openers.items() if magic.startswith(start)), None)
    if opener is None:
        return path.open("rb")
    most = max(MAX_RATIO * path.stat().st_size, FREE_BYTES)
    written = 0
    folder = cache_root() / "unpacked"
    with explain_os_errors(folder, f"decompressing {spec} to"):
        folder.mkdir(parents=True, exist_ok=True)
        target = cast(BinaryIO, tempfile.TemporaryFile(dir=folder))
        try:
            with cast(BinaryIO, opener(path, "rb")) as packed:
                while block := _next_block(packed, spec):
                    written += len(block)
                    if written > most:
                        raise _swells(spec, f"{written:,} bytes and more", path.stat().st_size)
                    target.write(block)
            target.seek(0)
        except BaseException:
            target.close()
            raise
    return target


def _next_block(packed: BinaryIO, spec: str) -> bytes:
    try:
        return packed.read(1 << 20)
    except (gzip.BadGzipFile, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise _not_whole(spec, "tar", error) from error


def _tar_spans(file: BinaryIO, spec: str) -> dict[str, _Span]:
    """Name and place of every regular file; images and ``dataset.json`` must be regular files."""
    spans: dict[str, _Span] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                name = _tidy(member.name)
                _check_name(spec, name)
                if member.islnk() and (first := spans.get(_tidy(member.linkname))):
                    spans[name] = first  # a second name of the same bytes
                elif member.isreg() and not member.issparse():
                    spans[name] = _Span(member.offset_data, member.size)
                elif not member.isdir() and _matters(name):
                    raise SourceError(
                        f"{spec}: {name} is a link or a special file, not an image; pack the images "
                        "themselves (tar --dereference)"
                    )
            # tarfile takes a damaged header, or a cut between two members, for the end; the end is all zero.
            if os.pread(file.fileno(), tarfile.BLOCKSIZE, archive.offset) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError(f"no end of archive after {len(spans)} files")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _not_whole(spec, "tar", error) from error
    for name, span in spans.items():
        if _matters(name) and span.size > MAX_ENTRY_BYTES:
            raise SourceError(f"{spec}: {name} has {span.size:,} bytes; no image is that large")
    return spans


def _tidy(name: str) -> str:
    return re.sub(r"^(\./+)+", "", name)


def _matters(name: str) -> bool:
    return is_image_name(name) or name.split("/")[-1] == DATASET_JSON


def _pick(names: list[str], spec: str) -> tuple[tuple[str, ...], str | None, str]:
    """The images in order, the name of their ``dataset.json``, and the folder that labels are relative to."""
    images = tuple(sorted(name for name in names if is_image_name(name)))
    if not images:
        raise SourceError(
            f"{spec} holds no image among its {len(names):,} entries; accepted are {ACCEPTED} files"
        )
    if DATASET_JSON in names:
        return images, DATASET_JSON, ""
    # `zip -r data.zip data` puts everything, dataset.json too, into one folder.
    tops = {name.split("/", 1)[0] for name in images}
    inside = f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in images) else ""
    table = f"{inside}{DATASET_JSON}"
    return images, table if table in names else None, inside


def _check_name(spec: str, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name):
        raise SourceError(
            f"{spec} holds the name {name!r}, which leads out of the archive's folder; such archives are not "
            "read: pack the images again with relative names"
        )


def _check_entry(spec: str, info: zipfile.ZipInfo) -> None:
    where = f"{spec}: {info.filename}"
    if info.flag_bits & 0x1:
        raise SourceError(f"{where} is encrypted; unpack the archive with its password and give the folder")
    if info.file_size > max(MAX_RATIO * info.compress_size, FREE_BYTES):
        raise _swells(where, f"{info.file_size:,} bytes", info.compress_size)
    if info.file_size > MAX_ENTRY_BYTES:
        raise SourceError(f"{where} has {info.file_size:,} bytes; no image is that large")


def _swells(where: str, size: str, packed: int) -> SourceError:
    return SourceError(
        f"{where} swells from {packed:,} to {size}, more than {MAX_RATIO}-fold, as a decompression bomb "
        "does; if it is sound, unpack it and give the folder"
    )


def _not_whole(spec: str, kind: str, error: Exception) -> SourceError:
    return SourceError(
        f"{spec} cannot be read as a {kind} archive ({type(error).__name__}: {error}); it may be cut off or "
        "of another kind: copy or pack it again"
    )
