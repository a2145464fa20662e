"""What may share a table does, what may not never does, and the reason is said."""

from __future__ import annotations

import dataclasses

import pytest

from evalkit.errors import StoreError, UsageError
from leaderboards.build import leaderboard, leaderboard_tables


def column(board, label: str) -> dict:
    place = [each.label for each in board.columns].index(label)
    return {row.model: row.cells[place].value for row in board.rows if row.cells[place] is not None}


def test_every_data_set_has_a_table_of_its_own(make, file):
    folder = file(
        make(data="mnist"), make(data="cifar10"), make(metric="is", value=8.0, data=None), make(model="vae")
    )
    boards = leaderboard_tables(folder)
    assert [board.data for board in boards] == ["cifar10", "mnist", ""]
    assert [len(board.rows) for board in boards] == [2, 1, 1]
    assert boards[0].title == "cifar10 (5,000 real images)"
    assert boards[2].title == "without real images"


def test_other_real_images_of_the_same_name_are_another_table_and_it_says_so(make, file):
    boards = leaderboard_tables(file(make(real="b" * 64), make(model="vae", real="c" * 64)))
    assert [len(board.rows) for board in boards] == [1, 1]
    assert all("against other images" in board.notes[0] for board in boards)
    assert "bbbbbbbbbbbb" in boards[0].notes[0]


def test_the_same_real_images_under_two_names_share_a_table(make, file):
    (board,) = leaderboard_tables(file(make(data="a", real="r"), make(data="b", real="r", model="vae")))
    assert board.data == "a / b"
    assert len(leaderboard_tables(file(), data="b")[0].rows) == 2


@pytest.mark.parametrize(
    ("difference", "tags", "reason"),
    [
        ({"digest": "d" * 64}, {"v1 a9d14a61", "v1 dddddddd"}, "because of protocols of different digests:"),
        (
            {"weights": "b" * 64},
            {"weights aaaaaaaa", "weights bbbbbbbb"},
            "because of different extractor weights:",
        ),
    ],
)
def test_numbers_of_other_protocols_or_weights_are_never_ranked_together(
    make, file, difference: dict, tags: set[str], reason: str
):
    folder = file(make(), make(value=11.0, model="flow"), make(value=1.0, model="vae", **difference))
    (board,) = leaderboard_tables(folder)
    assert {each.tag for each in board.columns} == tags
    assert any(reason in note and "never ranked together" in note for note in board.notes)
    by_model = {row.model: row for row in board.rows}
    other = next(each.label for each in board.columns if "vae" in column(board, each.label))
    assert column(board, other) == {"vae": 1.0}
    ranked_by_other = leaderboard_tables(folder, sort=other)[0]
    assert ranked_by_other.rows[0].model == "vae"
    ranks = {row.model: row.rank for row in ranked_by_other.rows}
    assert ranks == {"vae": 1, "flow": None, "gan": None}
    # Each column has a best of its own.
    assert sum(cell is not None and cell.best for row in by_model.values() for cell in row.cells) == 2


def test_a_protocol_and_its_variation_are_two_columns(make, file):
    spec_digest = "e" * 64
    varied = dataclasses.replace(make(value=3.0, digest=spec_digest), metric="fid@192")
    varied = dataclasses.replace(varied, protocol={**varied.protocol, "name": "fid@192"})
    (board,) = leaderboard_tables(file(make(), varied))
    assert [each.label for each in board.columns] == ["fid", "fid@192"]
    assert len(board.rows) == 1


def test_an_identical_record_is_shown_once(make, file, tmp_path):
    folder = file(make())
    again = tmp_path / "copy" / "elsewhere.json"
    again.parent.mkdir()
    again.write_text(next(folder.rglob("*.json")).read_text())
    (board,) = leaderboard_tables([folder, again.parent])
    assert len(board.rows) == 1
    assert not board.notes


def test_the_newest_of_agreeing_records_is_shown_without_a_word(make, file):
    (board,) = leaderboard_tables(
        file(
            make(value=10.0, standard_error=0.5, seed=1, created="2026-01-02"),
            make(value=10.000001, standard_error=0.5, seed=2, created="2026-01-03"),
        )
    )
    ((cell,),) = [row.cells for row in board.rows]
    assert (cell.value, cell.conflict) == (10.000001, False)
    assert not board.notes


def test_conflicting_records_of_the_same_images_are_flagged(make, file):
    (board,) = leaderboard_tables(
        file(
            make(value=12.0, standard_error=0.5, created="2026-01-03"),
            make(value=10.0, standard_error=0.5, created="2026-01-02"),
        )
    )
    ((cell,),) = [row.cells for row in board.rows]
    assert (cell.value, cell.conflict) == (12.0, True)
    assert "gan, fid: 2 records of the same images disagree (10.00, 12.00, oldest first)" in board.notes[0]


def test_two_sets_of_one_name_are_two_rows(make, file):
    (board,) = leaderboard_tables(file(make(images="1" * 64), make(images="2" * 64, value=9.0)))
    assert [row.model for row in board.rows] == ["gan [22222222]", "gan [11111111]"]


