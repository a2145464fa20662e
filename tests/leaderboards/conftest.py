"""Records as the engine files them, built by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.digest import plain
from evalkit.protocols.catalog import select
from evalkit.records.schema import DataUse, Record, Training
from evalkit.records.store import RecordStore

Make = Callable[..., Record]


def make(
    metric: str = "fid",
    value: float | None = 10.0,
    *,
    protocol: str | None = None,
    model: str = "gan",
    data: str | None = "cifar10",
    images: str | None = None,
    real: str | None = None,
    num: int = 1000,
    weights: str = "a" * 64,
    created: str = "2026-01-01T00:00:00+00:00",
    kimg: float | None = None,
    **more: Any,
) -> Record:
    """A record of ``metric``; ``images`` and ``real`` stand for the content of both sides."""
    (spec,) = select([protocol or metric])
    digest = more.pop("digest", spec.digest)
    return Record(
        metric=metric,
        value=value,
        reason=None if value is not None else more.pop("reason"),
        higher_is_better=spec.higher_is_better,
        protocol={"name": spec.name, "version": spec.version, "digest": digest, "fields": plain(spec)},
        extractor={"name": spec.extractor, "layer": spec.layer, "weights_sha256": weights},
        samples=DataUse(
            name=model,
            spec=model,
            fingerprint=images or f"images of {model}",
            num=num,
            training=None if kimg is None else Training(kimg=kimg, checkpoint_sha256="f" * 64),
        ),
        data=None
        if data is None
        else DataUse(name=data, spec=data, fingerprint=real or f"real {data}", num=5000),
        provenance={"created": created},
        **more,
    )


@pytest.fixture(name="make")
def _make() -> Make:
    return make


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Files records in a results folder and returns it."""

    def put(*records: Record) -> Path:
        store = RecordStore(tmp_path / "results")
        for record in records:
            assert store.append(record)
        return store.folder

    return put
