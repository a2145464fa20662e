"""Linear separability (Karras et al. 2019, section 4.2): how well hyperplanes of latents tell attributes.

Official: NVlabs/stylegan@1e0d5c7, metrics/linear_separability.py. For each attribute a classifier gives every
sample a logit l, and p = softmax([l, -l]) in float32. The samples with the largest max p are kept (the sort
is stable: ties stay in sample order), their target is argmax p, so 0 where the logit is positive. A linear
support vector machine is fitted to the latents of the kept samples and judged on the same samples. With the
joint table of prediction (row) and target (column), H = H(target | prediction) in bits; the score is
2^(sum of H over attributes), 1 or more; lower is better.

Differs from the official code, never by more than the scatter between solvers (0.02 in H, relative 0.02 in
the score):

* H is summed as -sum p_ij log2(p_ij / p_i.), in float64 over the float32 table. That is H(target) less the
  mutual information, and exactly 0 where no prediction is wrong; the official difference can round to 1e-7.
* The rows reach the solver in an order that depends on their content alone, so that the score of a set of
  samples does not depend on their listing (ties of max p across the last place excepted: which of them are
  kept is a matter of the listing, by definition).
* ``LinearSVC`` draws where it solves the dual (no more rows than dimensions): its ``random_state`` is set.
  ``dual="auto"``, the default of scikit-learn from 1.5 on, is named, so that older versions agree.
* An attribute of which only one class is kept counts as H = 0, as in the official code, and is reported.
  Other failures of the fit are errors here, where the official code counts them as H = 0 too.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.rows import Rows, blocks, canonical_order

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

# Share of the kept samples, the least confident, that speak for those at the threshold.
_RIM = 0.1
# Kept samples of the rarer class for each dimension, below which judging a classifier on what it was fitted
# to flatters it much: ten events per variable (Peduzzi et al. 1996).
_FEW = 10
# Share of the kept samples up to which ties at the threshold are no matter.
_TIES = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AttributeSeparability:
    """How well a hyperplane tells one attribute.

    Attributes:
        name: The attribute.
        joint: float32 ``(2, 2)`` shares of the kept samples; row is the prediction, column the target; 0 is
            "has the attribute" (a positive logit).
        entropy: H(target | prediction), in bits, 0 to 1.
        accuracy: Share of the kept samples that the hyperplane tells rightly.
        classes: Targets among the kept samples.
        tied: Samples that were left out though they are as confident as the last that was kept.
        converged: Whether the solver ended before its last iteration.
        influence: float64 ``(n,)``: influence of every sample on `entropy` with the hyperplane held fixed;
            its mean is 0.
    """

    name: str
    joint: Float32Array
    entropy: float
    accuracy: float
    classes: tuple[int, ...]
    tied: int
    converged: bool
    influence: Float64Array

    @property
    def one_class(self) -> bool:
        """Whether all kept samples have one target, so that nothing was told and `entropy` is 0 by rule."""
        return len(self.classes) == 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Separability:
    """The score of one latent space.

    Attributes:
        score: 2^`bits`, 1 or more.
        bits: Sum of the attributes' conditional entropies.
        attributes: What each contributes.
        num_keep: Samples kept for each attribute.
        notes: What a reader must know: attributes of one class, ties, fits that did not converge, rare
            classes.
    """

    score: float
    bits: float
    attributes: tuple[AttributeSeparability, ...]
    num_keep: int
    notes: tuple[str, ...]

    @property
    def influence(self) -> Float64Array:
        """float64 ``(n,)``: influence of every sample on `bits`, all attributes together."""
        total: Float64Array = np.sum([each.influence for each in self.attributes], axis=0, dtype=np.float64)
        return total


def probabilities(logits: npt.NDArray[np.floating]) -> Float32Array:
    """softmax([l, -l]) in float32, ``(n, 2)`` for logits ``(n,)``; column 0 is "has the attribute"."""
    values = np.asarray(logits, np.float32)
    both = np.stack([values, -values], axis=1)
    powers = np.exp(both - both.max(axis=1, keepdims=True))
    shares: Float32Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def most_confident(predictions: Float32Array, num_keep: int) -> Int64Array:
    """Indices of the ``num_keep`` samples with the largest max p, largest first, ties in sample order.

    Args:
        predictions: float32 ``(n, 2)``, as from `probabilities`.
        num_keep: How many; at most n.
    """
    return np.argsort(-predictions.max(axis=1), kind="stable")[:num_keep]


def joint_table(predicted: Int64Array, targets: Int64Array) -> Float32Array:
    """float32 ``(2, 2)`` shares of samples; row is the prediction, column the target, both 0 or 1."""
    counts = np.bincount(2 * predicted + targets, minlength=4).reshape(2, 2)
    return (counts / len(targets)).astype(np.float32)


def conditional_entropy(joint: npt.NDArray[np.floating]) -> float:
    """H(column | row) of a table of shares, in bits; 0 where each row has one column, never negative."""
    return float((joint.astype(np.float64) * _surprise(joint)).sum())


def _surprise(joint: npt.NDArray[np.floating]) -> Float64Array:
    # -log2 p(column | row) of every cell; 0 in cells that are empty.
    table = joint.astype(np.float64)
    row = table.sum(axis=1, keepdims=True)
    share = np.divide(table, row, out=np.ones_like(table), where=table > 0)
    surprise: Float64Array = np.maximum(-np.log2(share), 0.0)
    return surprise


def separability(
    latents: Rows,
    logits: Rows,
    *,
    num_keep: int,
    names: Sequence[str] | None = None,
    penalty: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Separability:
    """The score of a latent space.

    Args:
        latents: ``(n, d)``: z, or w of the last layer.
        logits: ``(n, A)``: of every attribute's classifier, on the images of these latents.
        num_keep: Samples kept for each attribute; officially half of them.
        names: Of the attributes; their numbers where None.
        penalty: C of the support vector machine.
        seed: Of the solver's draws, where it draws.
        progress: Called with (attributes done, attributes in all) after each of them.

    Raises:
        MetricError: Shapes do not fit, a value is not finite, or more samples are to be kept than there are.
    """
    points, scores = _whole(latents, "latents"), _whole(logits, "logits")
    if len(points) != len(scores):
        raise MetricError(
            f"there are {len(points):,} latents and logits of {len(scores):,} samples; give one row of each "
            "for every sample"
        )
    if not 1 <= num_keep <= len(points):
        raise MetricError(
            f"{num_keep:,} samples are to be kept of {len(points):,}; keep 1 or more, and not more than "
            "there are (officially half of them)"
        )
    num = scores.shape[1]
    called = [str(index) for index in range(num)] if names is None else list(names)
    if len(called) != num:
        raise MetricError(f"there are {num} columns of logits and {len(called)} names; name each attribute")
    rank = np.empty(len(points), np.int64)
    rank[canonical_order(points)] = np.arange(len(points))
    found = []
    for column, name in enumerate(called):
        told = probabilities(scores[:, column])
        found.append(attribute(points, told, num_keep, name, penalty=penalty, seed=seed, rank=rank))
        if progress is not None:
            progress(column + 1, num)
    bits = float(sum(each.entropy for each in found))
    return Separability(
        score=2.0**bits, bits=bits, attributes=tuple(found), num_keep=num_keep,
        notes=_notes(found, num_keep, points.shape[1]),
    )  # fmt: skip


def attribute(
    latents: npt.NDArray[np.floating],
    predictions: Float32Array,
    num_keep: int,
    name: str,
    *,
    penalty: float = 1.0,
    seed: int = 0,
    rank: Int64Array | None = None,
) -> AttributeSeparability:
    """What one attribute contributes.

    Args:
        latents: ``(n, d)``.
        predictions: float32 ``(n, 2)``, as from `probabilities`.
        num_keep: Samples to keep.
        name: The attribute's.
        penalty: C of the support vector machine.
        seed: Of the solver's draws, where it draws.
        rank: ``(n,)``: place of each row among all in the order in which the solver sees them; that of
            confidence where None.
    """
    kept = most_confident(predictions, num_keep)
    confidence = predictions.max(axis=1)
    tied = int(np.count_nonzero(confidence >= confidence[kept[-1]])) - num_keep
    threshold = kept[-max(1, round(_RIM * num_keep)) :]
    if rank is not None:
        kept = kept[np.argsort(rank[kept])]
    targets = predictions[kept].argmax(axis=1).astype(np.int64)
    classes = tuple(int(each) for each in np.unique(targets))
    predicted, converged = (
        (targets, True) if len(classes) == 1 else _told(latents[kept], targets, penalty, seed)
    )
    joint = joint_table(predicted, targets)
    entropy = conditional_entropy(joint)
    return AttributeSeparability(
        name=name, joint=joint, entropy=entropy, accuracy=float((predicted == targets).mean()),
        classes=classes, tied=tied, converged=converged,
        influence=_influence(_surprise(joint)[predicted, targets], kept, threshold, len(predictions)),
    )  # fmt: skip


def _told(
    rows: npt.NDArray[np.floating], targets: Int64Array, penalty: float, seed: int
) -> tuple[Int64Array, bool]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=penalty, dual="auto", random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(rows, targets)
    return machine.predict(rows).astype(np.int64), int(machine.n_iter_) < machine.max_iter


def _influence(surprise: Float64Array, kept: Int64Array, threshold: Int64Array, num: int) -> Float64Array:
    # H is the mean surprise g of the share f of samples beyond a quantile of confidence. A sample moves the
    # shares of the cells, which to first order moves H by g - H (the derivative of -p log(p / row)), and it
    # moves the quantile, past which samples of surprise r = E[g | at the threshold] lie:
    #     I = (1 / f) [ kept (g - r) - f (H - r) ]
    share = len(kept) / num
    all_surprise = np.zeros(num)
    all_surprise[kept] = surprise
    rim = float(all_surprise[threshold].mean()) if len(kept) < num else 0.0
    inside = np.zeros(num)
    inside[kept] = surprise - rim
    return inside / share - (float(surprise.mean()) - rim)


def _whole(rows: Rows, what: str) -> npt.NDArray[np.floating]:
    if len(rows.shape) != 2 or not rows.shape[0] or not rows.shape[1]:
        raise MetricError(
            f"{what} have shape {tuple(rows.shape)}; give one row for every sample: (samples, "
            f"{'dimensions' if what == 'latents' else 'attributes'})"
        )
    table = np.concatenate(list(blocks(rows)))
    if not (finite := np.isfinite(table).all(axis=1)).all():
        raise MetricError(
            f"{what} hold NaN or infinity in {np.count_nonzero(~finite):,} of {len(table):,} rows, first in "
            f"row {int(np.argmin(finite))} (counting from 0); look at the model's weights and precision"
        )
    return table


def _notes(found: Sequence[AttributeSeparability], num_keep: int, width: int) -> tuple[str, ...]:
    notes = []
    if alone := [each.name for each in found if each.one_class]:
        notes.append(
            f"{len(alone)} of {len(found)} attributes had one class among the {num_keep:,} most confident "
            f"samples and count as entropy 0: {', '.join(alone)}"
        )
    if tied := [each.name for each in found if each.tied > _TIES * num_keep]:
        notes.append(
            f"the classifiers of {len(tied)} of {len(found)} attributes are equally sure of more samples "
            f"than are kept, of which the first are taken: {', '.join(tied)}"
        )
    if unfinished := [each.name for each in found if not each.converged]:
        notes.append(f"the SVM had not converged when its iterations ended for: {', '.join(unfinished)}")
    rare = [
        each.name
        for each in found
        if not each.one_class and each.joint.sum(axis=0).min() * num_keep < _FEW * width
    ]
    if rare:
        notes.append(
            f"{len(rare)} of {len(found)} attributes had fewer than {_FEW} samples of their rarer class for "
            f"each of the {width} dimensions: the SVM is judged on what it was fitted to, which lowers the "
            f"score; compare only with scores of as many samples ({', '.join(rare)})"
        )
    return tuple(notes)
