"""Content-addressed feature store: atomic, checksummed, memory-mapped shards.

A table of features is addressed by the digest of *all* that decides its numbers (`FeatureKey`). It is cut
into shards of `SHARD_ROWS` rows; a shard is one ``.npy`` file whose name carries the checksum of its content
and which appears by one rename. So a killed run loses at most the shard it was computing, a damaged shard is
noticed before it is used and computed again, and several processes may fill one table without talking to each
other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.digest import digest
from evalkit.errors import StoreError
from evalkit.files import atomic_write, check_writable, write_text

SHARD_ROWS = 256
FORMAT = "evalkit-features-1"

Float32Array = npt.NDArray[np.float32]
Stamp = tuple[int, int]  # size and time of change
_SHARD_NAME = re.compile(r"(\d{6,})-([0-9a-f]{32})\.npy")


class _Known(NamedTuple):
    # A shard whose content this process has checked, and what the file looked like then.
    path: Path
    stamp: Stamp


Verified = dict[tuple[Path, int], _Known]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FeatureKey:
    """Everything that decides the numbers in a table.

    Attributes:
        source: Content fingerprint of the images, their selection and order included.
        num_images: Length of the source, which decides where its last shard ends.
        extractor: Name of the network.
        layer: Its layer.
        width: Width of the layer.
        weights_sha256: Digest of the tensors in use.
        resize: Name of the resize.
        precision: Type of weights and activations.
        micro_batch: Images per forward pass; another shape may round differently.
        device_type: ``cpu`` or ``cuda``: kernels differ in their last bits.
        format: Layout of the table and version of the arithmetic.
    """

    source: str
    num_images: int
    extractor: str
    layer: str
    width: int
    weights_sha256: str
    resize: str
    precision: str
    micro_batch: int
    device_type: str
    format: str = FORMAT


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SourceFacts:
    """What was noticed while reading images.

    Attributes:
        sizes: The different (height, width) seen.
        notes: Sentences about how they were read.
    """

    sizes: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]


class FeatureTable:
    """The rows of one key, by slice or by index, once all shards that hold them are there.

    Fits `evalkit.metrics.rows.Rows`.
    """

    def __init__(self, folder: Path, key: FeatureKey, num_rows: int, verified: Verified) -> None:
        """Opens the first ``num_rows`` rows of the table of ``key`` below ``folder``.

        Args:
            folder: Where its shards are.
            key: What it holds.
            num_rows: How many rows of it to see.
            verified: Shards this process has checked; shared by all tables of a store.
        """
        self.key = key
        self.num_rows = num_rows
        self.damaged: list[int] = []
        self._folder = folder
        self._verified = verified

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, width)``."""
        return self.num_rows, self.key.width

    def __len__(self) -> int:
        """Number of rows."""
        return self.num_rows

    @property
    def num_shards(self) -> int:
        """Shards that hold the rows asked for."""
        return -(-self.num_rows // SHARD_ROWS)

    def shard_range(self, shard: int) -> range:
        """Indices of the images in ``shard``; the last shard of a source may be shorter."""
        return range(shard * SHARD_ROWS, min((shard + 1) * SHARD_ROWS, self.key.num_images))

    def missing(self) -> list[int]:
        """Shards that are not there, after checking the content of those that are.

        A shard whose content does not have the checksum in its name is deleted and counted in `damaged`.
        """
        candidates: dict[int, list[Path]] = {}
        for path in self._folder.glob("*.npy"):
            if match := _SHARD_NAME.fullmatch(path.name):
                candidates.setdefault(int(match[1]), []).append(path)
        return [
            shard for shard in range(self.num_shards) if self._find(shard, candidates.get(shard, [])) is None
        ]

    def has(self, shard: int) -> bool:
        """Whether ``shard`` is there and whole. What this process has checked is not read again."""
        return self._path(shard) is not None

    def _path(self, shard: int) -> Path | None:
        known = self._verified.get((self._folder, shard))
        if known is not None and _stamp(known.path) == known.stamp:
            return known.path
        return self._find(shard, list(self._folder.glob(f"{shard:06d}-*.npy")))

    def _find(self, shard: int, candidates: Sequence[Path]) -> Path | None:
        # The first of the candidates that is whole; the others are deleted.
        for path in sorted(candidates):
            known = self._verified.get((self._folder, shard))
            stamp = _stamp(path)
            if stamp is None:
                continue  # another process found it damaged first
            if known is not None and (known.path, known.stamp) == (path, stamp):
                return path
            match = _SHARD_NAME.fullmatch(path.name)
            if match is None:
                continue
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            if hashlib.sha256(content).hexdigest()[:32] == match[2] and self._fits(shard, content):
                self._verified[self._folder, shard] = _Known(path, stamp)
                return path
            self.damaged.append(shard)
            path.unlink(missing_ok=True)
        return None

    def _fits(self, shard: int, content: bytes) -> bool:
        try:
            rows = np.load(io.BytesIO(content), allow_pickle=False)
        except ValueError:
            return False
        return bool(rows.shape == (len(self.shard_range(shard)), self.key.width) and rows.dtype == np.float32)

    def write(self, shard: int, rows: Float32Array) -> None:
        """Files ``rows`` as ``shard``.

        Raises:
            StoreError: The store cannot be written (disk full, no permission).
        """
        expected = (len(self.shard_range(shard)), self.key.width)
        if rows.shape != expected or rows.dtype != np.float32:
            raise StoreError(f"shard {shard} should be float32 {expected}, got {rows.dtype} {rows.shape}")
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(rows), allow_pickle=False)
        content = buffer.getbuffer()
        path = self._folder / f"{shard:06d}-{hashlib.sha256(content).hexdigest()[:32]}.npy"
        with atomic_write(path) as file:
            file.write(content)
        stamp = _stamp(path)
        if stamp is not None:
            self._verified[self._folder, shard] = _Known(path, stamp)

    def __getitem__(self, index: slice | npt.NDArray[np.int64]) -> Float32Array:
        """Rows of a slice or an index array, copied to memory.

        Raises:
            StoreError: A shard that holds one of them is missing.
        """
        if isinstance(index, slice):
            start, stop, step = index.indices(self.num_rows)
            wanted = np.arange(start, stop, step, dtype=np.int64)
        else:
            wanted = np.asarray(index, dtype=np.int64)
        out = np.empty((len(wanted), self.key.width), np.float32)
        shards = wanted // SHARD_ROWS
        order = np.argsort(shards, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(shards[order])) + 1):
            if not len(places):
                continue  # no rows were asked for
            shard = int(shards[places[0]])
            path = self._path(shard)
            if path is None:
                raise StoreError(f"feature shard {shard} is missing in {self._folder}; run the command again")
            # Mapped only while its rows are copied: pages of maps that stay open count as this process's
            # memory, which would grow with the number of images.
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
            out[places] = rows[wanted[places] - shard * SHARD_ROWS]
            del rows
        return out


