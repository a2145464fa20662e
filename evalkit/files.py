"""Files that are whole or absent: atomic writes, checksums, and the cache root."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from evalkit.errors import StoreError

# A path that cannot be one: a file as a folder, a name too long, a file system that makes no files (/proc).
_NO_PLACE = (
    errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP,
)  # fmt: skip


@contextlib.contextmanager
def explain_os_errors(path: Path, doing: str) -> Iterator[None]:
    """Turns the file-system errors a user can mend into `StoreError`s that say how.

    Raises:
        StoreError: The disk is full, the place is read-only or not permitted, or the path cannot be one.
    """
    try:
        yield
    except OSError as error:
        where = f"while {doing} {path}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"no space left on the disk {where}; nothing finished is lost: free some space, or set "
                "$EVALKIT_CACHE (or --cache-dir) to a larger disk, and run the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(f"not allowed to write {where}; choose a folder you own") from error
        if error.errno in _NO_PLACE:
            raise StoreError(f"{os.strerror(error.errno).lower()} {where}; choose another path") from error
        raise


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside ``path`` and renames it into place when the block ends without an error.

    A reader, or a run that is killed at any moment, sees the old file or the new one, never a part of it. The
    data is flushed to the disk before the rename, so this holds across a power cut as well.

    Raises:
        StoreError: The file-system errors that `explain_os_errors` names.
    """
    with explain_os_errors(path, "writing"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


def check_writable(folder: Path, doing: str) -> None:
    """Finds a folder that cannot be written before the work, not after it.

    Nothing is left behind: a folder that is not there yet is made by what is written first, and here a file
    without a name is opened in the nearest one above it. So any number of processes may ask at once.

    Args:
        folder: Where files will be written.
        doing: What for, as the error says it before the folder.

    Raises:
        StoreError: The folder cannot be made or written.
    """
    with explain_os_errors(folder, doing):
        place = folder.absolute()
        while True:
            try:
                place.stat()
            except FileNotFoundError:
                place = place.parent
            else:
                break
        with tempfile.TemporaryFile(dir=place):
            pass


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _sha256(file)
        )


def _sha256(file: BinaryIO) -> str:
    # Python 3.10 has no hashlib.file_digest.
    total = hashlib.sha256()
    while block := file.read(1 << 20):
        total.update(block)
    return total.hexdigest()


def cache_root(given: Path | None = None) -> Path:
    """Where features and weights are kept: ``given``, else ``$EVALKIT_CACHE``, else the user's cache."""
    if given is not None:
        return given
    if from_environment := os.environ.get("EVALKIT_CACHE"):
        return Path(from_environment)
    import platformdirs

    return Path(platformdirs.user_cache_dir("evalkit", appauthor=False))
