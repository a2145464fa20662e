"""Laws of linear separability: what is perfect, what is hopeless, and what may not matter."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.errors import MetricError
from evalkit.metrics.latent.separability import (
    conditional_entropy,
    joint_table,
    most_confident,
    probabilities,
    separability,
)


def latents(num: int = 1200, width: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, width)).astype(np.float32)


def noisy(z: np.ndarray, seed: int = 1) -> np.ndarray:
    """Logits of three attributes: along one axis, blurred; bent; and none of the latent's business."""
    rng = np.random.default_rng(seed)
    columns = [z[:, 0] + rng.normal(size=len(z)), z[:, 1] ** 2 - 1 + z[:, 2], rng.normal(size=len(z))]
    return np.stack(columns, axis=1).astype(np.float32)


def binary_entropy(share: float) -> float:
    return float(-share * np.log2(share) - (1 - share) * np.log2(1 - share))


def test_what_a_hyperplane_tells_perfectly_has_the_score_1():
    z = latents()
    found = separability(z, 20 * z[:, :2], num_keep=600)
    assert found.score == 1.0
    assert [each.entropy for each in found.attributes] == [0.0, 0.0]
    assert [each.accuracy for each in found.attributes] == [1.0, 1.0]
    assert not found.influence.any()


def test_labels_that_have_nothing_to_do_with_the_latents_leave_all_their_entropy():
    z = latents(40_000)
    logits = np.random.default_rng(5).normal(loc=[0.0, 0.4], size=(40_000, 2))
    found = separability(z, logits, num_keep=20_000)
    shares = [each.joint.sum(axis=0)[0] for each in found.attributes]
    expected = sum(binary_entropy(share) for share in shares)
    assert found.bits == pytest.approx(expected, abs=2e-3)
    assert found.score == pytest.approx(2**expected, rel=2e-3)


def test_the_entropy_of_a_blurred_attribute_is_that_of_its_errors():
    """Targets flipped with probability 0.1: h(0.1) bits are left, whatever the hyperplane."""
    z = latents(40_000, 2)
    rng = np.random.default_rng(7)
    side = np.sign(z[:, 0]) * np.where(rng.random(len(z)) < 0.1, -1, 1)
    found = separability(z, side[:, None] * rng.uniform(1, 2, len(z))[:, None], num_keep=20_000)
    assert found.bits == pytest.approx(binary_entropy(0.1), abs=0.02)
    assert found.attributes[0].accuracy == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("width", [4, 700], ids=["primal", "dual"])
def test_the_order_of_the_samples_changes_no_bit(width: int):
    z = latents(1200, width)
    logits = noisy(z)
    order = np.random.default_rng(3).permutation(len(z))
    one, other = separability(z, logits, num_keep=600), separability(z[order], logits[order], num_keep=600)
    assert other.score == one.score
    np.testing.assert_array_equal(other.influence, one.influence[order])
    for mine, theirs in zip(one.attributes, other.attributes, strict=True):
        np.testing.assert_array_equal(mine.joint, theirs.joint)


def test_where_the_solver_draws_the_seed_decides():
    z = latents(300, 400)
    logits = noisy(z)
    first = separability(z, logits, num_keep=150, seed=2**40).bits
    np.random.seed(9)  # noqa: NPY002 - what an unseeded solver would draw from
    assert separability(z, logits, num_keep=150, seed=2**40).bits == first


def test_the_unit_of_the_latents_hardly_matters_and_their_origin_not():
    z = latents()
    logits = noisy(z)
    score = separability(z, logits, num_keep=600).score
    assert separability(z + 3, logits, num_keep=600).score == pytest.approx(score, rel=0.02)
    assert separability(5 * z, logits, num_keep=600).score == pytest.approx(score, rel=0.02)


