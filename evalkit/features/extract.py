"""From a source to stored features: resumable, overlapped, the same rows for any batch size and world."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from evalkit.features.base import Extractor, UInt8Array
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
        weights_sha256=extractor.weights_sha256,
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

    Reading and decoding run one batch ahead of the network. With several processes each starts at another
    shard and skips what the others have filed meanwhile; all of them end with every shard in place.

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
    missing = sorted({shard for table in tables.values() for shard in table.missing()})
    total = sum(len(any_table.shard_range(shard)) for shard in missing)
    first = len(missing) * rank // max(world_size, 1)
    done = computed = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="evalkit-read") as reader:
        try:
            for shard in missing[first:] + missing[:first]:
                indices = any_table.shard_range(shard)
                absent = [layer for layer, table in tables.items() if not table.has(shard)]
                if absent:
                    rows = _compute(source, extractor, indices, batch_size, reader, store, shard)
                    for layer in absent:
                        tables[layer].write(shard, rows[layer])
                    computed += len(indices)
                done += len(indices)
                if progress is not None:
                    progress(done, total)
        finally:
            # After Ctrl-C or an error the batch that is being read ahead is of no use.
            reader.shutdown(wait=True, cancel_futures=True)
    return ExtractReport(
        computed=computed,
        reused=len(any_table) - min(computed, len(any_table)),
        damaged=sum(len(table.damaged) for table in tables.values()),
        seconds=time.perf_counter() - started,
    )


def _compute(
    source: ImageSource,
    extractor: Extractor,
    indices: range,
    batch_size: int,
    reader: concurrent.futures.Executor,
    store: FeatureStore,
    shard: int,
) -> dict[str, np.ndarray]:
    # Reads are whole multiples of the micro-batch, so that a batch size cannot change which images share a
    # pass.
    step = max(1, -(-batch_size // extractor.micro_batch)) * extractor.micro_batch
    cuts = [indices[start : start + step] for start in range(0, len(indices), step)]
    parts: dict[str, list[np.ndarray]] = {layer: [] for layer in extractor.layers}
    sizes: set[tuple[int, int]] = set()
    ahead = reader.submit(source.load, cuts[0])
    for place in range(len(cuts)):
        images: Sequence[UInt8Array] = ahead.result()
        if place + 1 < len(cuts):
            ahead = reader.submit(source.load, cuts[place + 1])
        sizes.update((image.shape[1], image.shape[2]) for image in images)
        for layer, rows in extractor(images).items():
            parts[layer].append(rows)
    store.add_facts(source.fingerprint, shard, sorted(sizes), source.notes)
    return {layer: np.concatenate(rows) for layer, rows in parts.items()}
