"""Work that asks a model itself, a row a draw: resumable, the same rows for any batch size and world.

Metrics of latents and of equivariance need pairs of images, steps of latents, moved inputs: what to make is
decided by an index alone. A `Probe` makes the rows of whole groups of indices, always of the same size and
always the same indices, so neither a batch size nor a number of processes can move a digit. Rows go to the
feature store (`evalkit.features.store`), where a killed run finds what it had.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from evalkit.adapters.samples import Labels, labels_for
from evalkit.features.extract import ExtractReport, Progress, absent, first_missing
from evalkit.features.store import SHARD_ROWS, FeatureKey, FeatureStore, FeatureTable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

FORMAT = "evalkit-probe-1"


class Probe(Protocol):
    """What is computed of a model's draws.

    Attributes:
        name: What progress calls it.
        layers: Width of the rows of every layer.
        group: Indices that are computed together; divides `SHARD_ROWS`.
        settings: Digest of all that decides a row but the model and its index.
        weights_sha256: Digest of the weights of a network that judges the images, or "".
        passes: Images that go through the model per row, for costs.
        device_type: ``cpu`` or ``cuda``; both where the model and what judges its images are apart.
    """

    name: str
    layers: Mapping[str, int]
    group: int
    settings: str
    weights_sha256: str
    passes: int
    device_type: str

    def __call__(self, indices: range) -> Mapping[str, Float32Array]:
        """Rows of one group: for each layer ``(len(indices), width)``, of `group` consecutive indices."""
        ...


def device_types(*devices: torch.device) -> str:
    """The types of the devices that take part, each once."""
    return "+".join(dict.fromkeys(device.type for device in devices))


def draw_seeds(seed: int, stream: str, indices: range) -> Int64Array:
    """Seeds of latents and of further draws, ``(n,)`` from 0 to 2^32 - 1, one for each index.

    Args:
        seed: The run's seed; runs of different seeds share no draws.
        stream: What is drawn, such as ``z0``; streams are independent of each other.
        indices: Places in the stream.
    """
    words = [seed % 2**32, seed // 2**32, *stream.encode()]
    drawn = [
        int(np.random.SeedSequence(words, spawn_key=(index,)).generate_state(1, np.uint32)[0])
        for index in indices
    ]
    return np.array(drawn, dtype=np.int64)


def draw_uniform(seed: int, stream: str, indices: range, width: int) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1), ``(n, width)``, one row for each index; see `draw_seeds`."""
    rows = [np.random.default_rng(int(own)).random(width) for own in draw_seeds(seed, stream, indices)]
    return np.array(rows).reshape(len(indices), width)


def probe_tables(probe: Probe, source: str, num: int, store: FeatureStore) -> dict[str, FeatureTable]:
    """The tables of ``num`` rows of each layer of ``probe`` on the model of fingerprint ``source``."""
    return {
        layer: store.table(
            FeatureKey(
                source=source,
                num_images=num,
                extractor=probe.name,
                layer=f"{layer}@{probe.settings}",
                width=width,
                weights_sha256=probe.weights_sha256,
                resize="none",
                precision="float32",
                micro_batch=probe.group,
                device_type=probe.device_type,
                format=FORMAT,
            )
        )
        for layer, width in probe.layers.items()
    }


def fill(
    probe: Probe,
    tables: Mapping[str, FeatureTable],
    store: FeatureStore,
    *,
    rank: int = 0,
    world_size: int = 1,
    progress: Progress | None = None,
) -> ExtractReport:
    """Fills the missing shards of ``tables``; see `evalkit.features.extract.extract` for how work is shared.

    Args:
        probe: What makes the rows; its layers are the keys of ``tables``.
        tables: Where the rows go.
        store: The store the tables belong to.
        rank: This process's place among those that share the work.
        world_size: How many processes share it.
        progress: Called with (rows done, rows in all) after every group.

    Raises:
        StoreError: The store cannot be written.
        EvalkitError: What the model or the network raises; the shards finished before stay.
    """
    assert SHARD_ROWS % probe.group == 0
    started = time.perf_counter()
    any_table = next(iter(tables.values()))
    for table in tables.values():
        store.describe(table)
    order, total = first_missing(tables, rank, world_size)
    done = computed = 0
    for shard in order:
        wanted = any_table.shard_range(shard)
        if absent(tables, shard):
            parts: dict[str, list[Float32Array]] = {layer: [] for layer in tables}
            for start in range(wanted.start, wanted.stop, probe.group):
                rows = probe(range(start, start + probe.group))
                keep = min(probe.group, wanted.stop - start)
                for layer in tables:
                    parts[layer].append(rows[layer][:keep])
                if progress is not None:
                    progress(done + start + keep - wanted.start, total)
            for layer in absent(tables, shard):
                tables[layer].write(shard, np.concatenate(parts[layer]))
            computed += len(wanted)
        done += len(wanted)
    return ExtractReport(
        computed=computed,
        reused=len(any_table) - min(computed, len(any_table)),
        damaged=sum(len(table.damaged) for table in tables.values()),
        seconds=time.perf_counter() - started,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A model, and how it is to be asked.

    Attributes:
        model: Fits `evalkit.adapters.capabilities`.
        seed: The run's seed.
        labels: Classes of a conditional model (`evalkit.adapters.samples.labels_for`).
        truncation_psi: Pull towards the average w; 1 is none, as protocols have it.
        truncation_cutoff: How many layers are pulled; None leaves it to the model.
    """

    model: Any
    seed: int
    labels: Labels = None
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None

    @property
    def num_classes(self) -> int:
        """Classes of the model, 0 where it has none."""
        return int(getattr(self.model, "num_classes", 0))

    @property
    def device(self) -> torch.device:
        """Where the model runs: what it says, or where its latents are."""
        import torch

        said = getattr(self.model, "device", None)
        found: torch.device = self.model.latents(np.zeros(1, np.int64)).device
        return found if said is None else torch.device(said)

    def classes(self, seeds: Int64Array) -> Int64Array | None:
        """The class of every seed, ``(n,)``, or None for a model without classes.

        Raises:
            UsageError: A conditional model got no labels, or they do not fit.
        """
        return labels_for(seeds, self.labels, self.num_classes, self.model.name)

    def styles(self, z: Tensor, classes: Int64Array | None) -> Tensor:
        """Styles of latents of the drawn classes."""
        truncation: dict[str, Any] = {}
        if self.truncation_psi != 1:
            truncation = {"truncation_psi": self.truncation_psi, "truncation_cutoff": self.truncation_cutoff}
        w: Tensor = self.model.map(z, classes, **truncation)
        return w

    def facts(self) -> dict[str, Any]:
        """All that decides the model's answers but the model, for digests."""
        labels = self.labels
        if isinstance(labels, np.ndarray):
            labels = hashlib.sha256(labels.tobytes()).hexdigest()
        return {
            "seed": self.seed,
            "labels": labels if self.num_classes else None,
            "truncation": [self.truncation_psi, self.truncation_cutoff],
        }
