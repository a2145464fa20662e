"""Error bars of 2 to the power of a sum of entropies, from the influence of single samples (delta method).

The influence values come from the metric (`evalkit.metrics.latent.separability`). What they hold fixed, the
error holds fixed too: classifiers that were fitted to the samples are taken as given, so the interval speaks
of the draw of samples under these classifiers, and not of how other samples would have fitted them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from evalkit.uncertainty.estimate import Estimate, normal_interval

FloatArray = npt.NDArray[np.float64]


def exponential_estimate(
    bits: float, influence: FloatArray, *, perfect: int, num_judged: int, notes: tuple[str, ...] = ()
) -> Estimate:
    """2^bits, where bits is a sum of conditional entropies estimated from one set of samples.

    Args:
        bits: The sum, 0 or more.
        influence: ``(n,)``: influence of every sample on ``bits``, summed over the entropies, so that what
            they share through the samples is counted.
        perfect: How many of the entropies are 0 because no prediction was wrong.
        num_judged: Samples behind each of those.
        notes: What a reader must know.

    Returns:
        The estimate. The interval is that of ``bits``, cut at 0, raised to the power. Where no prediction at
        all was wrong no sample has any influence, and the interval ends where the rule of three does: if
        wrong predictions of different attributes are independent, none of them in ``num_judged`` samples
        says that their shares add up to at most 3 / ``num_judged``, with 95 % certainty. A share e leaves at
        most h(e) bits open, h the binary entropy, and most if all ``perfect`` shares are equal (h is
        concave). Where nothing could be wrong either (``perfect`` is 0), no error is defined.
    """
    value = 2.0**bits
    spread = float(np.sqrt(influence @ influence)) / len(influence)
    if spread == 0 and not perfect:
        return Estimate(
            value=value, standard_error=None, interval=None,
            method="none: there is no attribute of which both classes were seen", notes=notes,
        )  # fmt: skip
    if spread == 0:
        share = min(3 / (num_judged * perfect), 0.5)
        most = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
        return Estimate(
            value=value, standard_error=0.0, interval=(value, 2.0 ** (bits + perfect * most)),
            method="no prediction was wrong: rule of three for the share of wrong ones, taken as independent "
            "over attributes; the classifiers are held fixed", notes=notes,
        )  # fmt: skip
    low, high = normal_interval(bits, spread)
    return Estimate(
        value=value,
        standard_error=math.log(2) * value * spread,
        interval=(2.0 ** max(low, 0.0), 2.0**high),
        method="influence function of the sum of entropies, for as many samples; interval raised to the "
        "power of 2; the classifiers are held fixed, so how other samples would fit them is not counted",
        notes=notes,
    )