class FeatureStore:
    """A folder of feature tables, and of what was noticed while reading the images behind them."""

    def __init__(self, root: Path) -> None:
        """Opens the store at ``root``; folders are created when something is filed."""
        self.root = root
        self._verified: Verified = {}

    def check_writable(self) -> None:
        """Finds a place that cannot be written before the work, not after it.

        Raises:
            StoreError: The folder cannot be made or written.
        """
        check_writable(self.root, "preparing the feature store")

    def table(self, key: FeatureKey, num_rows: int | None = None) -> FeatureTable:
        """The first ``num_rows`` rows (all where None) of the table of ``key``."""
        name = digest(key)
        return FeatureTable(
            self.root / name[:2] / name,
            key,
            key.num_images if num_rows is None else num_rows,
            self._verified,
        )

    def describe(self, table: FeatureTable) -> None:
        """Files the key beside its shards, so that a person can tell what a folder holds."""
        name = digest(table.key)
        path = self.root / name[:2] / name / "key.json"
        if not path.exists():
            write_text(path, json.dumps(dataclasses.asdict(table.key), indent=1, sort_keys=True) + "\n")

    def add_facts(
        self, source: str, shard: int, sizes: Sequence[tuple[int, int]], notes: Sequence[str]
    ) -> None:
        """Files what was noticed while reading one shard of the images of fingerprint ``source``.

        Filed before the shard's features, so that a resumed run tells the same story as an uninterrupted one.
        """
        path = self.root / "sources" / source / f"{shard:06d}.json"
        if not path.exists():
            write_text(path, json.dumps({"sizes": sorted(set(sizes)), "notes": sorted(set(notes))}) + "\n")

    def facts(self, source: str, num_images: int) -> SourceFacts:
        """What was noticed in the first ``num_images`` images of fingerprint ``source``."""
        sizes: set[tuple[int, int]] = set()
        notes: set[str] = set()
        for shard in range(-(-num_images // SHARD_ROWS)):
            path = self.root / "sources" / source / f"{shard:06d}.json"
            if path.exists():
                found = json.loads(path.read_text(encoding="utf-8"))
                sizes.update((int(h), int(w)) for h, w in found["sizes"])
                notes.update(found["notes"])
        return SourceFacts(sizes=tuple(sorted(sizes)), notes=tuple(sorted(notes)))


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns
