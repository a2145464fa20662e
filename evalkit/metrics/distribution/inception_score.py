"""Inception score: how sure a classifier is of each sample, and how varied its answers are. Higher is better.

IS = exp( mean_x KL( p(y|x) || p(y) ) ), averaged over splits   (Salimans et al. 2016, section 4)

Official: NVlabs/stylegan3@c233a91 metrics/inception_score.py (split i of S is rows [i n // S, (i+1) n // S),
no shuffle, ddof 0); toshas/torch-fidelity@5e211a9 metric_isc.py and layer6ai-labs/dgm-eval@74c79f7 permute
the rows by ``RandomState(2020)`` first; Lightning-AI/torchmetrics@dab0333 has ddof 1;
openai/guided-diffusion@22e0df8 evaluations/evaluator.py cuts splits of a fixed size, the last one shorter
(`split_bounds_by_size`). Deviates: probabilities come from log_softmax in float64, so that one that
underflows to 0 contributes 0, where the official codes give NaN or add 1e-16.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.rows import Reordered, Rows, blocks

FloatArray = npt.NDArray[np.float64]
Bounds = list[tuple[int, int]]


class InceptionScore(NamedTuple):
    """The score and what its error needs.

    Attributes:
        mean: Mean over the splits: the score that is quoted.
        std: Standard deviation over the splits, with the ``ddof`` asked for.
        splits: Score of each split.
        bias: First-order expectation of ``mean`` minus the score of infinitely many samples. It is negative:
            small splits see less variety than there is.
    """

    mean: float
    std: float
    splits: FloatArray
    bias: float


def split_bounds(n: int, splits: int) -> Bounds:
    """``splits`` equal parts of n rows; part i is [i n // splits, (i+1) n // splits)."""
    return [(i * n // splits, (i + 1) * n // splits) for i in range(splits)]


def split_bounds_by_size(n: int, size: int) -> Bounds:
    """Parts of ``size`` rows, the last one shorter, as ADM's evaluator cuts them."""
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def inception_score(
    rows: Rows,
    *,
    splits: int | None = 10,
    split_size: int | None = None,
    shuffle_seed: int | None = None,
    ddof: int = 0,
    given: Literal["logits", "probabilities"] = "logits",
) -> InceptionScore:
    """Inception score of classifier outputs.

    Args:
        rows: One row of outputs for each sample, ``(n, classes)``.
        splits: Number of equal splits; None where ``split_size`` is given.
        split_size: Rows in a split, as ADM has it.
        shuffle_seed: Seed of ``RandomState`` for a permutation before splitting; None keeps the order.
        ddof: Of the standard deviation over the splits.
        given: Whether rows hold logits or probabilities.

    Raises:
        MetricError: There are more splits than rows, rows are no probabilities, or the result is not finite.
    """
    if len(rows.shape) != 2 or rows.shape[1] < 2:
        raise MetricError(
            f"an inception score needs outputs of shape (n, classes) with 2 classes or more, got "
            f"{tuple(rows.shape)}; use a classifier's logits layer"
        )
    n = len(rows)
    if (splits is None) == (split_size is None):
        raise MetricError(
            "an inception score is cut by a number of splits or by their size: give one of the two"
        )
    number = splits if splits is not None else split_size
    assert number is not None
    if not 1 <= number or (splits is not None and splits > n) or not n:
        raise MetricError(
            f"an inception score of {n} samples cannot be cut by {number}: every split needs a sample; give "
            "more samples or fewer splits"
        )
    bounds = split_bounds(n, number) if splits is not None else split_bounds_by_size(n, number)
    if ddof >= len(bounds) and ddof > 0:
        raise MetricError(f"a standard deviation with ddof {ddof} needs more than {len(bounds)} splits")
    if shuffle_seed is not None:
        rng = np.random.RandomState(shuffle_seed)
        rows = Reordered(rows, rng.permutation(n))
    found = [_split(rows, start, stop, given) for start, stop in bounds]
    scores = np.array([score for score, _ in found])
    mean = float(scores.mean())
    bias = float(np.mean([bias for _, bias in found]))
    if not np.isfinite([mean, bias]).all():
        raise MetricError(
            "the inception score is not finite; check the classifier's outputs for NaN and infinity"
        )
    return InceptionScore(mean, float(scores.std(ddof=ddof)), scores, bias)


def _split(rows: Rows, start: int, stop: int, given: str) -> tuple[float, float]:
    """Score of one split, and its first-order bias.

    With L the mean divergence of n rows, E exp(L) - exp(L_inf) = exp(L) (v / 2n - c / 2n) to first order,
    where v is the variance of KL(p(y|x) || p(y)) and c = sum_y var p(y|x) / p(y) comes from estimating p(y)
    (Miller 1955 for one-hot rows).
    """
    n, classes = stop - start, rows.shape[1]
    total = np.zeros(classes)
    squares = np.zeros(classes)
    inner = 0.0  # sum over rows of sum_y p log p
    part = Reordered(rows, np.arange(start, stop))
    for block in blocks(part):
        p, plogp = _probabilities(block, given, start)
        total += p.sum(axis=0)
        squares += np.square(p).sum(axis=0)
        inner += float(plogp.sum())
    marginal = total / n
    log_marginal = np.log(np.where(marginal > 0, marginal, 1.0))
    mean = inner / n - float(marginal @ log_marginal)
    score = float(np.exp(mean))
    deviations = 0.0
    for block in blocks(part):
        p, plogp = _probabilities(block, given, start)
        divergence = plogp.sum(axis=1) - p @ log_marginal
        deviations += float(np.square(divergence - mean).sum())
    scatter = np.maximum(squares - n * np.square(marginal), 0.0)
    spread = float((scatter[marginal > 0] / marginal[marginal > 0]).sum()) / n
    return score, score * (deviations / n - spread) / (2 * n)


def _probabilities(block: npt.NDArray[np.floating], given: str, start: int) -> tuple[FloatArray, FloatArray]:
    """Probabilities p, and p log p, in float64."""
    wide = block.astype(np.float64)
    if given == "probabilities":
        if (wide < 0).any() or not np.allclose(wide.sum(axis=1), 1, rtol=0, atol=1e-3):
            raise MetricError(
                f"rows from {start} on are no probabilities: they must be 0 or more and sum to 1; give "
                "logits instead"
            )
        return wide, wide * np.log(np.where(wide > 0, wide, 1.0))
    wide -= wide.max(axis=1, keepdims=True)
    p = np.exp(wide)
    sums = p.sum(axis=1, keepdims=True)
    p /= sums
    wide -= np.log(sums)
    return p, p * wide
