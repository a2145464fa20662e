"""A protocol's name is a contract: every field counts, and names say what was varied."""

from __future__ import annotations

import dataclasses

import pytest

from evalkit.errors import UsageError
from evalkit.protocols import catalog
from evalkit.protocols.spec import About, FrechetOptions

FID = catalog.PROTOCOLS["fid"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "other"), ("version", 2), ("extractor", "mini"), ("layer", "192"), ("resize", "clean"),
        ("precision", "bfloat16"), ("num_real", 10), ("num_fake", 10), ("options", FrechetOptions(ddof=0)),
    ],
)  # fmt: skip
def test_every_field_moves_the_digest(field: str, value: object):
    assert dataclasses.replace(FID, **{field: value}).digest != FID.digest


def test_no_field_was_forgotten_above():
    tested = {
        "name",
        "version",
        "extractor",
        "layer",
        "resize",
        "precision",
        "num_real",
        "num_fake",
        "options",
    }
    assert {f.name for f in dataclasses.fields(FID)} == tested | {"about"}


def test_words_do_not_move_the_digest():
    assert dataclasses.replace(FID, about=About(title="t", source="s")).digest == FID.digest


def test_varied_protocols_say_so_in_their_names():
    assert FID.vary(layer="192").name == "fid@192"
    assert FID.vary(layer="192", precision="bfloat16").name == "fid@192@bfloat16"
    assert FID.vary(layer="2048", precision="float32", k=5) is FID
    varied = catalog.PROTOCOLS["prdc"].vary(k=3)
    assert varied.values == ("prdc@k3_precision", "prdc@k3_recall", "prdc@k3_density", "prdc@k3_coverage")
    assert varied.digest != catalog.PROTOCOLS["prdc"].digest


def test_groups_and_names_select_each_protocol_once():
    names = [spec.name for spec in catalog.select(["fd_mini", "mini"])]
    assert names == ["fd_mini", "kd_mini", "is_mini", "prdc_mini"]


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["fdi"], {}, r"unknown protocol 'fdi' \(nearest: .*fid.*\); `evalkit list protocols`"),
        ([""], {}, "no metric was named"),
        (["fid"], {"k": 3}, "--k 3 fits none of fid"),
        (["prdc"], {"k": 0}, "k of 1 or more"),
    ],
)
def test_bad_names_are_explained(names: list[str], options: dict, message: str):
    with pytest.raises(UsageError, match=message):
        catalog.select(names, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"layer": "192"},
            "--layer 192 fits none of ppl_mini, eqr: metrics of a model itself fix what they look",
        ),
        ({"precision": "bfloat16"}, "--precision bfloat16 fits none of ppl_mini, eqr"),
    ],
)
def test_variations_that_no_chosen_protocol_takes(options: dict, message: str):
    with pytest.raises(UsageError, match=message):
        catalog.select(["ppl_mini", "eqr"], **options)
    first, second = catalog.select(["fd_mini", "eqr"], **options)
    assert first.name != "fd_mini"
    assert second is catalog.PROTOCOLS["eqr"]
