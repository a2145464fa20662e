"""From the rows of restorations to a number with an error bar: a mean over images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.engine.procedures.distribution import Measured
from evalkit.protocols.restoration_options import SampleOptions
from evalkit.protocols.spec import ProtocolSpec
from evalkit.uncertainty.estimate import Estimate
from evalkit.uncertainty.mean import mean_estimate

Float64Array = npt.NDArray[np.float64]


class RestorationResult(NamedTuple):
    """One number of restorations.

    Attributes:
        measured: The number; None where it is not finite.
        reason: Why there is none.
        per_image: The number of every image that has a finite one, by name.
    """

    measured: Measured | None
    reason: str | None
    per_image: Mapping[str, float]


def measure_restoration(
    spec: ProtocolSpec, values: Float64Array, names: Sequence[str], *, num_samples: int, seed: int | None
) -> RestorationResult:
    """The number of ``spec``: the mean over images of what their samples come to.

    Args:
        spec: A protocol of restoration.
        values: ``(images, samples)``; one column where samples are judged together, or cannot differ.
        names: Of the images.
        num_samples: Restorations of each image.
        seed: Of the draws, or None where nothing was drawn.

    Returns:
        The number. Its extras: of images ``std`` (n - 1), ``min``, ``max``; of single samples, where there
        are several, ``best_of_n``, ``worst_of_n`` and ``std_of_samples``, each a mean over images.
    """
    each = _of_each_image(spec, values)
    per_image = {name: float(value) for name, value in zip(names, each, strict=True) if math.isfinite(value)}
    if endless := [name for name in names if name not in per_image]:
        return RestorationResult(
            None,
            f"{spec.name} is infinite: {len(endless)} of {len(names)} images equal what they are compared "
            f"with, the first is {endless[0]}; the others are in per_image",
            per_image,
        )
    extras = {"min": float(each.min()), "max": float(each.max())}
    if len(each) > 1:
        extras["std"] = float(each.std(ddof=1))
    if isinstance(spec.options, SampleOptions) and num_samples > 1:
        best, worst = (values.max(axis=1), values.min(axis=1))
        if not spec.higher_is_better:
            best, worst = worst, best
        parts = {"best_of_n": best, "worst_of_n": worst}
        if np.isfinite(values).all():
            parts["std_of_samples"] = (
                values.std(axis=1, ddof=1) if values.shape[1] > 1 else np.zeros(len(values))
            )
        extras |= {name: float(part.mean()) for name, part in parts.items() if np.isfinite(part).all()}
    return RestorationResult(
        Measured(metric=spec.name, estimate=_estimate(each), extras=extras, seed=seed),
        None,
        per_image,
    )


def _of_each_image(spec: ProtocolSpec, values: Float64Array) -> Float64Array:
    which = spec.options.of_samples if isinstance(spec.options, SampleOptions) else "mean"
    if which == "mean":
        found: Float64Array = values.mean(axis=1)
    elif (which == "best") == spec.higher_is_better:
        found = values.max(axis=1)
    else:
        found = values.min(axis=1)
    return found


def _estimate(each: Float64Array) -> Estimate:
    if len(each) > 1:
        return mean_estimate(each, few=True)
    return Estimate(
        value=float(each[0]),
        standard_error=None,
        interval=None,
        method="",
        notes=("one image has no spread over images, so that there is no interval",),
    )
