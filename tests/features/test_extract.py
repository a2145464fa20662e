"""From source to store: the same rows for every batch size, nothing computed twice, damage repaired."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from evalkit.errors import SourceError
from evalkit.features.base import Extractor
from evalkit.features.catalog import load_extractor
from evalkit.features.extract import ExtractReport, extract, feature_key
from evalkit.features.store import SHARD_ROWS, FeatureStore, FeatureTable
from evalkit.sources.base import ImageSource, array_digest

ROOT = Path(__file__).resolve().parents[2]


class Noise(ImageSource):
    """Images that depend on their index alone, and a count of those that were read."""

    spec = "noise"

    def __init__(self, num: int, side: int = 32, broken_at: int | None = None) -> None:
        self.num = num
        self.side = side
        self.broken_at = broken_at
        self.read: list[int] = []
        self.events: list[str] = []

    def __len__(self) -> int:
        return self.num

    def image(self, index: int) -> np.ndarray:
        side = self.side + 8 * (index % 3 == 0)
        return np.random.default_rng(index).integers(0, 256, (3, side, side), dtype=np.uint8)

    def load(self, indices: Sequence[int]) -> list[np.ndarray]:
        if self.broken_at in indices:
            raise SourceError(f"image {self.broken_at} is broken")
        self.read += indices
        self.events.append(f"read {indices[0]}")
        return [self.image(i) for i in indices]

    def item_digests(self, indices: Sequence[int]) -> Iterator[bytes]:
        return (array_digest(self.image(i)) for i in indices)


@pytest.fixture(scope="module")
def mini() -> Extractor:
    return load_extractor("mini", layers=["features", "logits"])


def run(
    source: ImageSource, extractor: Extractor, root: Path, **options: object
) -> tuple[dict[str, FeatureTable], ExtractReport]:
    store = FeatureStore(root)
    tables = {layer: store.table(feature_key(source, extractor, layer)) for layer in extractor.layers}
    return tables, extract(source, extractor, tables, store, **options)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 64, 1000])
def test_the_batch_size_does_not_move_a_bit(mini: Extractor, tmp_path: Path, batch_size: int):
    source = Noise(SHARD_ROWS + 21)
    tables, report = run(source, mini, tmp_path, batch_size=batch_size)
    want = mini([source.image(i) for i in range(len(source))])
    for layer, table in tables.items():
        np.testing.assert_array_equal(table[:], want[layer])
    assert report.computed == len(source)
    assert sorted(source.read) == list(range(len(source)))


def test_the_batch_size_does_not_move_a_bit_of_a_large_network(inception_file: Path, tmp_path: Path):
    extractor = load_extractor(
        "inception-tf2015", layers=["logits_unbiased"], overrides={"inception-tf2015": inception_file}
    )
    found = []
    for batch_size in (1, 64):
        tables, _ = run(Noise(9), extractor, tmp_path / str(batch_size), batch_size=batch_size)
        found.append(tables["logits_unbiased"][:])
    np.testing.assert_array_equal(found[0], found[1])


def test_a_second_run_reads_nothing(mini: Extractor, tmp_path: Path):
    run(Noise(40), mini, tmp_path)
    again = Noise(40)
    _, report = run(again, mini, tmp_path)
    assert again.read == []
    assert (report.computed, report.reused) == (0, 40)


def test_what_was_finished_before_an_error_is_not_computed_again(mini: Extractor, tmp_path: Path):
    whole, _ = run(Noise(3 * SHARD_ROWS), mini, tmp_path / "whole")
    broken = Noise(3 * SHARD_ROWS, broken_at=2 * SHARD_ROWS + 5)
    with pytest.raises(SourceError, match="image 517 is broken"):
        run(broken, mini, tmp_path / "resumed")
    mended = Noise(3 * SHARD_ROWS)
    tables, report = run(mended, mini, tmp_path / "resumed")
    assert mended.read == list(range(2 * SHARD_ROWS, 3 * SHARD_ROWS))
    assert (report.computed, report.reused) == (SHARD_ROWS, 2 * SHARD_ROWS)
    for layer, table in tables.items():
        np.testing.assert_array_equal(table[:], whole[layer][:])


def test_a_flipped_byte_is_found_and_that_shard_alone_is_computed_again(mini: Extractor, tmp_path: Path):
    first, _ = run(Noise(2 * SHARD_ROWS), mini, tmp_path)
    want = {layer: table[:] for layer, table in first.items()}
    path = next((tmp_path).rglob("000001-*.npy"))
    content = bytearray(path.read_bytes())
    content[-7] ^= 4
    path.write_bytes(content)
    again = Noise(2 * SHARD_ROWS)
    tables, report = run(again, mini, tmp_path)
    assert again.read == list(range(SHARD_ROWS, 2 * SHARD_ROWS))
    assert (report.damaged, report.computed) == (1, SHARD_ROWS)
    for layer, table in tables.items():
        np.testing.assert_array_equal(table[:], want[layer])


def test_a_further_layer_reuses_the_table_of_the_first(mini: Extractor, tmp_path: Path):
    alone = load_extractor("mini", layers=["features"])
    run(Noise(40), alone, tmp_path)
    again = Noise(40)
    run(again, alone, tmp_path)
    _, report = run(again, mini, tmp_path)
    assert report.computed == 40  # for the logits
    _, report = run(again, alone, tmp_path)
    assert report.computed == 0
    assert len(list(tmp_path.rglob("key.json"))) == 2


def test_processes_share_the_work_and_end_with_the_same_rows(mini: Extractor, tmp_path: Path):
    want, _ = run(Noise(4 * SHARD_ROWS), mini, tmp_path / "one")
    first, second = Noise(4 * SHARD_ROWS), Noise(4 * SHARD_ROWS)
    run(second, mini, tmp_path / "two", rank=1, world_size=2)
    assert second.read[0] == 2 * SHARD_ROWS
    tables, report = run(first, mini, tmp_path / "two", rank=0, world_size=2)
    assert (first.read, report.computed) == ([], 0)
    np.testing.assert_array_equal(tables["logits"][:], want["logits"][:])


def test_the_next_batch_is_read_while_the_network_works(mini: Extractor, tmp_path: Path):
    source = Noise(2 * SHARD_ROWS)

    class Watched(type(mini)):  # the real network, which also says when it is done
        def __call__(self, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
            rows = super().__call__(images)
            source.events.append("computed")
            time.sleep(0.05)  # a slow network: the reader has time to finish
            return rows

    watched = object.__new__(Watched)
    watched.__dict__.update(mini.__dict__)
    run(source, watched, tmp_path, batch_size=128)
    assert source.events[:2] == ["read 0", "read 128"] or source.events[:3] == [
        "read 0",
        "computed",
        "read 128",
    ]
    # Before a batch is done the next is read, the first of the next shard included; never two ahead.
    for event, start in (("read 256", 1), ("read 384", 2)):
        assert source.events[: source.events.index(event)].count("computed") in (start, start + 1)


def test_sizes_and_progress_are_told(mini: Extractor, tmp_path: Path):
    source, told = Noise(SHARD_ROWS + 10), []
    run(source, mini, tmp_path, batch_size=64, progress=lambda done, total: told.append((done, total)))
    assert told == [(64, 266), (128, 266), (192, 266), (256, 266), (266, 266)]
    assert FeatureStore(tmp_path).facts(source.fingerprint, len(source)).sizes == ((32, 32), (40, 40))


@pytest.mark.parametrize("finished", [1, 3])
def test_a_killed_run_loses_the_shard_it_was_at_and_no_other(mini: Extractor, tmp_path: Path, finished: int):
    num = 5 * SHARD_ROWS
    command = [sys.executable, __file__, str(tmp_path / "killed"), str(num)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    shards: Callable[[], list[Path]] = lambda: list((tmp_path / "killed").rglob("[0-9]*.npy"))  # noqa: E731
    deadline = time.monotonic() + 120
    while len(shards()) < 2 * finished:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in shards()}
    resumed = Noise(num)
    tables, report = run(resumed, mini, tmp_path / "killed")
    assert report.damaged == 0
    assert report.computed <= num - finished * SHARD_ROWS
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    want, _ = run(Noise(num), mini, tmp_path / "whole")
    for layer, table in tables.items():
        np.testing.assert_array_equal(table[:], want[layer][:])


if __name__ == "__main__":  # the run that is killed above
    run(Noise(int(sys.argv[2])), load_extractor("mini", layers=["features", "logits"]), Path(sys.argv[1]))
