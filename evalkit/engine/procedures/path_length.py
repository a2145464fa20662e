"""A path length from the distances of its pairs, with its error bar. Reads rows; knows no model or device."""

from __future__ import annotations

import numpy as np

from evalkit.engine.path_length import NOISE_GROUP
from evalkit.engine.procedures.distribution import Measured
from evalkit.metrics.latent.ppl import trimmed
from evalkit.metrics.rows import Rows
from evalkit.protocols.spec import PathLengthOptions, ProtocolSpec
from evalkit.uncertainty.trimmed import trimmed_estimate


def measure_path_length(spec: ProtocolSpec, rows: Rows, seed: int) -> list[Measured]:
    """The path length of ``spec``.

    Args:
        spec: A protocol with `PathLengthOptions`.
        rows: Distances over the squared step, ``(n, 1)``, in the order of their indices.
        seed: Seed of the pairs, for the record.

    Returns:
        One number. Its extras: ``median`` and ``untrimmed_mean`` of all pairs, ``std`` of those that count
        (what torch-fidelity prints), ``num_kept`` of them, ``lower_bound`` and ``upper_bound``.

    Raises:
        MetricError: There are no rows, or a distance is not finite.
    """
    assert isinstance(spec.options, PathLengthOptions)
    values = np.asarray(rows[0 : len(rows)], dtype=np.float64)[:, 0]
    found = trimmed(values, spec.options.lower, spec.options.upper)
    group = NOISE_GROUP if spec.options.draws == "seeds" else 1
    extras = {
        "median": float(np.median(values)),
        "untrimmed_mean": float(values.mean()),
        "std": float(found.kept.std()),
        "num_kept": float(len(found.kept)),
        "lower_bound": found.lower,
        "upper_bound": found.upper,
    }
    estimate = trimmed_estimate(found.mean, values, found.lower, found.upper, group=group)
    return [Measured(metric=spec.name, estimate=estimate, extras=extras, seed=seed)]
