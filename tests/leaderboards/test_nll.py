"""Tables of likelihoods: what is ranked with what, published numbers beside measured ones, every form."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re

import pandas as pd
import pytest

import run_eval
from evalkit.errors import UsageError
from leaderboards.build import leaderboard, leaderboard_tables
from leaderboards.load import read_frame
from leaderboards.published import UNITS, published
from leaderboards.tables import FORMATS, render

DIMS = 3 * 32 * 32


@pytest.fixture
def nll(make):
    """A record of a likelihood, as the engine files it."""

    def record(metric="bpd_elbo", value=3.0, *, dequantisation="discrete", dims=DIMS, **more):
        given = {"data": "cifar10:test", "num": 0, "standard_error": 0.01, "weights": "", **more}
        if value is not None:
            given.setdefault("ci95", (value - 0.02, value + 0.02))
        found = make(metric, value, **given)
        extractor = {**found.extractor, "dequantisation": dequantisation, "dims": dims}
        return dataclasses.replace(found, extractor=extractor)

    return record


def shown(board):
    return [(row.rank, row.model, row.cells[0].best) for row in board.rows]


def test_likelihoods_have_a_table_of_their_own_and_change_no_other(make, nll, file):
    others = [make(), make(value=9.0, model="vae"), make(metric="is", value=8.0, data=None)]
    folder = file(*others)
    forms = [form for form in FORMATS if form != "html"]  # whose plots would be drawn twice
    before = {form: render(leaderboard_tables(folder), form) for form in forms}
    file(nll(), nll(model="flow"))
    boards = leaderboard_tables(folder, published="none")
    assert [(board.title, board.likelihood) for board in boards] == [
        ("cifar10 (5,000 real images)", False),
        ("without real images", False),
        ("cifar10:test: likelihood (5,000 real images)", True),
    ]
    assert {form: render(boards[:2], form) for form in forms} == before
    assert [board.likelihood for board in leaderboard_tables(folder, metrics=["fid"])] == [False]
    assert [board.likelihood for board in leaderboard_tables(folder, metrics=["bpd_elbo"])] == [True]


def test_numbers_are_ranked_among_equal_terms_alone(nll, file):
    folder = file(
        nll(value=3.1, model="vdvae"),
        nll(value=3.3, model="nvae"),
        nll("bpd_iwae100", 3.0, model="nvae"),
        nll("bpd_iwae1000", 2.95, model="nvae"),
        nll("bpd_exact", 5.0, model="categorical"),
        nll("bpd_exact", 4.0, model="flow", dequantisation="uniform"),
        nll("bpd_exact", 7.0, model="pca", dequantisation="uniform"),
        nll("bpd_elbo_5bit", 1.0, model="small"),
        nll("bpd_exact", 9.0, model="grey", dims=1024),
    )
    (board,) = leaderboard_tables(folder, published="none")
    assert [(row.rank, row.model, *row.terms.texts) for row in board.rows] == [
        (1, "grey", "exact", "–", "8", "discrete", "1,024", "measured"),
        (1, "categorical", "exact", "–", "8", "discrete", "3,072", "measured"),
        (1, "flow", "exact", "–", "8", "uniform", "3,072", "measured"),
        (2, "pca", "exact", "–", "8", "uniform", "3,072", "measured"),
        (1, "nvae", "iwae", "1,000", "8", "discrete", "3,072", "measured"),
        (1, "nvae", "iwae", "100", "8", "discrete", "3,072", "measured"),
        (1, "vdvae", "elbo", "–", "8", "discrete", "3,072", "measured"),
        (2, "nvae", "elbo", "–", "8", "discrete", "3,072", "measured"),
        (1, "small", "elbo", "–", "5", "discrete", "3,072", "measured"),
    ]
    assert [row.cells[0].best for row in board.rows] == [row.rank == 1 for row in board.rows]
    assert {row.num for row in board.rows} == {"5,000"}


def test_numbers_of_another_digest_are_not_ranked_with_them(nll, file):
    folder = file(nll(value=3.0), nll(value=2.0, model="vae", digest="d" * 64))
    (board,) = leaderboard_tables(folder, published="none")
    assert [row.rank for row in board.rows] == [1, 1]
    assert len({row.terms.protocol for row in board.rows}) == 2


def test_level_ones_conflicts_and_trainings_are_told(nll, file):
    folder = file(
        nll(value=3.0, model="run", images="a", kimg=10.0),
        nll(value=2.99, model="run", images="b", kimg=20.0),
        nll(value=3.2, images="c", created="2026-01-02"),
        nll(value=3.1, images="c", created="2026-01-03"),
    )
    (board,) = leaderboard_tables(folder, published="none")
    cells = {row.model: row.cells[0] for row in board.rows}
    assert list(cells) == ["run [20 kimg]", "run [10 kimg]", "gan"]
    assert cells["run [10 kimg]"].level
    assert (cells["gan"].level, cells["gan"].conflict, cells["gan"].value) == (False, True, 3.1)
    assert "gan, bpd_elbo: 2 records of the same images disagree (3.200, 3.100" in board.notes[0]


def test_what_has_no_number_is_last_with_its_reason(nll, file):
    folder = file(
        nll(value=9.0), nll(value=None, reason="it declares exact", standard_error=None, model="flow")
    )
    (board,) = leaderboard_tables(folder, published="none")
    assert shown(board) == [(1, "gan", True), (None, "flow", False)]
    assert board.notes == ("flow, bpd_elbo: it declares exact",)


# ---------------------------------------------------------------------------------------------- published


def test_published_numbers_stand_beside_measured_ones_and_are_not_ranked(nll, file):
    (board,) = leaderboard_tables(file(nll(value=2.9)))
    by_model = {row.model: row for row in board.rows}
    vdvae = by_model["VDVAE (official checkpoint)"]
    assert (vdvae.rank, vdvae.cells[0].best, vdvae.num) == (None, False, "–")
    assert vdvae.terms.texts == ("elbo", "–", "8", "discrete", "3,072", "published (official repository)")
    assert (by_model["gan"].rank, by_model["gan"].cells[0].best) == (1, True)
    # Among equal terms it stands by its value.
    elbos = [row.model for row in board.rows if row.terms.bound == "elbo"]
    assert elbos.index("VDVAE (official checkpoint seed 0)") < elbos.index("gan")
    assert board.notes[0] == "Published numbers are quoted, not measured here, and not ranked."
    assert any("VDVAE (official checkpoint): Very Deep VAEs" in note and "2011.10650" in note
               for note in board.notes)  # fmt: skip
    assert "NVAE (w/ flow)" in by_model


@pytest.mark.parametrize(
    ("data", "dims", "there"),
    [
        ("cifar10", DIMS, True),
        ("cifar10:test", DIMS, True),
        ("hf:uoft-cs/cifar10:test", DIMS, True),
        ("CIFAR-10", DIMS, True),
        ("cifar10:train", DIMS, False),
        ("cifar10:test", 1024, False),
        ("cifar100:test", DIMS, False),
        ("my folder", DIMS, False),
        ("FFHQ256", 3 * 256 * 256, True),
        ("FFHQ", 3 * 64 * 64, False),
        ("mnist:test", 784, False),
    ],
)
def test_published_numbers_are_of_the_same_images(nll, file, data, dims, there):
    (board,) = leaderboard_tables(file(nll(data=data, dims=dims)))
    assert (len(board.rows) > 1) == there


def test_chosen_metrics_choose_published_numbers_too(nll, file):
    folder = file(nll(), nll("bpd_exact", 3.0, model="flow"))
    (board,) = leaderboard_tables(folder, metrics=["bpd_elbo"])
    assert {row.terms.bound for row in board.rows} == {"elbo"}
    assert len(board.rows) > 1
    (board,) = leaderboard_tables(folder, metrics=["bpd_exact"])
    assert {row.model for row in board.rows} == {"flow", "PixelCNN++", "PixelSNAIL"}


def test_all_published_numbers_can_be_asked_for_and_none(make, nll, file):
    folder = file(make(), nll())
    assert len(leaderboard_tables(folder, published="none")[1].rows) == 1
    boards = leaderboard_tables(folder, published="all")
    quoted = [row.model for board in boards[1:] for row in board.rows if row.terms.citation]
    assert len(quoted) == len(published())
    (mnist,) = [board for board in boards if board.data.startswith("MNIST")]
    assert mnist.columns[0].label == "nats/image"
    assert [row.cells[0].value for row in mnist.rows] == [78.01, 78.19]
    assert mnist.rows[0].terms.source == "published (secondary note)"
    assert not any(board.data.startswith("CIFAR") for board in boards)  # they stand beside the measured one
    (alone,) = leaderboard_tables(folder, published="all", data="cifar10:test")
    assert alone.likelihood
    with pytest.raises(UsageError, match=r"are to be shown 'besides' \(nearest: beside\); give beside"):
        leaderboard_tables(folder, published="besides")


def test_the_file_of_published_numbers_holds_what_can_be():
    rows = published()
    assert len({dataclasses.replace(row, checked="", note="") for row in rows}) == len(rows)
    for row in rows:
        assert row.unit in UNITS
        assert row.bound in ("exact", "elbo", "iwae")
        assert (row.num_importance is not None) == (row.bound == "iwae")
        assert row.bits in (None, 1, 5, 8)
        assert row.dequantisation in ("discrete", "uniform", "variational", "none")
        assert re.fullmatch(r"\d{4}\.\d{5}", row.arxiv)
        assert row.tier in ("official repository", "index page", "secondary note")
        assert all((row.model, row.data, row.paper, row.place, row.checked))
        bits = float(row.value) / (1 if row.unit == "bits/dim" else math.log(2) * row.num_dims)
        assert 0 < bits < (row.bits or 8)
        assert row.bits is not None or "bits are not stated" in row.note
        if nats := re.search(r"([\d.]+) nats/dim", row.note):
            assert round(float(nats[1]) / math.log(2), 2) == float(row.value)


# --------------------------------------------------------------------------------------------------- forms


@pytest.fixture
def folder(nll, file):
    return file(
        nll(value=3.1, data="celebahq256", dims=3 * 256 * 256, ci95=(3.08, 3.12), standard_error=0.0123),
        nll("bpd_iwae100", 2.95, data="celebahq256", dims=3 * 256 * 256, ci95=(2.9, 3.0), model="vae"),
    )


def test_markdown(folder):
    text = render(leaderboard_tables(folder, published="none"), "md")
    head, rule, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    assert text.startswith(
        "## celebahq256: likelihood (5,000 real images)\n\n"
        "Ranked by bits/dim ↓ among equal bound, K, bits, dequantisation and dims.\n\n"
    )
    assert head == ["", "model", "images", "bound", "K", "bits", "dequantisation", "dims", "source",
                    "bits/dim ↓", "95 % interval"]  # fmt: skip
    assert len(rule) == len(head)
    assert rows == [
        ["1", "vae", "5,000", "iwae", "100", "8", "discrete", "196,608", "measured", "**2.950 ± 0.010**",
         "2.900 to 3.000"],
        ["1", "gan", "5,000", "elbo", "–", "8", "discrete", "196,608", "measured", "**3.100 ± 0.012**",
         "3.080 to 3.120"],
    ]  # fmt: skip


def test_published_digits_are_those_of_the_source(folder):
    text = render(leaderboard_tables(folder), "md")
    (line,) = [line for line in text.splitlines() if line.startswith("|   – | NVAE")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["–", "NVAE (w/ flow)", "–", "iwae", "1,000", "5", "discrete", "196,608",
                     "published (index page)", "0.70", "–"]  # fmt: skip
    page = render(leaderboard_tables(folder), "html")
    assert '<td title="published">0.70</td>' in page
    assert "published (index page)" in page
    assert "<th>95 % interval</th>" in page
    assert "2.900 to 3.000" in page
    assert "0.70 & --" in render(leaderboard_tables(folder), "latex").replace("–", "--")


def test_latex_has_as_many_cells_as_columns(folder):
    text = render(leaderboard_tables(folder), "latex")
    (spec,) = re.findall(r"\\begin\{tabular\}\{(\w+)\}", text)
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) > 3
    assert {line.count(" & ") + 1 for line in lines} == {len(spec)}


def test_csv_comes_back_with_its_terms(folder):
    boards = leaderboard_tables(folder)
    text = render(boards, "csv")
    back = pd.read_csv(io.StringIO(text))
    assert list(back.columns) == [
        "data", "data_fingerprint", "rank", "model", "n", "bits", "bound", "num_importance", "dequantisation",
        "num_dims", "protocol", "source", "citation", "bits/dim", "bits/dim_se", "bits/dim_ci_low",
        "bits/dim_ci_high",
    ]  # fmt: skip
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(text))}
    assert (rows["vae"]["num_importance"], rows["vae"]["bound"], rows["vae"]["n"]) == ("100", "iwae", "5000")
    assert rows["vae"]["protocol"].startswith("bpd_iwae100/v1/")
    assert (rows["gan"]["num_importance"], rows["gan"]["bits/dim_ci_low"]) == ("", "3.08")
    assert (rows["NVAE (w/ flow)"]["n"], rows["NVAE (w/ flow)"]["rank"]) == ("", "")
    assert len(leaderboard(folder, published="none")) == 2
    assert len(leaderboard(folder)) == len(rows)


def test_json_has_terms_and_citations(folder):
    (board,) = json.loads(render(leaderboard_tables(folder), "json"))
    assert board["likelihood"] is True
    by_model = {row["model"]: row for row in board["rows"]}
    assert by_model["gan"]["terms"]["bound"] == "elbo"
    assert by_model["gan"]["cells"]["bits/dim"]["ci95"] == [3.08, 3.12]
    quoted = by_model["NVAE (w/ flow)"]
    assert (quoted["rank"], quoted["cells"]["bits/dim"]["n"]) == (None, None)
    assert "arXiv 2007.03898" in quoted["terms"]["citation"]


def test_words_of_records_cannot_break_out(nll, file):
    nasty = "=cmd|' /C calc'!A0 <b>|x"
    folder = file(nll(dequantisation=nasty, dims="many", data="other"))
    boards = leaderboard_tables(folder)
    assert boards[0].rows[0].terms.num_dims is None
    assert "<b>" not in render(boards, "html")
    assert f"'{nasty}" in next(csv.DictReader(io.StringIO(render(boards, "csv"))))["dequantisation"]
    lines = [line for line in render(boards, "md").splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_frames_hold_the_terms(make, nll, file):
    frame = read_frame(file(make(), nll("bpd_iwae100", 3.0))).set_index("metric")
    terms = ["bound", "num_importance", "bits", "dequantisation", "num_dims"]
    assert frame.loc["bpd_iwae100", terms].tolist() == ["iwae", 100, 8, "discrete", DIMS]
    assert frame.loc["fid", ["bound", "bits"]].isna().all()


def test_the_command_and_the_plot(folder, capsys, tmp_path):
    assert (
        run_eval.main(["table", str(folder), "--published", "none", "--plot", str(tmp_path / "p.svg")]) == 0
    )
    assert "NVAE" not in capsys.readouterr().out
    assert (tmp_path / "p.svg").stat().st_size > 1000
    assert run_eval.main(["table", str(folder), "--published", "all", "--format", "json"]) == 0
    assert "78.01" in capsys.readouterr().out
    (board,) = leaderboard_tables(folder, published="none")
    assert [row.label for row in board.rows] == ["vae (iwae 100, 8 bits)", "gan (elbo, 8 bits)"]