def test_unequal_counts_are_pointed_out_where_they_matter(make, file):
    folder = file(
        make(), make(model="vae", num=500), make(metric="kid", value=0.1),
        make(metric="kid", value=0.2, model="vae", num=500),
    )  # fmt: skip
    (board,) = leaderboard_tables(folder)
    assert [note.split(":")[0] for note in board.notes] == ["fid"]
    assert "differ (500, 1,000)" in board.notes[0]


def test_a_known_bias_is_told(make, file):
    (board,) = leaderboard_tables(file(make(bias=0.91), make(model="vae", bias=1.38)))
    assert "fid: a finite number of images raises it by about 0.91 to 1.38 here" in board.notes[0]
    (board,) = leaderboard_tables(file(make(metric="is", bias=-0.2)), metrics=["is"])
    assert "is: a finite number of images lowers it by about 0.200 here" in board.notes[0]


def test_columns_stand_in_the_catalogues_order(make, file):
    folder = file(
        make(metric="prdc_recall", value=0.5, protocol="prdc"), make(metric="is", value=3.0),
        make(metric="prdc_precision", value=0.5, protocol="prdc"), make(metric="fid50k_full"), make(),
    )  # fmt: skip
    (board,) = leaderboard_tables(folder)
    assert [each.metric for each in board.columns] == [
        "fid50k_full", "fid", "is", "prdc_precision", "prdc_recall",
    ]  # fmt: skip
    assert board.sort.metric == "fid50k_full"


def test_models_are_ranked_by_the_asked_column_in_its_direction(make, file):
    folder = file(
        make(value=3.0), make(value=1.0, model="vae"), make(value=2.0, model="flow"),
        make(metric="is", value=9.0), make(metric="is", value=5.0, model="vae"),
    )  # fmt: skip
    (board,) = leaderboard_tables(folder)
    assert [(row.rank, row.model) for row in board.rows] == [(1, "vae"), (2, "flow"), (3, "gan")]
    (board,) = leaderboard_tables(folder, sort="is")
    assert [(row.rank, row.model) for row in board.rows] == [(1, "gan"), (2, "vae"), (None, "flow")]


def test_equal_values_share_a_rank(make, file):
    (board,) = leaderboard_tables(file(make(), make(model="vae"), make(model="flow", value=11.0)))
    assert [row.rank for row in board.rows] == [1, 1, 3]
    assert [row.cells[0].best for row in board.rows] == [True, True, False]


def test_values_within_the_error_bars_of_the_best_are_level_with_it(make, file):
    (board,) = leaderboard_tables(
        file(
            make(value=10.0, standard_error=0.3),
            make(value=11.0, standard_error=0.5, model="vae"),
            make(value=12.0, standard_error=0.5, model="flow"),
            make(value=10.1, model="unsure"),
        )
    )
    assert {row.model: row.cells[0].level for row in board.rows} == {
        "gan": False, "vae": True, "flow": False, "unsure": False,
    }  # fmt: skip


def test_a_result_without_a_value_is_last_and_has_its_reason(make, file):
    folder = file(make(), make(value=None, reason="all features are equal", model="vae"))
    (board,) = leaderboard_tables(folder)
    assert [(row.rank, row.model) for row in board.rows] == [(1, "gan"), (None, "vae")]
    assert board.notes == ("vae, fid: all features are equal",)
    assert leaderboard(folder)["fid"].isna().tolist() == [False, True]


def test_metrics_are_chosen_by_value_or_protocol_in_the_order_given(make, file):
    folder = file(
        make(), make(metric="kid", value=0.1), make(metric="prdc_recall", value=0.5, protocol="prdc"),
        make(metric="prdc_density", value=0.5, protocol="prdc"),
    )  # fmt: skip
    (board,) = leaderboard_tables(folder, metrics=["prdc", "kid"])
    assert [each.metric for each in board.columns] == ["prdc_recall", "prdc_density", "kid"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ["fdi"]}, r"unknown column 'fdi' \(nearest: .*fid.*\); these records hold fid, kid"),
        ({"sort": "kdi"}, r"unknown sort column 'kdi' \(nearest: .*kid.*\); these records hold fid, kid"),
        ({"metrics": ["fid"], "sort": "kid"}, "unknown sort column 'kid'"),
        ({"data": "cifar"}, r"unknown data set 'cifar' \(nearest: cifar10\); these records hold cifar10"),
    ],
)
def test_unknown_names_offer_the_nearest(make, file, arguments: dict, message: str):
    folder = file(make(), make(metric="kid", value=0.1))
    with pytest.raises(UsageError, match=message):
        leaderboard_tables(folder, **arguments)


def test_folders_without_records_say_how_to_get_some(tmp_path):
    with pytest.raises(StoreError, match="no records below .*; `evalkit run` files them"):
        leaderboard_tables(tmp_path)
    with pytest.raises(StoreError, match="no results at .*absent; `evalkit run"):
        leaderboard_tables(tmp_path / "absent")
