"""The errors a user can cause: each says what was given, what is accepted and the next step.

The command line prints the message alone and exits with code 2. Nothing in evalkit turns a failure into a
number.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class EvalkitError(Exception):
    """Base of every error a user can cause. Its message is complete: given, accepted, next step."""


class UsageError(EvalkitError):
    """A flag, a name or a combination of them that cannot be run."""


class SourceError(EvalkitError):
    """Images that cannot be read as the user asked: missing, broken, of the wrong type or shape."""


class WeightsError(EvalkitError):
    """Network weights that are missing, partial, or not the file they should be."""


class CheckpointError(EvalkitError):
    """A model file that cannot be read safely, is damaged, or is not of the model it was taken for."""


class ProtocolError(EvalkitError):
    """A number was asked for under a protocol that its inputs do not meet."""


class MetricError(EvalkitError):
    """Features on which a metric is not defined: too few, not finite, constant, of unequal width."""


class StoreError(EvalkitError):
    """The feature store or a results folder cannot be read or written."""


class TrainingError(EvalkitError):
    """Training that cannot go on: it diverged, memory does not suffice, or a process is gone."""


def nearest(name: str, known: Mapping[str, object] | list[str]) -> str:
    """Names the known entries that look like ``name``, for use inside an error message."""
    close = difflib.get_close_matches(name.lower(), {k.lower(): k for k in known}, n=3, cutoff=0.5)
    by_lower = {k.lower(): k for k in known}
    return ", ".join(by_lower[c] for c in close) or "nothing close"


def lookup(name: str, known: Mapping[str, T], kind: str) -> T:
    """Returns ``known[name]``, or raises a `UsageError` that names the nearest entries.

    Args:
        name: What the user typed.
        known: The table to look in.
        kind: Singular noun of the table, as `evalkit list` spells it without the plural s.

    Raises:
        UsageError: ``name`` is not in ``known``.
    """
    if name in known:
        return known[name]
    raise UsageError(
        f"unknown {kind} {name!r} (nearest: {nearest(name, known)}); `evalkit list {kind}s` shows all "
        f"{len(known)}"
    )
