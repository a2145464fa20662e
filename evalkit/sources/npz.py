"""Images in NumPy's files: ``npz`` by the names of its arrays, ``npy`` mapped into memory.

``file.npz`` takes the array ``arr_0`` (openai/guided-diffusion@22e0df8 and many since) or ``images``; else
the only ``<split>_images`` array; else the only array that looks like images. ``file.npz:NAME`` takes
``NAME_images`` or the array called NAME. Labels are the whole numbers beside them: ``arr_1``, ``labels``,
``<split>_labels``, or ``y_<split>`` for ``x_<split>``. What the file holds is read from the arrays' headers,
so nothing large is loaded to find that it does not fit. Pickled objects are never loaded.

Large arrays that are stored without compression are mapped instead of read; the zip checksum is then not
checked.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from evalkit.errors import SourceError, nearest
from evalkit.sources.arrays import ArraySource
from evalkit.sources.base import Int64Array

MAP_ABOVE = 256 << 20  # bytes
_USUAL = ("arr_0", "images")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What an array is, before it is read.

    Attributes:
        shape: Its shape.
        dtype: Its type.
        fortran: Whether the first axis varies fastest.
        offset: Bytes of its ``npy`` file before the data.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def looks_like_images(self) -> bool:
        """Whether it has the type and axes of images."""
        return self.dtype == np.uint8 and len(self.shape) in (3, 4)

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def read_headers(path: Path) -> dict[str, Header]:
    """The arrays of an npz by name; none is loaded.

    Raises:
        SourceError: The file is no whole npz.
    """
    headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    continue
                with archive.open(info) as file:
                    header = _read_header(file)
                if not header.dtype.hasobject:
                    size = header.offset + header.dtype.itemsize * math.prod(header.shape)
                    if size != info.file_size:
                        raise ValueError(
                            f"{info.filename} has {info.file_size} bytes where {size} are announced"
                        )
                headers[info.filename.removesuffix(".npy")] = header
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error, NotImplementedError) as error:
        raise _not_whole(path, error) from error
    return headers


def read_array(path: Path, name: str, map_above: int = MAP_ABOVE) -> npt.NDArray[Any]:
    """One array of an npz, mapped where it is large and stored without compression.

    Raises:
        SourceError: It is damaged, or holds pickled objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(f"{name}.npy")
            with archive.open(info) as file:
                header = _read_header(file)
        if (
            info.compress_type == zipfile.ZIP_STORED
            and info.file_size > map_above
            and not header.dtype.hasobject
        ):
            with path.open("rb") as raw:
                raw.seek(info.header_offset)
                # A zip entry: 30 bytes, of which two at 26 and two at 28 are the lengths of name and extra.
                name_length, extra_length = struct.unpack("<HH", raw.read(30)[26:])
            start = info.header_offset + 30 + name_length + extra_length + header.offset
            order: Any = "F" if header.fortran else "C"
            return np.memmap(path, header.dtype, "r", start, header.shape, order)
        with np.load(path, allow_pickle=False) as arrays:
            found: npt.NDArray[Any] = arrays[name]
            return found
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error, NotImplementedError) as error:
        raise _not_whole(path, error, name) from error
    except MemoryError as error:
        raise SourceError(
            f"{path}: the array {name!r} does not fit into memory; save it by np.savez (without "
            "compression), which can be mapped"
        ) from error


def open_npz(
    path: Path, split: str | None = None, spec: str | None = None, map_above: int = MAP_ABOVE
) -> ArraySource:
    """The images of an npz.

    Args:
        path: The file.
        split: What stands after the colon in ``file.npz:split``.
        spec: What the user typed.
        map_above: Stored arrays of more bytes are mapped.

    Raises:
        SourceError: No array, or more than one, can be meant; or it is no array of uint8 images.
    """
    spec = spec or (str(path) if split is None else f"{path}:{split}")
    headers = read_headers(path)
    name = _choose(spec, headers, split)
    if headers[name].dtype.hasobject:
        raise SourceError(
            f"{spec}: the array {name!r} holds pickled Python objects, which are never loaded, since that "
            "would run code from the file; save the images as one uint8 array"
        )
    # Types and shapes are refused before anything is loaded.
    ArraySource(
        np.broadcast_to(np.zeros((), headers[name].dtype), headers[name].shape), None, f"{spec}: {name!r}"
    )
    labels = _labels(path, spec, headers, name)
    return ArraySource(read_array(path, name, map_above), labels, spec)


def open_npy(path: Path, spec: str | None = None) -> ArraySource:
    """The images of an npy file, mapped into memory.

    Raises:
        SourceError: The file is no whole array of uint8 images.
    """
    spec = spec or str(path)
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise _not_whole(path, error) from error
    return ArraySource(images, None, spec)


def _read_header(file: IO[bytes]) -> Header:
    version = npy_format.read_magic(file)  # type: ignore[no-untyped-call, unused-ignore]
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy format {version} does not hold images")
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, fortran, dtype = read(file)  # type: ignore[no-untyped-call, unused-ignore]
    return Header(shape=shape, dtype=dtype, fortran=fortran, offset=file.tell())


def _choose(spec: str, headers: Mapping[str, Header], split: str | None) -> str:
    there = ", ".join(f"{name} ({header})" for name, header in headers.items()) or "nothing"
    if split is not None:
        for name in (f"{split}_images", split):
            if name in headers:
                return name
        known = [*headers, *(name.removesuffix("_images") for name in headers if name.endswith("_images"))]
        raise SourceError(
            f"{spec}: no array {split!r} or {split + '_images'!r} (nearest: {nearest(split, known)}); the "
            f"file holds {there}"
        )
    found = [name for name in _USUAL if name in headers]
    found = found or [name for name in headers if name.endswith("_images")]
    found = found or [name for name, header in headers.items() if header.looks_like_images]
    if len(found) == 1:
        return found[0]
    if not found:
        raise SourceError(
            f"{spec}: no array of images; accepted are the names arr_0, images or <split>_images, uint8 with "
            f"three or four axes, and the file holds {there}"
        )
    choices = " or ".join(f"{spec}:{name.removesuffix('_images')}" for name in found)
    raise SourceError(f"{spec}: several arrays of images; choose one by {choices}")


def _labels(path: Path, spec: str, headers: Mapping[str, Header], images: str) -> Int64Array | None:
    if images.endswith("_images"):
        name = images.removesuffix("images") + "labels"
    elif images.startswith("x_"):
        name = "y_" + images.removeprefix("x_")
    else:
        name = "labels" if "labels" in headers or images != "arr_0" else "arr_1"
    if name not in headers:
        return None
    header, num = headers[name], headers[images].shape[0]
    fits = header.shape in ((num,), (num, 1)) and np.issubdtype(header.dtype, np.integer)
    if not fits and name == "arr_1":
        return None  # the second of any arrays that were saved without names
    if not fits:
        raise SourceError(
            f"{spec}: the labels {name!r} are {header}; expected is one whole number for each of the {num:,} "
            f"images of {images!r}"
        )
    return read_array(path, name).reshape(num).astype(np.int64)


def _not_whole(path: Path, error: Exception, name: str | None = None) -> SourceError:
    where = str(path) if name is None else f"{path}: the array {name!r}"
    if "pickle" in str(error).lower() or "Python objects" in str(error):
        return SourceError(
            f"{where} holds pickled Python objects, which are never loaded, since that would run code from "
            "the file; save the images as one uint8 array by np.save or np.savez"
        )
    return SourceError(
        f"{where} cannot be read ({type(error).__name__}: {error}); it may be cut off: copy or save it again"
    )
