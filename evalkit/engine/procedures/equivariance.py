"""EQ-T and EQ-R from the squared errors of single images, with an error bar. Knows no model or device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.engine.equivariance import COLUMNS
from evalkit.engine.procedures.distribution import Measured
from evalkit.errors import MetricError
from evalkit.metrics.equivariance.eq import psnr
from evalkit.metrics.rows import Rows
from evalkit.protocols.spec import EquivarianceOptions, ProtocolSpec
from evalkit.uncertainty.ratio import psnr_estimate


def measure_equivariance(
    spec: ProtocolSpec, rows: Rows, seed: int, notes: Sequence[str] = ()
) -> list[Measured]:
    """The PSNR of ``spec``.

    Args:
        spec: A protocol with `EquivarianceOptions`.
        rows: ``(n, 6)``, `evalkit.engine.equivariance.COLUMNS`, in the order of their indices.
        seed: Seed of latents and moves, for the record.
        notes: What the model says of how it moves its input, for the record.

    Returns:
        One number. Its extras: ``median_image`` and ``std_image``, of the PSNRs of single images;
        ``images_compared``, those with a pixel that could be; ``values_compared``, pixels times channels of
        the mean image.

    Raises:
        MetricError: An error is not finite, nothing could be compared, or nothing differs.
    """
    assert isinstance(spec.options, EquivarianceOptions)
    table = np.asarray(rows[0 : len(rows)], dtype=np.float64)
    errors, counted = table[:, COLUMNS.index("squared_error")], table[:, COLUMNS.index("counted")]
    if bad := np.flatnonzero(~np.isfinite(errors)).tolist():
        raise MetricError(
            f"{spec.name}: images {', '.join(map(str, bad[:5]))} ({len(bad)} in all) hold NaN or infinite "
            "values under a transform; the generator failed there: check its weights and how it takes the "
            "transform"
        )
    try:
        value = psnr(float(errors.sum()), float(counted.sum()))
    except MetricError as error:
        raise MetricError(f"{spec.name}: {error}") from error
    if not table[:, COLUMNS.index("changed")].any():
        notes = (*notes, "no transform changed any image: the model seems to ignore it")
    seen = (counted > 0) & (errors > 0)
    single = np.array([psnr(*pair) for pair in zip(errors[seen], counted[seen], strict=True)])
    extras = {
        "median_image": float(np.median(single)),
        "std_image": float(single.std()),
        "images_compared": float(np.count_nonzero(counted)),
        "values_compared": float(counted.mean()),
    }
    estimate = psnr_estimate(value, errors, counted, group=spec.options.batch, notes=notes)
    return [Measured(metric=spec.name, estimate=estimate, extras=extras, seed=seed)]