def test_an_attribute_of_one_class_counts_as_0_and_is_named():
    z = latents()
    logits = np.concatenate([noisy(z)[:, :1], 1 + np.abs(noisy(z)[:, 1:2])], axis=1)
    found = separability(z, logits, num_keep=600, names=["smile", "nose"])
    smile, nose = found.attributes
    assert nose.one_class
    assert nose.classes == (0,)
    assert nose.entropy == 0.0
    assert not nose.influence.any()
    assert nose.joint.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert found.bits == smile.entropy > 0
    assert found.notes == (
        "1 of 2 attributes had one class among the 600 most confident samples and count as entropy 0: nose",
    )
    none_of_them = separability(z, -1 - np.abs(logits[:, :1]), num_keep=600).attributes[0]
    assert none_of_them.classes == (1,)
    assert none_of_them.joint.tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_the_most_confident_are_kept_and_ties_stay_in_order():
    logits = np.array([0.5, -40, 3, 50, -0.1, -3, 40], np.float32)
    predictions = probabilities(logits)
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(predictions[0], [0.7310586, 0.26894143], rtol=1e-6)
    assert most_confident(predictions, 5).tolist() == [1, 3, 6, 2, 5]
    assert predictions.argmax(axis=1).tolist() == [0, 1, 0, 0, 1, 1, 0]


def test_more_sure_samples_than_are_kept_are_reported():
    z = latents(200)
    found = separability(z, 50 * np.sign(z[:, :1]), num_keep=100, names=["hat"])
    assert found.attributes[0].tied == 100
    assert "equally sure of more samples than are kept, of which the first are taken: hat" in found.notes[0]
    apart = separability(z, z[:, :1], num_keep=100)
    assert apart.attributes[0].tied == 0
    assert not apart.notes


def test_a_table_has_predictions_in_rows_and_targets_in_columns():
    table = joint_table(np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1]))
    assert table.dtype == np.float32
    assert table.tolist() == [[0.25, 0.5], [0.0, 0.25]]
    assert conditional_entropy(table) == pytest.approx(0.75 * binary_entropy(1 / 3), abs=1e-7)


def test_rare_classes_are_reported():
    z = latents(300, 30)
    found = separability(z, noisy(z), num_keep=150)
    assert any("fewer than 10 samples of their rarer class for each of the 30 dim" in n for n in found.notes)
    assert not separability(latents(), noisy(latents()), num_keep=600).notes


def test_a_fit_that_does_not_converge_prints_no_warning():
    """Equal latents of unequal targets under a penalty far too large; warnings are errors here."""
    z = latents(40, 90).repeat(2, axis=0)
    found = separability(z, noisy(z)[:, 2:], num_keep=60, penalty=1e9, names=["hat"])
    assert not found.attributes[0].converged
    assert "the SVM had not converged when its iterations ended for: hat" in found.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_keep": 0}, "0 samples are to be kept of 1,200; keep 1 or more"),
        ({"num_keep": 1201}, "1,201 samples are to be kept of 1,200"),
        ({"logits": noisy(latents(20))}, "there are 1,200 latents and logits of 20 samples"),
        ({"names": ["one"]}, "3 columns of logits and 1 names; name each attribute"),
        ({"latents": np.zeros(5)}, r"latents have shape \(5,\); give one row for every sample"),
        ({"logits": np.zeros((1200, 0))}, r"logits have shape \(1200, 0\).*\(samples, attributes\)"),
        ({"logits": np.full((1200, 3), np.nan)}, "logits hold NaN or infinity in 1,200 of 1,200 rows, first"),
        ({"latents": np.where(latents() > 3, np.inf, 0)}, r"latents hold NaN or infinity in \d+ of 1,200"),
    ],
)
def test_what_has_no_score_says_why(change: dict, message: str):
    given = {"latents": latents(), "logits": noisy(latents()), "num_keep": 600, **change}
    with pytest.raises(MetricError, match=message):
        separability(given.pop("latents"), given.pop("logits"), **given)
