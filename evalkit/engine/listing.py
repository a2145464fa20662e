"""What there is: protocols, sources, extractors and weights, as rows for programs and people. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.adapters.resolve import ReferenceModels
from evalkit.digest import plain
from evalkit.engine.judges import ANY_BUNDLE, judge_of
from evalkit.errors import lookup
from evalkit.features.catalog import EXTRACTORS
from evalkit.features.weights import WEIGHTS, status, weights_dir
from evalkit.protocols.catalog import GROUPS, PROTOCOLS, spelled
from evalkit.protocols.restoration_options import (
    ConditionalLikelihoodOptions,
    SampleOptions,
    TogetherOptions,
)
from evalkit.protocols.spec import ProtocolSpec
from evalkit.sources.resolve import describe_sources

Row = dict[str, Any]


def rows(kind: str, reference_models: ReferenceModels | None = None) -> list[Row]:
    """One row for each of ``kind``: protocols, models, sources, extractors or weights."""
    if kind == "models":
        return [] if reference_models is None else reference_models.model_rows()
    if kind == "weights":
        return weights_rows(None, [])
    return {"protocols": protocol_rows, "sources": source_rows, "extractors": extractor_rows}[kind]()


def protocol_rows() -> list[Row]:
    """Protocols, then groups of them."""
    found: list[Row] = [
        {
            "name": spec.name,
            "version": spec.version,
            "extractor": f"{spec.extractor}/{spec.layer}",
            "better": "higher" if spec.higher_is_better else "lower",
            "what": spec.about.title,
        }
        for spec in PROTOCOLS.values()
    ]
    groups: list[Row] = [
        {"name": name, "version": "", "extractor": "", "better": "", "what": "group: " + ", ".join(members)}
        for name, members in GROUPS.items()
    ]
    return found + groups


def source_rows() -> list[Row]:
    """Spellings of sources."""
    return [{"spelling": spelling, "what": what} for spelling, what in describe_sources().items()]


def extractor_rows() -> list[Row]:
    """Networks, their layers and resizes."""
    return [
        {
            "name": info.name,
            "layers": ", ".join(f"{layer} ({width})" for layer, width in info.layers.items()),
            "resizes": ", ".join(info.resizes),
            "weights": ", ".join(info.weights),
            "source": info.source,
        }
        for info in EXTRACTORS.values()
    ]


def weights_rows(folder: Path | None, names: Sequence[str]) -> list[Row]:
    """State of weight files: those named, or all of the catalogue."""
    chosen = [lookup(name, WEIGHTS, "weight") for name in names] if names else list(WEIGHTS.values())
    found = []
    for entry in chosen:
        state = status(entry, weights_dir(folder))
        found.append(
            {"name": entry.name, "state": state.state, "file": str(state.path), "detail": state.detail}
        )
    return found


def describe(name: str) -> dict[str, Any]:
    """Every field of a protocol, its digest, its source, and the files it needs.

    Raises:
        UsageError: No protocol has this name; the nearest are offered.
    """
    spec = spelled(name) or lookup(name, PROTOCOLS, "protocol")
    judge = judge_of(spec)
    fields: dict[str, Any] = {"id": spec.id, "digest": spec.digest}
    for field in dataclasses.fields(spec):
        if field.name not in ("options", "about"):
            fields[field.name] = getattr(spec, field.name)
    options = plain(spec.options)
    assert isinstance(options, dict)
    fields["metric"] = options.pop("__type__").removesuffix("Options")
    fields.update(options)
    fields["values"] = ", ".join(spec.values)
    fields["better"] = "higher" if spec.higher_is_better else "lower"
    fields["title"] = spec.about.title
    fields["source"] = spec.about.source
    fields["deviates"] = spec.about.deviates or "nowhere known"
    fields["needs"] = _needs(spec)
    fields["network"] = judge.source
    named = "the bundle that --attributes names" if spec.extractor == ANY_BUNDLE else "none"
    fields["files"] = ", ".join(WEIGHTS[weights].filename for weights in judge.weights) or named
    return fields


def _needs(spec: ProtocolSpec) -> str:
    if isinstance(spec.options, (SampleOptions, TogetherOptions)):
        return "originals, and their restorations or a model that Restores"
    if isinstance(spec.options, ConditionalLikelihoodOptions):
        return "originals, and a model that Restores and has conditional_nats"
    return spec.capability or ("data" if spec.needs_data else "samples alone")
