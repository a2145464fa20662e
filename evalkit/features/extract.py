"""From a source to stored features: resumable, overlapped, the same rows for any batch size and world."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from evalkit.features.base import Extractor, Float32Array, UInt8Array
from evalkit.features.store import FeatureKey, FeatureStore, FeatureTable
from evalkit.sources.base import ImageSource

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExtractReport:
    """What an extraction did.

    Attributes:
        computed: Images that went through the network now.
        reused: Images whose features were on file.
        damaged: Shards that were found damaged and computed again.
        seconds: Wall-clock seconds.
    """

    computed: int
    reused: int
    damaged: int
    seconds: float


def feature_key(source: ImageSource, extractor: Extractor, layer: str) -> FeatureKey:
    """The address of one layer's features of ``source``."""
    return FeatureKey(
        source=source.fingerprint,
        num_images=len(source),
        extractor=extractor.info.name,
        layer=layer,
        width=extractor.info.layers[layer],
        weights_sha256=extractor.layer_sha256[layer],
        resize=extractor.resize,
        precision=extractor.precision,
        micro_batch=extractor.micro_batch,
        device_type=extractor.device.type,
    )


def extract(
    source: ImageSource,
    extractor: Extractor,
    tables: Mapping[str, FeatureTable],
    store: FeatureStore,
    *,
    batch_size: int = 64,
    rank: int = 0,
    world_size: int = 1,
    progress: Progress | None = None,
) -> ExtractReport:
    """Fills the missing shards of ``tables``: one table a layer of ``extractor``, all of one length.

    Reading and decoding run one batch ahead of the network, across shards too. With several processes each
    starts at another shard and skips what the others have filed meanwhile; all of them end with every shard
    in place.

    Args:
        source: The images.
        extractor: The network; its layers are the keys of ``tables``.
        tables: Where the rows go.
        store: The store the tables belong to.
        batch_size: Images read at a time. It cannot change a number: the network sees fixed micro-batches.
        rank: This process's place among those that share the work.
        world_size: How many processes share it.
        progress: Called with (images done, images in all) after every batch.

    Raises:
        SourceError: An image cannot be read; the shards finished before it stay.
        StoreError: The store cannot be written.
    """
    started = time.perf_counter()
    any_table = next(iter(tables.values()))
    for table in tables.values():
        store.describe(table)
    order, total = first_missing(tables, rank, world_size)
    step = max(1, -(-batch_size // extractor.micro_batch)) * extractor.micro_batch
    computed = 0
    parts: dict[str, list[Float32Array]] = {layer: [] for layer in tables}
    sizes: set[tuple[int, int]] = set()
    with concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="evalkit-read") as reader:
        try:
            for read, images in _read_ahead(source, reader, _reads(tables, order, step)):
                sizes.update((image.shape[1], image.shape[2]) for image in images)
                for layer, rows in extractor(images).items():
                    parts[layer].append(rows)
                if read.ends_shard:
                    store.add_facts(source.fingerprint, read.shard, sorted(sizes), source.notes)
                    for layer in absent(tables, read.shard):
                        tables[layer].write(read.shard, np.concatenate(parts[layer]))
                    computed += len(any_table.shard_range(read.shard))
                    parts = {layer: [] for layer in tables}
                    sizes = set()
                if progress is not None:
                    progress(read.done, total)
        finally:
            # After Ctrl-C or an error the batch that is being read ahead is of no use.
            reader.shutdown(wait=True, cancel_futures=True)
    return ExtractReport(
        computed=computed,
        reused=len(any_table) - min(computed, len(any_table)),
        damaged=sum(len(table.damaged) for table in tables.values()),
        seconds=time.perf_counter() - started,
    )


class _Read(NamedTuple):
    # One batch to read.
    shard: int
    indices: range
    ends_shard: bool
    done: int  # images behind us when it is computed, those that needed nothing included


def _reads(tables: Mapping[str, FeatureTable], shards: Iterable[int], step: int) -> Iterator[_Read]:
    # Whether a shard is still absent is asked when its turn comes, since other processes fill the table too.
    # Reads are whole multiples of the micro-batch, so that a batch size cannot change which images share a
    # pass.
    any_table = next(iter(tables.values()))
    done = 0
    for shard in shards:
        indices = any_table.shard_range(shard)
        if absent(tables, shard):
            for start in range(0, len(indices), step):
                cut = indices[start : start + step]
                ends = start + step >= len(indices)
                yield _Read(shard, cut, ends, done + start + len(cut))
        done += len(indices)


def _read_ahead(
    source: ImageSource, reader: concurrent.futures.Executor, reads: Iterable[_Read]
) -> Iterator[tuple[_Read, Sequence[UInt8Array]]]:
    # Each batch with the next one on its way.
    waiting: tuple[_Read, concurrent.futures.Future[list[UInt8Array]]] | None = None
    for read in reads:
        submitted = (read, reader.submit(source.load, read.indices))
        if waiting is not None:
            yield waiting[0], waiting[1].result()
        waiting = submitted
    if waiting is not None:
        yield waiting[0], waiting[1].result()


def first_missing(tables: Mapping[str, FeatureTable], rank: int, world_size: int) -> tuple[list[int], int]:
    """Shards that a table misses, in the order in which process ``rank`` should go, and their rows in all."""
    any_table = next(iter(tables.values()))
    missing = sorted({shard for table in tables.values() for shard in table.missing()})
    first = len(missing) * rank // max(world_size, 1)
    return missing[first:] + missing[:first], sum(len(any_table.shard_range(shard)) for shard in missing)


def absent(tables: Mapping[str, FeatureTable], shard: int) -> list[str]:
    """Layers whose tables lack ``shard`` at this moment."""
    return [layer for layer, table in tables.items() if not table.has(shard)]
