"""The feature store: whole shards or none, damage noticed, a key over every field."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from evalkit.digest import digest
from evalkit.errors import StoreError
from evalkit.features.store import SHARD_ROWS, FeatureKey, FeatureStore, FeatureTable
from evalkit.metrics.rows import Reordered, Rows, canonical_order

KEY = FeatureKey(
    source="a" * 64,
    num_images=SHARD_ROWS + 10,
    extractor="mini",
    layer="features",
    width=3,
    weights_sha256="b" * 64,
    resize="antialiased-bilinear",
    precision="float32",
    micro_batch=8,
    device_type="cpu",
)


def filled(store: FeatureStore, key: FeatureKey = KEY) -> tuple[FeatureTable, np.ndarray]:
    table = store.table(key)
    rows = np.random.default_rng(0).normal(size=(key.num_images, key.width)).astype(np.float32)
    for shard in range(table.num_shards):
        indices = table.shard_range(shard)
        table.write(shard, rows[indices.start : indices.stop])
    return table, rows


def test_rows_come_back_by_slice_and_by_index(tmp_path: Path):
    table, rows = filled(FeatureStore(tmp_path))
    assert isinstance(table, Rows)
    assert table.shape == rows.shape
    np.testing.assert_array_equal(table[:], rows)
    np.testing.assert_array_equal(table[250:262], rows[250:262])
    index = np.array([261, 0, 255, 256, 0])
    np.testing.assert_array_equal(table[index], rows[index])


def test_another_process_finds_what_was_filed(tmp_path: Path):
    _, rows = filled(FeatureStore(tmp_path))
    again = FeatureStore(tmp_path).table(KEY, 200)
    assert again.missing() == []
    np.testing.assert_array_equal(again[:], rows[:200])


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(FeatureKey)])
def test_every_field_of_the_key_is_part_of_the_address(field: str):
    value = getattr(KEY, field)
    other = dataclasses.replace(KEY, **{field: value + 1 if isinstance(value, int) else value + "x"})
    assert digest(other) != digest(KEY)


def test_a_flipped_byte_is_noticed_and_the_shard_is_missing_again(tmp_path: Path):
    table, rows = filled(FeatureStore(tmp_path))
    path = next(tmp_path.rglob("000000-*.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    again = FeatureStore(tmp_path).table(KEY)
    assert again.missing() == [0]
    assert again.damaged == [0]
    again.write(0, rows[:SHARD_ROWS])
    np.testing.assert_array_equal(again[:], rows)


def test_a_truncated_shard_is_noticed(tmp_path: Path):
    filled(FeatureStore(tmp_path))
    path = next(tmp_path.rglob("000001-*.npy"))
    path.write_bytes(path.read_bytes()[:-5])
    assert FeatureStore(tmp_path).table(KEY).missing() == [1]


def test_missing_rows_are_an_error_not_zeros(tmp_path: Path):
    with pytest.raises(StoreError, match="feature shard 0 is missing .* run the command again"):
        FeatureStore(tmp_path).table(KEY)[0:1]


def test_a_shard_of_the_wrong_shape_is_refused(tmp_path: Path):
    table = FeatureStore(tmp_path).table(KEY)
    with pytest.raises(StoreError, match="shard 1 should be float32"):
        table.write(1, np.zeros((SHARD_ROWS, 3), np.float32))


def test_a_full_disk_is_explained_and_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = FeatureStore(tmp_path).table(KEY)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"no space left on the disk .* run the same command again"):
        table.write(0, np.zeros((SHARD_ROWS, 3), np.float32))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_store_that_cannot_be_made_is_found_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="while preparing the feature store .*choose another path"):
        FeatureStore(tmp_path / "file" / "cache").check_writable()
    with pytest.raises(StoreError, match="too long while preparing .*choose another path"):
        FeatureStore(tmp_path / ("n" * 300) / "cache").check_writable()
    with pytest.raises(StoreError, match="while preparing the feature store /proc/cache"):
        FeatureStore(Path("/proc/cache")).check_writable()


def test_what_was_noticed_is_kept_by_shard(tmp_path: Path):
    store = FeatureStore(tmp_path)
    store.add_facts("f", 0, [(32, 32), (40, 32)], ["alpha was dropped"])
    store.add_facts("f", 0, [(1, 1)], ["never filed: the shard has its facts"])
    store.add_facts("f", 1, [(8, 8)], [])
    assert store.facts("f", SHARD_ROWS).sizes == ((32, 32), (40, 32))
    assert store.facts("f", SHARD_ROWS + 1).sizes == ((8, 8), (32, 32), (40, 32))
    assert store.facts("f", 1).notes == ("alpha was dropped",)


def test_canonical_order_depends_on_the_rows_alone():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(500, 7)).astype(np.float32)
    rows[10] = rows[20]
    shuffled = rows[rng.permutation(500)]
    one = Reordered(rows, canonical_order(rows))
    other = Reordered(shuffled, canonical_order(shuffled))
    np.testing.assert_array_equal(one[:], other[:])
    np.testing.assert_array_equal(np.sort(one[:], axis=0), np.sort(rows, axis=0))


def test_what_this_process_has_checked_is_not_read_again(tmp_path: Path):
    store = FeatureStore(tmp_path)
    filled(store)
    path = next(tmp_path.rglob("000000-*.npy"))
    path.chmod(0)
    before = path.stat()
    content = bytearray(path.read_bytes()) if os.access(path, os.R_OK) else None
    if (
        content is not None
    ):  # a superuser: damage that leaves size and time as they were shows whether it is read
        content[-1] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.table(KEY).missing() == []
    assert store.table(KEY, 10).has(0)


def test_a_shard_that_changes_or_goes_is_noticed_in_the_same_process(tmp_path: Path):
    store = FeatureStore(tmp_path)
    table, rows = filled(store)
    first, second = sorted(tmp_path.rglob("*.npy"))
    first.write_bytes(first.read_bytes()[:-1] + b"!")
    os.utime(first, ns=(1, 1))
    second.unlink()
    assert table.missing() == [0, 1]
    table.write(0, rows[:SHARD_ROWS])
    assert table.has(0)
    assert not table.has(1)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of this process's maps")
def test_no_shard_stays_mapped(tmp_path: Path):
    table, rows = filled(FeatureStore(tmp_path))
    np.testing.assert_array_equal(table[np.arange(len(rows))[::-1]], rows[::-1])
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_no_rows_at_all(tmp_path: Path):
    table, _ = filled(FeatureStore(tmp_path))
    assert table[0:0].shape == (0, KEY.width)
    assert table[np.empty(0, np.int64)].shape == (0, KEY.width)
