"""Records into one tidy pandas frame: a row a number, a column a fact about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.records.schema import Record
from evalkit.records.store import read_records
from leaderboards.columns import LIKELIHOOD

if TYPE_CHECKING:
    import pandas as pd

# Facts of a record by the name of their column, in the order of the frame.
FACTS = (
    "data", "data_fingerprint", "num_data", "samples", "samples_fingerprint", "num_samples", "metric",
    "value", "standard_error", "ci_low", "ci_high", "ci_method", "bias", "higher_is_better", "reason", "seed",
    "protocol", "protocol_version", "protocol_digest", "kind", "extractor", "layer", "weights_sha256",
    "created", "record_id",
)  # fmt: skip


_TERMS = ("bound", "num_importance", "bits", "dequantisation", "num_dims")
_COUNTS = ("num_importance", "bits", "num_dims")


def read_frame(paths: Sequence[Path | str] | Path | str) -> pd.DataFrame:
    """All records below ``paths`` (results folders or single files) as a tidy frame, each record once.

    Raises:
        StoreError: A path does not exist, holds no record, or a file is not a whole record.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    return frame_of(read_records([Path(path) for path in given]))


def frame_of(records: Iterable[Record]) -> pd.DataFrame:
    """``records`` as a tidy frame; missing numbers are NaN and missing words None.

    Beside `FACTS` it has ``kimg``: thousands of images that the model was trained on, where that is known;
    ``per_image``: the value of every image, by name, where the record holds them; and of a likelihood
    ``bound``, ``num_importance``, ``bits``, ``dequantisation`` and ``num_dims``.
    """
    import pandas as pd

    given = list(records)
    frame = pd.DataFrame([facts(record) for record in given], columns=list(FACTS))
    # Not one of `FACTS`: those are the columns of databases that are there already.
    frame["kimg"] = [None if (known := record.samples.training) is None else known.kimg for record in given]
    frame["per_image"] = [record.per_image for record in given]
    terms = [_terms(record) for record in given]
    for name in _TERMS:
        frame[name] = [each.get(name) for each in terms]
    numbers = ("value", "standard_error", "ci_low", "ci_high", "bias", "kimg")
    types: dict[Any, Any] = dict.fromkeys(numbers, "float64") | dict.fromkeys(_COUNTS, "Int64")
    typed: pd.DataFrame = frame.astype(types)
    return typed


def facts(record: Record) -> dict[str, Any]:
    """The facts of one record that tables need, by the names in `FACTS`."""
    low, high = record.ci95 if record.ci95 is not None else (None, None)
    return {
        "data": "" if record.data is None else record.data.name,
        "data_fingerprint": "" if record.data is None else record.data.fingerprint,
        "num_data": None if record.data is None else record.data.num,
        "samples": record.samples.name,
        "samples_fingerprint": record.samples.fingerprint,
        "num_samples": record.samples.num,
        "metric": record.metric,
        "value": record.value,
        "standard_error": record.standard_error,
        "ci_low": low,
        "ci_high": high,
        "ci_method": record.ci_method,
        "bias": record.bias,
        "higher_is_better": record.higher_is_better,
        "reason": record.reason,
        "seed": record.seed,
        "protocol": record.protocol.get("name", ""),
        "protocol_version": record.protocol.get("version", 0),
        "protocol_digest": record.protocol.get("digest", ""),
        "kind": _kind(record.protocol),
        "extractor": record.extractor.get("name", ""),
        "layer": record.extractor.get("layer", ""),
        "weights_sha256": record.extractor.get("weights_sha256", ""),
        "created": record.provenance.get("created", ""),
        "record_id": record.record_id,
    }


def _terms(record: Record) -> Mapping[str, Any]:
    """What a likelihood is one of; nothing of another metric."""
    if _kind(record.protocol) != LIKELIHOOD:
        return {}
    options, extractor = record.protocol["fields"]["options"], record.extractor
    found = {
        **{name: options.get(name) for name in ("bound", "num_importance", "bits")},
        "dequantisation": extractor.get("dequantisation"),
        "num_dims": extractor.get("dims"),
    }
    # Whoever wrote the record may have put anything there.
    return {name: value for name, value in found.items() if type(value) is (int if name in _COUNTS else str)}


def _kind(protocol: Mapping[str, Any]) -> str:
    """Family of the metric: the options class of its protocol, such as ``Frechet`` or ``Kernel``."""
    options = protocol.get("fields", {}).get("options", {})
    return str(options.get("__type__", "")).removesuffix("Options")
