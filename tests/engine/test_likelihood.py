"""Bits per dimension: bounds in order, rows that depend on their image alone, numbers that cannot be."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from likelihoods import DIMS, LinearGaussian

import evalkit
import reference_models
from evalkit.engine.likelihood import _parts, nats_of
from evalkit.errors import (
    CheckpointError,
    EvalkitError,
    MetricError,
    ProtocolError,
    SourceError,
    UsageError,
)
from evalkit.protocols import catalog
from evalkit.records.schema import Record

IMAGES = LinearGaussian().images(150)


def run(tmp_path: Path, model, metrics: str, data=IMAGES, **more) -> list[Record]:
    return evalkit.evaluate(
        model=model, metrics=metrics, data=data, output=tmp_path / "results", cache_dir=tmp_path / "cache",
        **more,
    )  # fmt: skip


def uniform(nats: float = 64 * math.log(256), **more):
    arguments = {"kind": "exact", "shape": (1, 8, 8), "name": "mine", **more}

    def answer(images):
        return torch.full((len(images),), nats, dtype=torch.float64)

    return evalkit.likelihood(answer, **arguments)


def test_bounds_are_in_order_and_tighten_with_k(tmp_path: Path):
    metrics = "bpd_elbo,bpd_iwae1,bpd_iwae3,bpd_iwae10,bpd_iwae100"
    found = {record.metric: record for record in run(tmp_path, LinearGaussian(), metrics)}
    (exact,) = run(tmp_path, LinearGaussian("exact"), "bpd_exact")
    # The same posterior samples: a bound of one is the evidence lower bound.
    assert found["bpd_iwae1"].value == found["bpd_elbo"].value
    values = [found[f"bpd_iwae{k}"].value for k in (1, 3, 10, 100)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > exact.value - 0.001
    assert abs(values[-1] - exact.value) < 0.004 < found["bpd_elbo"].value - exact.value


def test_the_exact_number_is_the_closed_form(tmp_path: Path):
    model = LinearGaussian("exact")
    (record,) = run(tmp_path, model, "bpd_exact", seed=7)
    from evalkit.engine.probes import draw_uniform

    noise = draw_uniform(7, "dequantise", range(len(IMAGES)), DIMS)
    y = (IMAGES[:, 0].reshape(-1, DIMS) + noise) / 256
    bits = model.exact(torch.from_numpy(y)).numpy() / (DIMS * math.log(2)) + 8
    assert record.value == pytest.approx(bits.mean(), abs=1e-12)
    assert record.standard_error == pytest.approx(bits.std(ddof=1) / math.sqrt(len(bits)), rel=1e-9)
    assert record.extras["num_dims"] == DIMS
    assert record.extractor["dequantisation"] == "uniform"
    assert record.extractor["dims"] == DIMS
    assert record.data is not None
    assert record.data.name.endswith("(8x8 grey)")
    assert record.protocol["fields"]["options"]["bound"] == "exact"


def test_batches_resumes_and_the_last_partial_batch_move_no_digit(tmp_path: Path):
    expected = [record.body for record in run(tmp_path / "a", LinearGaussian(), "bpd_iwae3")]
    again = run(tmp_path / "a", LinearGaussian(), "bpd_iwae3", batch_size=3)  # from the rows on file
    assert [record.body for record in again] == expected
    assert [r.body for r in run(tmp_path / "b", LinearGaussian(), "bpd_iwae3", batch_size=7)] == expected
    # 150 images are nine groups of 16 and six more; each counts once.
    fewer = run(tmp_path / "c", LinearGaussian(), "bpd_iwae3", data=IMAGES[:149])
    assert fewer[0].data.num == 149
    assert fewer[0].value != expected[0]["value"]


def test_what_a_model_is_not_made_for_has_a_reason_and_no_number(tmp_path: Path):
    first, second = run(tmp_path, LinearGaussian("exact"), "bpd_elbo,bpd_exact")
    assert (first.value, second.reason) == (None, None)
    assert first.reason == (
        "not applicable: this is for a likelihood of kind elbo; linear-gaussian declares exact"
    )
    (record,) = run(tmp_path, uniform(), "bpd_iwae5")
    assert record.reason == (
        "not applicable: this needs a model that draws importance weights; mine has no log_weights"
    )
    (record,) = run(tmp_path, uniform(kind="iwae", num_importance=7), "bpd_iwae5")
    assert "a bound of 5 samples; mine declares one of 7" in record.reason
    (record,) = run(tmp_path, uniform(kind="iwae", num_importance=5), "bpd_iwae5")
    assert record.value == pytest.approx(8.0, abs=1e-12)


def test_functions_declare_their_units_and_the_wrong_ones_are_noticed(tmp_path: Path):
    for units, number in (
        ("nats", 64 * math.log(256)), ("bits", 64 * 8), ("nats/dim", math.log(256)), ("bits/dim", 8.0),
    ):  # fmt: skip
        (record,) = run(tmp_path / units.replace("/", ""), uniform(number, units=units), "bpd_exact")
        assert record.value == pytest.approx(8.0, abs=1e-12)
    with pytest.raises(MetricError, match=r"mine: .*worse than the uniform model.*units=.bits"):
        run(tmp_path, uniform(64 * 8.0), "bpd_exact")
    for too_small in (8.0, math.log(256)):  # bits or nats per dimension
        with pytest.raises(
            MetricError, match=r"mine gives a mean of .* 150 different images, which cannot be"
        ):
            run(tmp_path, uniform(too_small / 10), "bpd_exact")
    (record,) = run(tmp_path, uniform(64 * 8.0, vouched=True), "bpd_exact")
    assert record.value > 8
    assert any("worse than the uniform model" in note for note in record.notes)


def test_a_model_may_overwrite_its_input(tmp_path: Path):
    class Careless(LinearGaussian):
        def log_weights(self, images, *, seeds):
            found = super().log_weights(images.clone(), seeds=seeds)
            images.zero_()
            return found

    (expected,) = run(tmp_path / "a", LinearGaussian(), "bpd_iwae3")
    (record,) = run(tmp_path / "b", Careless(), "bpd_iwae3")
    assert (record.value, record.extras) == (expected.value, expected.extras)


@pytest.mark.parametrize("nats", [math.inf, -math.inf, 1e39])
def test_numbers_that_are_none_are_named(tmp_path: Path, nats: float):
    with pytest.raises(MetricError, match=r"mine gives \S+ nats for image 0 of .*; a mean over the others"):
        run(tmp_path, uniform(nats), "bpd_exact")


def test_an_object_is_told_what_it_lacks(tmp_path: Path):
    class Nameless:
        likelihood = {"kind": "exact", "shape": (1, 8, 8)}  # noqa: RUF012

        def nats(self, images, *, seeds):
            return torch.full((len(images),), 300.0)

    with pytest.raises(UsageError, match="Nameless has nats, and a model .* needs name and likelihood"):
        run(tmp_path, Nameless(), "bpd_exact")


def test_one_bad_image_is_named(tmp_path: Path):
    def nats(images):
        found = torch.full((len(images),), 300.0)
        found[images[:, 0, 0, 0] == IMAGES[20, 0, 0, 0]] = float("nan")
        return found

    mine = evalkit.likelihood(nats, kind="elbo", shape=(1, 8, 8))
    with pytest.raises(MetricError, match=r"gives nan nats for image \d+ of .*; a mean over the others"):
        run(tmp_path, mine, "bpd_elbo")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda images: images.double().mean(), r"returned shape \(\) for 16 images; return \(16,\)"),
        (lambda images: 1 / 0, r"was asked for the nats of 16 images and raised ZeroDivisionError: division"),
        (lambda images: "many", r"returned str for 16 images; return 16 numbers"),
        (lambda images: torch.full((len(images),), 300 + 1j), "returned numbers of type complex.* for 16"),
    ],
)
def test_answers_that_are_no_numbers_an_image(tmp_path: Path, answer, text: str):
    mine = evalkit.likelihood(answer, kind="exact", shape=(1, 8, 8), name="mine")
    with pytest.raises(CheckpointError, match=f"mine {text}"):
        run(tmp_path, mine, "bpd_exact")


@pytest.mark.parametrize(
    ("model", "metrics", "data", "error", "text"),
    [
        (uniform(bits=5), "bpd_exact", IMAGES, ProtocolError, "for 5-bit ones.*use bpd_exact_5bit"),
        (uniform(), "bpd_exact_5bit", IMAGES, ProtocolError, "for 8-bit ones.*use bpd_exact$"),
        (uniform(), "bpd_iwae0", IMAGES, UsageError, "bpd_iwae0: K = 0 posterior samples cannot be"),
        (uniform(), "bpd_exact", None, UsageError, "bpd_exact is the likelihood of real images; name them"),
        (uniform(), "bpd_exact", IMAGES[:1], MetricError, "not defined on 1 real images"),
        (uniform(), "fd_mini", IMAGES, UsageError, "fd_mini needs a model that draws images.*offers: HasLik"),
        (uniform(shape=(1, 5, 5)), "bpd_exact", IMAGES, UsageError, "of images of 5x5 and .* images of 8x8"),
        (uniform(shape=(1, 4, 4)), "bpd_exact", IMAGES, SourceError, "does not consist of 2x2 squares"),
        (uniform(), "bpd_exact", IMAGES * np.array([1, 0, 1], np.uint8)[:, None, None], SourceError, "col"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(
    tmp_path: Path, model, metrics: str, data, error: type[EvalkitError], text: str
):
    with pytest.raises(error, match=text):
        run(tmp_path, model, metrics, data=data)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"kind": "elb"}, r"kind is 'elb' \(nearest: elbo\); it is one of exact, elbo, iwae"),
        ({"bits": 7}, "bits is 7; it is one of 8, 5"),
        ({"shape": (4, 8, 8)}, r"shape is \(4, 8, 8\); give channels \(1 or 3\), height and width"),
        ({"dequantisation": "uniform"}, "density=None; a density .* needs its scale"),
        ({"density": "unit"}, "a probability has none"),
        ({"num_importance": 5}, "kind iwae needs K, a whole number from 1 up, and the others have none"),
        ({"kind": "iwae"}, "kind iwae needs K, a whole number"),
        ({"kind": "iwae", "num_importance": 2.5}, "num_importance=2.5; kind iwae needs K, a whole number"),
        ({"kind": "iwae", "num_importance": "10"}, "num_importance='10'; kind iwae needs K, a whole"),
        ({"units": "nat"}, r"units is 'nat' \(nearest: nats"),
        ({"bits": "8"}, "bits is '8'; it is one of 8, 5"),
        ({"dequantisation": "uniform", "density": "unti"}, r"density is 'unti' \(nearest: unit\)"),
        ({"shape": 64}, "shape is 64; give channels"),
        ({"shape": (1, 8.0, 8)}, r"shape is \(1, 8.0, 8\); give channels"),
    ],
)
def test_declarations_that_cannot_be(changed: dict, text: str):
    with pytest.raises(UsageError, match=text):
        uniform(**changed)


def test_a_mapping_says_what_it_lacks(tmp_path: Path):
    model = LinearGaussian()
    model.likelihood = {"kind": "elbo", "shap": (1, 8, 8)}
    with pytest.raises(UsageError, match=r"linear-gaussian: its likelihood says 'shap' \(nearest: shape\)"):
        run(tmp_path, model, "bpd_elbo")
    model.likelihood = {"kind": "elbo"}
    with pytest.raises(UsageError, match="linear-gaussian: its likelihood does not say its shape"):
        run(tmp_path, model, "bpd_elbo")


def test_five_bits_are_floored_unless_a_model_does_it_itself(tmp_path: Path):
    seen = []

    def nats(images):
        seen.append(images)
        return torch.full((len(images),), 100.0)

    mine = evalkit.likelihood(nats, kind="exact", shape=(1, 8, 8), bits=5)
    (record,) = run(tmp_path, mine, "bpd_exact_5bit")
    assert all(bool((images % 8 == 0).all()) for images in seen)
    assert record.value == pytest.approx(100 / (64 * math.log(2)))
    seen.clear()
    mine.likelihood = evalkit.Likelihood(kind="exact", shape=(1, 8, 8), bits=5, floors_itself=True)
    run(tmp_path, mine, "bpd_exact_5bit")
    assert any(bool((images % 8 != 0).any()) for images in seen)


def test_a_model_that_draws_is_asked_for_data_and_not_for_a_number(tmp_path: Path):
    with pytest.raises(UsageError, match="bpd_elbo is the likelihood of real images; name them with --data"):
        run(tmp_path, reference_models.build("vdvae"), "bpd_elbo", data=None)


def test_any_k_is_a_protocol_of_its_own():
    seven, seventy = catalog.select(["bpd_iwae7", "bpd_iwae70_5bit"])
    assert seven.digest != seventy.digest
    assert (seventy.options.num_importance, seventy.options.bits) == (70, 5)
    assert catalog.select(["bpd_iwae100"])[0] is catalog.PROTOCOLS["bpd_iwae100"]
    with pytest.raises(UsageError, match="unknown protocol 'bpd_iwae'"):
        catalog.select(["bpd_iwae"])
    with pytest.raises(UsageError, match="K = 007"):
        catalog.select(["bpd_iwae007"])


def test_the_uniform_model_needs_eight_bits_exactly(tmp_path: Path):
    for model in ("uniform", "uniform@native"):
        (record,) = run(tmp_path, model, "bpd_exact", data="bundled:digits:test")
        assert record.value == 8.0
        assert record.standard_error == 0.0
    (record,) = run(tmp_path, "uniform@5bit", "bpd_exact_5bit")
    assert record.value == 5.0


def test_rows_keep_every_bit_of_a_number():
    nats = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-3, 7).repeat(100)
    rows = np.stack([*_parts(nats), *np.zeros((2, 1000))], axis=1)
    assert np.array_equal(nats_of(rows), nats)


FACTORY = """
import evalkit, torch
def build():
    return evalkit.likelihood(nats, kind="exact", shape=(3, 8, 8), name="mine")
