"""Bits per dimension from the nats of images, with an error bar. Reads rows; knows no model or device."""

from __future__ import annotations

import numpy as np

from evalkit.adapters.likelihood import Likelihood
from evalkit.engine.likelihood import distinct, nats_of
from evalkit.engine.procedures.distribution import Measured
from evalkit.errors import MetricError
from evalkit.metrics.likelihood.bits_per_dim import bits_per_dim, discretised
from evalkit.metrics.likelihood.plausibility import check_plausible
from evalkit.metrics.rows import Rows
from evalkit.protocols.spec import LikelihoodOptions, ProtocolSpec
from evalkit.uncertainty.mean import mean_estimate

_BOUNDS = {
    "exact": "a likelihood in closed form, no bound",
    "elbo": "the evidence lower bound of one posterior sample an image: at least as many bits as are needed",
}
_DEQUANTISED = {
    "discrete": "a probability of the levels",
    "uniform": "a density after uniform dequantisation, whose mean over the noise bounds the probability",
    "variational": "a bound on the probability by the model's own dequantisation",
    "none": "a density at the levels themselves, without dequantisation: comparable with no other number",
}


def measure_likelihood(
    spec: ProtocolSpec, rows: Rows, seed: int, said: Likelihood, name: str
) -> list[Measured]:
    """The bits per dimension of ``spec``.

    Args:
        spec: A protocol with `LikelihoodOptions`.
        rows: What `evalkit.engine.likelihood.LikelihoodProbe` made.
        seed: Seed of the draws, for the record.
        said: What the model says of its likelihood.
        name: The model's name.

    Returns:
        One number. Its extras: ``nats_per_image``, ``bits_per_pixel``, ``num_dims``, ``std`` over images,
        ``min`` and ``max`` of an image's bits per dimension, ``num_distinct`` images.

    Raises:
        MetricError: The numbers cannot be those of a likelihood.
    """
    assert isinstance(spec.options, LikelihoodOptions)
    table = np.asarray(rows[0 : len(rows)], dtype=np.float64)
    nats = discretised(nats_of(table), said.num_dims, bits=said.bits, scale=said.density)
    num_distinct = distinct(table)
    doubt = check_plausible(
        nats, num_dims=said.num_dims, bits=said.bits, num_distinct=num_distinct, units=said.units, name=name,
        kind=said.kind, dequantisation=said.dequantisation, scale=said.density,
    )  # fmt: skip
    if doubt is not None and not said.vouched:
        raise MetricError(doubt)
    each = bits_per_dim(nats, said.num_dims)
    extras = {
        "nats_per_image": float(nats.mean()),
        "bits_per_pixel": float(each.mean()) * said.shape[0],
        "num_dims": float(said.num_dims),
        "std": float(each.std(ddof=1)),
        "min": float(each.min()),
        "max": float(each.max()),
        "num_distinct": float(num_distinct),
    }
    bound = _BOUNDS.get(spec.options.bound) or (
        f"the importance-weighted bound of {spec.options.num_importance:,} posterior samples an image"
    )
    notes = [
        bound,
        _DEQUANTISED[said.dequantisation],
        f"{said.bits} bits a level, {said.num_dims:,} dimensions",
    ]
    notes += [each for each in (said.note, doubt) if each]
    return [
        Measured(metric=spec.name, estimate=mean_estimate(each, notes=tuple(notes)), extras=extras, seed=seed)
    ]
