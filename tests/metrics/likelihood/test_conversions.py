"""What programs print, held against published pairs of numbers, and what has to be known to convert it."""

from __future__ import annotations

import math

import pytest

from evalkit.errors import UsageError
from evalkit.metrics.likelihood.bits_per_dim import UNITS
from evalkit.metrics.likelihood.conversions import PRINTED, Dims, converted

RGB32 = Dims(num=3072, channels=3)


@pytest.mark.parametrize(
    ("nats", "bits_per_dim"), [(2.6364, 3.80), (2.44, 3.52), (0.4232, 0.61), (1.678, 2.42)]
)
def test_vdvae_in_both_units_of_its_readme(nats, bits_per_dim):
    """The README of openai/vdvae gives four models in nats and in bits a dimension."""
    assert round(converted(nats, "vdvae-nats").bits_per_dim, 2) == bits_per_dim
    assert converted(bits_per_dim, "vdvae-bpd").units["nats/dim"] == pytest.approx(nats, abs=0.005)


def test_units_that_need_a_size_are_left_out_where_it_is_unknown():
    assert set(converted(2.0, "vdvae-nats").units) == {"bits/dim", "nats/dim"}
    assert set(converted(2.0, "vdvae-nats", dims=Dims(num=12)).units) == set(UNITS) - {"bits/pixel"}
    found = converted(2.0, "vdvae-nats", dims=RGB32)
    assert set(found.units) == set(UNITS)
    assert found.units["nats"] == pytest.approx(2.0 * 3072)
    assert found.units["bits/pixel"] == pytest.approx(3 * found.bits_per_dim)


def test_nvae_on_mnist_has_784_dimensions():
    found = converted(78.01, "nvae-nats", dims=Dims(num=784, channels=1))
    assert found.bits_per_dim == pytest.approx(78.01 / (784 * math.log(2)))
    assert found.printed.bound == "iwae"
    assert any("K, the posterior samples" in note for note in found.notes)
    assert PRINTED["nvae-nelbo"].bound == "elbo"


@pytest.mark.parametrize("noise", [32, 255, 256])
def test_srflow_lacks_the_noise_of_every_channel_or_of_two(noise):
    plain = -13.5
    wanted = plain / 3 + math.log2(noise)
    assert converted(plain, "srflow-nll", noise=noise).bits_per_dim == pytest.approx(wanted)
    counted_once = plain + math.log2(noise)
    found = converted(counted_once, "srflow-noise", noise=noise)
    assert found.bits_per_dim == pytest.approx(wanted)
    assert found.units["bits/pixel"] == pytest.approx(3 * wanted)
    assert any("no 8-bit number compares" in note for note in found.notes) == (noise == 32)


@pytest.mark.parametrize(("name", "offset"), [("unit", 5), ("signed", 4), ("levels", 0)])
def test_a_density_gets_the_offset_of_its_scale(name, offset):
    found = converted(12.0, f"density-{name}", dims=Dims(num=12), bits=5)
    assert found.bits_per_dim == pytest.approx(1 / math.log(2) + offset)
    assert found.bits == 5


def test_plain_units_are_what_they_say():
    for units in UNITS:
        found = converted(1.5, units, dims=RGB32)
        assert found.units[units] == pytest.approx(1.5)
        assert found.printed.bound is None
        assert any("which bound" in note for note in found.notes)


def test_every_entry_converts_with_what_it_says_it_needs():
    given = {"--dims": {"dims": RGB32}, "--bits": {"bits": 8}, "--noise": {"noise": 256}}
    for name, printed in PRINTED.items():
        options = {key: value for need in printed.needs for key, value in given[need].items()}
        converted(1.0, name, **options)
        for need in printed.needs:
            fewer = {key: value for key, value in options.items() if key not in given[need]}
            with pytest.raises(UsageError):
                converted(1.0, name, **fewer)


def test_bits_that_are_known_need_not_be_stated():
    assert any(note.startswith("bits of a level") for note in converted(2.0, "vdvae-nats").notes)
    assert not any(note.startswith("bits of a level") for note in converted(2.0, "vdvae-nats", bits=8).notes)
    assert converted(2.0, "ddpm-bpd").bits == 8


def test_doubtful_numbers_are_told():
    assert any("worse than the uniform" in note for note in converted(8.1, "bits/dim", bits=8).notes)
    assert any("negative" in note for note in converted(-0.1, "bits/dim").notes)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((1.0, "vdvae"), {}, r"unknown number 'vdvae' \(nearest: vdvae-.*`evalkit bpd list`"),
        ((float("nan"), "bits/dim"), {}, "nan is no likelihood to convert"),
        ((1.0, "nvae-nats"), {}, "nats an image cannot be converted without the dimensions"),
        (
            (1.0, "density-unit"),
            {"dims": RGB32},
            "whose offset depends on the levels of the images; give --bits",
        ),
        ((1.0, "srflow-nll"), {}, "only with the width 1/q of the uniform noise.*give --noise q"),
        ((1.0, "srflow-nll"), {"noise": 0}, "--noise 0: q is 1 or more"),
        ((1.0, "vdvae-bpd"), {"noise": 256}, "--noise 256 belongs to srflow-"),
        ((1.0, "ddpm-bpd"), {"bits": 5}, "ddpm-bpd is of 8-bit images, and --bits 5 was given"),
        ((1.0, "bits/dim"), {"bits": 0}, "--bits 0: a level has 1 to 16 bits; give 8, or 5"),
        ((1.0, "bits/dim"), {"bits": 99}, "--bits 99: a level has 1 to 16 bits"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_converted_says_what_it_needs(arguments, options, words):
    with pytest.raises(UsageError, match=words):
        converted(*arguments, **options)