def nats(images):
    return torch.full((len(images),), 192.0)
"""


def test_a_factory_may_make_a_likelihood(tmp_path: Path):
    (tmp_path / "mine.py").write_text(FACTORY)
    (record,) = run(tmp_path, f"{tmp_path / 'mine.py'}:build", "bpd_exact")
    assert record.value == pytest.approx(1 / math.log(2), abs=1e-6)
    assert record.samples.num == 0


def test_rows_of_a_factory_that_was_edited_are_made_again(tmp_path: Path):
    # The first answers, by which models without an identity are known, are the same.
    source = (
        "import evalkit, torch\n"
        "def nats(images):\n"
        f"    return torch.where(images[:, 0, 0, 0] == {IMAGES[100, 0, 0, 0]}, LAST, 200.0)\n"
        "def build():\n"
        "    return evalkit.likelihood(nats, kind='exact', shape=(1, 8, 8), name='mine')\n"
    )
    assert IMAGES[100, 0, 0, 0] not in IMAGES[:16, 0, 0, 0]
    values = []
    for last in ("190.0", "210.0"):
        (tmp_path / "mine.py").write_text(source.replace("LAST", last))
        (record,) = run(tmp_path, f"{tmp_path / 'mine.py'}:build", "bpd_exact")
        values.append(record.value)
    assert values[0] < 200 / (64 * math.log(2)) < values[1]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"truncation_psi": 0.5}, "--truncation says how images are drawn, and mine draws none"),
        ({"labels": "uniform"}, "--labels says how images are drawn"),
        ({"num": 5}, "--num says how images are drawn.*--data-limit takes fewer"),
        ({"limit": 5}, "--limit says how images are drawn"),
    ],
)
def test_options_of_drawing_are_no_options_of_a_likelihood(tmp_path: Path, given: dict, text: str):
    with pytest.raises(UsageError, match=text):
        run(tmp_path, uniform(), "bpd_exact", **given)


def test_a_factorys_likelihood_takes_no_options_of_latents(tmp_path: Path):
    (tmp_path / "mine.py").write_text(FACTORY)
    with pytest.raises(UsageError, match="a model with a likelihood, which is asked as it is; leave --z-dim"):
        run(tmp_path, f"{tmp_path / 'mine.py'}:build", "bpd_exact", z_dim=4)


def test_a_likelihood_cannot_be_sampled():
    from evalkit.engine import sampling

    with pytest.raises(UsageError, match="sampling needs a model that draws images.*mine offers: HasLikelih"):
        sampling.sample(uniform(), [0, 1])
