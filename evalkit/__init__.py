"""evalkit: measure generative image models under named protocols, with an error bar on every number.

Every command has a twin here that returns the same records::

    import evalkit
    records = evalkit.evaluate(samples="samples/", data="cifar10:test", metrics=["fid", "kid"])

Importing this package imports neither torch nor pandas; a name brings what it needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.adapters.external import adapt as adapt
    from evalkit.adapters.likelihood import Likelihood as Likelihood
    from evalkit.adapters.likelihood import likelihood as likelihood
    from evalkit.adapters.restorers import adapt_restorer as adapt_restorer
    from evalkit.engine.doctor import doctor as doctor
    from evalkit.engine.reference import build_reference as build_reference
    from evalkit.engine.repeats import repeat as repeat
    from evalkit.engine.restoration.run import evaluate_restoration as evaluate_restoration
    from evalkit.engine.run import evaluate as evaluate
    from evalkit.engine.run import plan as plan
    from evalkit.engine.sampling import sample as sample
    from evalkit.errors import EvalkitError as EvalkitError
    from evalkit.features.catalog import load_extractor as load_extractor
    from evalkit.features.weights import fetch as fetch_weights  # noqa: F401
    from evalkit.features.weights import verify as verify_weights  # noqa: F401
    from evalkit.protocols.catalog import PROTOCOLS as PROTOCOLS
    from evalkit.records.schema import Record as Record
    from evalkit.records.store import read_records as read_records
    from evalkit.sources.resolve import resolve as resolve

__version__ = "0.1.0"

_HOMES = {
    "EvalkitError": "evalkit.errors",
    "Likelihood": "evalkit.adapters.likelihood",
    "PROTOCOLS": "evalkit.protocols.catalog",
    "Record": "evalkit.records.schema",
    "adapt": "evalkit.adapters.external",
    "adapt_restorer": "evalkit.adapters.restorers",
    "build_reference": "evalkit.engine.reference",
    "doctor": "evalkit.engine.doctor",
    "evaluate": "evalkit.engine.run",
    "evaluate_restoration": "evalkit.engine.restoration.run",
    "fetch_weights": "evalkit.features.weights:fetch",
    "likelihood": "evalkit.adapters.likelihood",
    "load_extractor": "evalkit.features.catalog",
    "plan": "evalkit.engine.run",
    "read_records": "evalkit.records.store",
    "repeat": "evalkit.engine.repeats",
    "resolve": "evalkit.sources.resolve",
    "sample": "evalkit.engine.sampling",
    "verify_weights": "evalkit.features.weights:verify",
}

__all__ = [
    "__version__",
    *_HOMES,
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        known = ", ".join(sorted(_HOMES))
        raise AttributeError(f"module 'evalkit' has no attribute {name!r}; it has {known}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
