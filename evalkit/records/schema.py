"""One result as one self-contained record.

A record holds what was measured, under which protocol (every field of it), on what data (content
fingerprints), with which weights, how sure the number is, and how it came about. Its ``record_id`` is the
digest of everything that decides the result, so two runs of the same evaluation file the same record, and an
edited record is noticed.

JSON has no NaN: a result that could not be scored has the value null and a reason, never 0.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from evalkit.digest import digest
from evalkit.errors import StoreError

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Which moment of its training a model was measured at.

    Attributes:
        kimg: Thousands of images it was trained on.
        checkpoint_sha256: Digest of its weights.
    """

    kimg: float
    checkpoint_sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataUse:
    """A set of images, or of statistics, as it took part in a result.

    Attributes:
        name: Name shown in tables.
        spec: What the user typed.
        fingerprint: sha256 of the content that was used.
        num: Images used, or behind the statistics; None where a statistics file does not say.
        num_broken: Unreadable images left out by ``--skip-broken``.
        notes: How images were read, where that needs saying.
        training: How long the model that made them was trained, where that is known. A record without it has
            no such key, as records had none before there was training.
    """

    name: str
    spec: str
    fingerprint: str
    num: int | None
    num_broken: int = 0
    notes: tuple[str, ...] = ()
    training: Training | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One number with all that is needed to trust, compare and repeat it.

    Attributes:
        metric: Name of the value (``fid50k_full``, ``pr50k3_full_precision``).
        value: The number, or None with a ``reason``.
        reason: Why there is no value.
        standard_error: One standard error of the value.
        ci95: 95 % interval.
        ci_method: How both were obtained.
        bias: First-order bias estimate; the interval is centred on ``value - bias`` where it is given.
        higher_is_better: Direction of improvement.
        extras: Further numbers of the same computation (spread over splits or subsets).
        notes: What a reader should know.
        seed: Seed of the random draws inside the metric and its interval.
        protocol: Name, version, digest and every field of the protocol.
        extractor: Name, layer and digest of the weights; resize and precision are fields of the protocol.
        samples: The images that were judged.
        data: The real images they were held against; None for metrics that need none.
        per_image: Of metrics that are a mean over images, the value of each that has a finite one, by name. A
            record without it has no such key, as records had none before there were restorations.
        provenance: When, where, with what, how long. Not part of ``record_id``.
        schema_version: Version of this layout.
    """

    metric: str
    value: float | None
    reason: str | None = None
    standard_error: float | None = None
    ci95: tuple[float, float] | None = None
    ci_method: str = ""
    bias: float | None = None
    higher_is_better: bool
    extras: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seed: int | None = None
    protocol: Mapping[str, Any]
    extractor: Mapping[str, Any]
    samples: DataUse
    data: DataUse | None
    per_image: Mapping[str, float] | None = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a record has either a value or a reason why there is none")

    @property
    def body(self) -> dict[str, Any]:
        """All that decides the result: every field but the provenance."""
        body = dataclasses.asdict(self)
        del body["provenance"]
        if body["per_image"] is None:
            del body["per_image"]
        for use in (body["samples"], body["data"]):
            if use is not None and use["training"] is None:
                del use["training"]
        return body

    @property
    def record_id(self) -> str:
        """sha256 of `body`."""
        return digest(self.body)

    def to_dict(self) -> dict[str, Any]:
        """The record as it is filed: ``record_id``, the body, and the provenance."""
        return {"record_id": self.record_id, **self.body, "provenance": dict(self.provenance)}

    def to_json(self, indent: int | None = 1) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)


def record_from_dict(given: Mapping[str, Any], where: str) -> Record:
    """Rebuilds a record and checks that it is whole.

    Args:
        given: Parsed JSON.
        where: File name for messages.

    Raises:
        StoreError: The layout is unknown or newer, a field is missing or extra, or the content was changed
            after filing.
    """
    fields = dict(given)
    version = fields.get("schema_version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{where}: schema version {version!r}, this evalkit reads version {SCHEMA_VERSION}; "
            "update evalkit, or move the file out of the results folder"
        )
    claimed = fields.pop("record_id", None)
    try:
        samples, data = fields.pop("samples"), fields.pop("data")
        for name in ("ci95", "notes"):
            fields[name] = tuple(fields[name]) if fields[name] is not None else None
        record = Record(
            samples=_data_use(samples), data=_data_use(data) if data is not None else None, **fields
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{where}: not an evalkit record ({error}); move the file out of the results folder"
        ) from error
    if record.record_id != claimed:
        raise StoreError(
            f"{where}: the content does not match its record_id, so the file was edited or damaged after "
            "it was filed; delete it and run the evaluation again"
        )
    return record


def _data_use(given: Mapping[str, Any]) -> DataUse:
    fields = dict(given)
    fields["notes"] = tuple(fields["notes"])
    if "training" in fields:
        # Never null: a file that holds the key holds the facts.
        fields["training"] = Training(**fields["training"])
    return DataUse(**fields)
