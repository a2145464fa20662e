"""Restorations beside their baselines: one table for every set of originals at one scale, in every form."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from pathlib import Path

import pytest
from restorers import Drawing, picture, write

import evalkit
from evalkit.records.schema import record_from_dict
from leaderboards.build import boards_of, leaderboard, leaderboard_tables
from leaderboards.columns import columns_of
from leaderboards.load import frame_of, read_frame
from leaderboards.sql import TABLE, file_records
from leaderboards.tables import FORMATS, render

RECORDS = Path(__file__).resolve().parents[2] / "leaderboards" / "references" / "digits32" / "records"
RULES = {"nearest", "bicubic", "lanczos"}


def drawn_from_pictures(folder: Path, results: Path, **more: object) -> list[evalkit.Record]:
    """Restorations of three small originals, and the baselines, measured into ``results``."""
    originals = write(folder, {f"{name}.png": picture(48, 48, name) for name in (1, 2, 3)})
    arguments = {"sr_model": Drawing(), "hr": str(originals), "scale": 4, "metrics": "psnr_rgb,sr_pixel_std"}
    return evalkit.evaluate_restoration(
        **{**arguments, **more}, output=results, cache_dir=folder.parent / "cache", data_name="pictures"
    )


def test_restorations_and_rules_share_a_table_ranked_by_fidelity():
    (board,) = leaderboard_tables(RECORDS, data="digits x4")
    assert board.title == "digits x4 (898 real images)"
    assert [column.heading for column in board.columns] == [
        "psnr_rgb ↑", "ssim_rgb ↑", "lpips_mini ↓", "lr_psnr ↑", "sr_diversity_mini ↑", "sr_pixel_std ↑",
        "sr_bpd ↓",
    ]  # fmt: skip
    assert board.sort.metric == "psnr_rgb"
    assert board.rows[0].model == "SRFlow x4 (reference)"
    assert {row.model for row in board.rows[1:]} == RULES
    shown = [row.cells[0].value for row in board.rows if row.cells[0] is not None]
    assert shown == sorted(shown, reverse=True)
    assert {row.num for row in board.rows} == {"8,980"}
    # What has no likelihood has no number of it, and no other was made up.
    assert [row.cells[-1] is None for row in board.rows] == [False, True, True, True]
    assert not board.notes


def test_restorations_are_never_among_samples():
    boards = {board.data: board for board in leaderboard_tables(RECORDS)}
    assert set(boards) == {"digits", "digits x4"}
    models = {name: {row.model for row in board.rows} for name, board in boards.items()}
    assert not models["digits"] & models["digits x4"]
    assert not any(column.metric.startswith(("psnr", "sr_")) for column in boards["digits"].columns)


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_has_every_number(form: str):
    boards = leaderboard_tables(RECORDS, data="digits x4")
    text = render(boards, form)
    for row in boards[0].rows:
        for cell in row.cells:
            if cell is None:
                continue
            value, *error = cell.text.split(" ± ")
            wanted = [str(cell.value)] if form in ("csv", "json") else [value, *error]
            assert all(number in text for number in wanted), (row.model, wanted)
    assert "per_image" not in text


def test_digits_are_those_that_hold_between_models_of_the_same_images(make, file):
    values = {f"{place}.png": 28.0 + place for place in range(5)}
    folder = file(
        make(metric="psnr_y", value=30.0, standard_error=0.71, ci95=(28.04, 31.96), per_image=values)
    )
    for form in ("md", "html", "latex"):
        text = render(leaderboard_tables(folder), form)
        assert "30.000" in text
        assert "0.710" in text


def test_what_does_not_apply_is_a_dash_with_its_reason_in_every_form(make, file):
    why = "not applicable: this looks at several restorations of an image together, and there is 1 of each"
    folder = file(
        make(metric="sr_diversity", value=12.5, standard_error=0.5, per_image={"1.png": 12.5}),
        make(metric="sr_diversity", value=None, reason=why, model="edsr"),
    )
    (board,) = boards = leaderboard_tables(folder)
    assert [(row.rank, row.model) for row in board.rows] == [(1, "gan"), (None, "edsr")]
    assert board.notes == (f"edsr, sr_diversity: {why}",)
    assert leaderboard(folder)["sr_diversity"].isna().tolist() == [False, True]
    rows = list(csv.DictReader(io.StringIO(render(boards, "csv"))))
    assert [row["sr_diversity"] for row in rows] == ["12.5", ""]
    told = json.loads(render(boards, "json"))[0]["rows"][1]["cells"]["sr_diversity"]
    assert (told["value"], told["reason"]) == (None, why)
    for form, dash in {"md": " – |", "html": "<td>–</td>\n</tr>", "latex": "& -- \\\\"}.items():
        text = render(boards, form)
        # The note names it too, before its row or after.
        assert [dash in part for part in text.split("edsr")[1:]].count(True) == 1
        assert why in text


def test_an_infinite_number_is_last_and_says_what_is_known(make, file):
    why = "psnr_rgb is infinite: 1 of 2 images equal what they are compared with, the first is 1.png"
    folder = file(
        make(metric="psnr_rgb", value=None, reason=why, model="copy", per_image={"2.png": 50.0}),
        make(metric="psnr_rgb", value=30.0, standard_error=1.0, per_image={"1.png": 29.0, "2.png": 31.0}),
    )
    (board,) = leaderboard_tables(folder)
    assert [row.model for row in board.rows] == ["gan", "copy"]
    assert board.rows[0].cells[0].best
    assert board.notes == (f"copy, psnr_rgb: {why}",)


def test_a_table_of_one_image_has_numbers_without_errors(make, file):
    folder = file(make(metric="psnr_rgb", value=30.5, per_image={"1.png": 30.5}, num=1))
    assert "**30.5**" in render(leaderboard_tables(folder), "md")


def test_numbers_of_several_samples_are_compared_at_equal_counts_where_it_matters(make, file):
    # A mean over samples tends to the same whatever their number; the best of more is better, and a standard
    # deviation of two is too small by a fifth.
    steady = ("psnr_y", "ssim_rgb", "lpips_alex", "lr_psnr", "sr_bpd")
    moving = ("psnr_y_best", "lpips_alex_worst", "sr_diversity", "sr_pixel_std")
    folder = file(
        *(make(metric=name, value=1.0) for name in (*steady, *moving)),
        *(make(metric=name, value=2.0, model="edsr", num=100) for name in (*steady, *moving)),
    )
    (board,) = leaderboard_tables(folder)
    assert sorted(note.split(":")[0] for note in board.notes) == sorted(moving)
    assert all("the numbers of samples differ (100, 1,000)" in note for note in board.notes)


def test_the_best_and_the_worst_sample_stand_beside_the_mean(make):
    names = ["sr_diversity", "psnr_y_worst", "lr_psnr_ntire21_worst", "ssim_y", "psnr_y", "psnr_y_best"]
    frame = frame_of([make(metric=name, value=1.0) for name in [*names, "psnr_rgb", "lr_psnr_ntire21"]])
    columns = columns_of(frame)
    assert [column.metric for column in columns] == [
        "psnr_rgb", "psnr_y", "psnr_y_best", "psnr_y_worst", "ssim_y", "lr_psnr_ntire21",
        "lr_psnr_ntire21_worst", "sr_diversity",
    ]  # fmt: skip
    assert all(column.higher_is_better for column in columns)
    (board,) = boards_of(frame)
    assert len(board.rows) == 1


def test_a_rule_is_one_row_whatever_it_was_measured_beside(tmp_path: Path):
    for samples in (1, 3):
        drawn_from_pictures(tmp_path / "hr", tmp_path / "results", samples=samples)
    drawn_from_pictures(
        tmp_path / "hr", tmp_path / "results", sr_model=Drawing(identity="other", name="other"), seed=5
    )
    (board,) = leaderboard_tables(tmp_path / "results")
    models = [row.model for row in board.rows]
    assert sum(model in RULES for model in models) == 3
    assert len(models) == 3 + 3  # the drawings of 1, of 3, and of the other
    assert not [note for note in board.notes if "disagree" in note]


def test_the_same_originals_at_another_scale_are_another_table(tmp_path: Path):
    for scale in (2, 4):
        drawn_from_pictures(tmp_path / "hr", tmp_path / "results", scale=scale, sr_model=Drawing(scale=scale))
    boards = leaderboard_tables(tmp_path / "results")
    assert [board.data for board in boards] == ["pictures x2", "pictures x4"]
    assert boards[0].fingerprint != boards[1].fingerprint
    assert [len(board.rows) for board in boards] == [4, 4]


def test_the_database_holds_the_number_of_every_image(tmp_path: Path):
    made = drawn_from_pictures(tmp_path / "hr", tmp_path / "results", samples=2)
    database = tmp_path / "all.db"
    filed = file_records(tmp_path / "results", f"sqlite:///{database}")
    assert (filed.num_records, filed.num_new) == (len(made), len(made))
    with sqlite3.connect(database) as connection:
        found = connection.execute(f"SELECT record, value FROM {TABLE}").fetchall()
    connection.close()
    back = [(record_from_dict(json.loads(text), "database"), value) for text, value in found]
    assert {record.record_id: record for record, _ in back} == {record.record_id: record for record in made}
    for record, value in back:
        assert record.per_image is not None
        assert set(record.per_image) == {"1", "2", "3"}
        assert sum(record.per_image.values()) / 3 == pytest.approx(value)


def test_the_tidy_frame_holds_the_number_of_every_image_where_there_are_any(make, file):
    frame = read_frame(file(make(), make(metric="psnr_y", value=1.0, per_image={"1.png": 1.0})))
    assert dict(zip(frame["metric"], frame["per_image"], strict=True)) == {
        "fid": None, "psnr_y": {"1.png": 1.0},
    }  # fmt: skip
