"""Every form shows the same numbers, and no name from a record can break out of it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import run_eval
from evalkit.errors import UsageError
from evalkit.uncertainty.format import number, with_error
from leaderboards.build import leaderboard, leaderboard_tables
from leaderboards.tables import FORMATS, format_of, render

NASTY = "=cmd|' /C calc'!A0 <b>$x_1$</b> & **y** `z`\n| 50 % ~ #1 \\end{table}"


@pytest.fixture
def folder(make, file) -> Path:
    return file(
        make(value=12.3456, standard_error=0.234, ci95=(11.9, 12.8)),
        make(value=9.87654, standard_error=0.123, ci95=(9.6, 10.1), model="vae"),
        make(metric="kid", value=-0.0001, standard_error=0.01),
        make(metric="is", value=7.5, standard_error=0.25, model="vae"),
    )


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (12.3456, 0.234, "12.35 ± 0.23"),
        (12.3456, 0.0987, "12.346 ± 0.099"),
        (1234.5, 123.4, "1234 ± 123"),
        (1234.5, 12.34, "1234 ± 12"),
        (-0.0001, 0.01, "0.000 ± 0.010"),
        (3.0, None, "3"),
        (3.14159265, 0.0, "3.14159"),
        (1.0, 1e-30, "1.0000000000 ± 0.0000000000"),
        (None, None, "–"),
    ],
)
def test_as_many_digits_as_the_error_supports(value: float | None, spread: float | None, text: str):
    assert with_error(value, spread) == text
    if value is not None:
        assert number(value, spread) == text.split(" ")[0]


def test_markdown(folder: Path):
    assert (
        render(leaderboard_tables(folder), "md")
        == """\
## cifar10 (5,000 real images)

Ranked by fid ↓.

|     | model |     n |           fid ↓ |             kid ↓ |            is ↑ |
| --: | ----- | ----: | --------------: | ----------------: | --------------: |
|   1 | vae   | 1,000 | **9.88 ± 0.12** |                 – | **7.50 ± 0.25** |
|   2 | gan   | 1,000 |    12.35 ± 0.23 | **0.000 ± 0.010** |               – |

↓ lower is better, ↑ higher is better; ± one standard error; **bold** is best.
"""
    )


def test_csv_comes_back_through_pandas_digit_for_digit(folder: Path):
    boards = leaderboard_tables(folder)
    back = pd.read_csv(io.StringIO(render(boards, "csv")), dtype={"rank": "Int64", "n": str})
    pd.testing.assert_frame_equal(back, leaderboard(folder), check_exact=True, check_dtype=False)
    assert back["fid"].tolist() == [9.87654, 12.3456]
    assert list(back.columns[:9]) == [
        "data", "data_fingerprint", "rank", "model", "n", "fid", "fid_se", "fid_ci_low", "fid_ci_high",
    ]  # fmt: skip


def test_json_holds_every_fact(folder: Path):
    (board,) = json.loads(render(leaderboard_tables(folder), "json"))
    assert [row["model"] for row in board["rows"]] == ["vae", "gan"]
    cell = board["rows"][0]["cells"]["fid"]
    assert (cell["value"], cell["standard_error"], cell["ci95"], cell["best"]) == (
        9.87654, 0.123, [9.6, 10.1], True,
    )  # fmt: skip
    assert board["rows"][0]["cells"]["kid"] is None


def test_latex(folder: Path):
    text = render(leaderboard_tables(folder), "latex")
    assert r"1 & vae & 1,000 & \textbf{9.88} $\pm$ 0.12 & -- & \textbf{7.50} $\pm$ 0.25 \\" in text
    assert r"fid $\downarrow$" in text
    assert text.count(r"\begin{tabular}{rlrrrr}") == text.count(r"\end{tabular}") == 1


def test_html_is_one_page_with_its_plot_inside(folder: Path):
    text = render(leaderboard_tables(folder), "html")
    assert "<strong>9.88 ± 0.12</strong>" in text
    assert "data:image/png;base64,iVBOR" in text
    assert "http" not in text.replace("http-equiv", "")


def test_names_cannot_break_out(make, file):
    folder = file(make(model=NASTY, data=NASTY), make(model="-1+1", data=NASTY))
    boards = leaderboard_tables(folder)
    csv = pd.read_csv(io.StringIO(render(boards, "csv")))
    assert all(text.startswith("'") for name in ("data", "model") for text in csv[name])
    html = render(boards, "html")
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    markdown = render(boards, "md")
    (line,) = [line for line in markdown.splitlines() if "cmd" in line and line.startswith("|")]
    assert line.replace("\\|", "").count("|") == 5
    assert r"\<b\>" in line
    assert r"\*\*y\*\*" in line
    latex = render(boards, "latex")
    assert latex.count(r"\end{table}") == 1
    assert r"\$x\_1\$" in latex
    assert r"\#1 \textbackslash{}end\{table\}" in latex


def test_every_form_renders_every_mark(make, file):
    folder = file(
        make(standard_error=1.0, created="2026-01-01"),
        make(value=20.0, standard_error=1.0, created="2026-01-02"),
        make(value=19.0, standard_error=1.0, model="vae"), make(metric="kid", value=0.1, model="flow"),
    )  # fmt: skip
    boards = leaderboard_tables(folder)
    for form in FORMATS:
        assert render(boards, form)
    assert "20.0 ± 1.0 ≈ ‡" in render(boards, "md")
    assert "≈ cannot be told from the best" in render(boards, "md")
    assert r"20.0 $\pm$ 1.0 $\approx$ $\ddagger$" in render(boards, "latex")


def test_unknown_formats_are_explained(folder: Path):
    with pytest.raises(UsageError, match=r"unknown format 'htm' \(nearest: html\); known are md, csv"):
        render(leaderboard_tables(folder), "htm")
    with pytest.raises(UsageError, match=r"cannot tell the format from 'table.txt'; end it in .md"):
        format_of(Path("table.txt"))


def test_html_without_jinja_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r"pip install 'evalkit\[site\]', or take --format md"):
        render(leaderboard_tables(folder), "html")


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_plots_are_drawn_and_equal_records_give_equal_files(folder: Path, tmp_path: Path, ending: str):
    from leaderboards.plots import plot

    boards = leaderboard_tables(folder)
    first, second = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    plot(boards, first)
    plot(boards, second)
    assert first.stat().st_size > 1000
    assert first.read_bytes() == second.read_bytes()


def test_a_plot_of_names_with_dollars_and_of_several_tables(make, file, tmp_path: Path):
    from leaderboards.plots import plot

    boards = leaderboard_tables(
        file(
            *(make(metric=name, value=value) for name, value in (("fid", 3.0), ("kid", -0.1), ("is", 2.0))),
            make(value=300.0, model="$a_{$"),
            make(data="$mnist", value=None, reason="none"),
            *(make(metric=name) for name in ("fid_clean", "fid50k")),
        )
    )
    plot(boards, tmp_path / "plot.png")
    with pytest.raises(UsageError, match=r"cannot draw 'plot.txt'; a plot ends in .png, .svg, .pdf"):
        plot(boards, tmp_path / "plot.txt")


def table(*words: str) -> int:
    return run_eval.main(["table", *words])


def test_the_verb_prints_the_table_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert table(str(folder)) == 0
    out, err = capsys.readouterr()
    assert out == render(leaderboard_tables(folder), "md")
    assert err == ""


def test_the_verb_writes_files_by_their_ending(folder: Path, tmp_path: Path, capsys):
    assert table(str(folder), "-o", str(tmp_path / "t.csv"), "--plot", str(tmp_path / "t.png")) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "written to" in err
    assert pd.read_csv(tmp_path / "t.csv")["model"].tolist() == ["vae", "gan"]
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_the_verb_selects_and_sorts(folder: Path, capsys):
    assert table(str(folder), "--json", "--metrics", "kid, is", "--sort", "is", "--data", "cifar10") == 0
    (board,) = json.loads(capsys.readouterr().out)
    assert board["sort"] == "is"
    assert [column["label"] for column in board["columns"]] == ["kid", "is"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "mdd"], "unknown format 'mdd' (nearest: md"),
        (["--metrics", "fdi"], "unknown column 'fdi' (nearest: "),
        (["--metrics", ","], "--metrics names no column"),
        (["--data", "cifar"], "unknown data set 'cifar' (nearest: cifar10)"),
        (["--sort", "x"], "unknown sort column 'x' (nearest: nothing close)"),
        (["--json", "--format", "md"], "--json and --format md contradict each other"),
        (["--plot", "plot.txt"], "cannot draw 'plot.txt'"),
        (["--output", "table.txt"], "cannot tell the format from 'table.txt'"),
    ],
)
def test_mistakes_are_explained_and_leave_with_2(folder: Path, capsys, words: list[str], message: str):
    assert table(str(folder), *words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


def test_a_damaged_record_is_named(folder: Path, capsys):
    path = next(folder.rglob("*.json"))
    path.write_text(path.read_text().replace('"higher_is_better": false', '"higher_is_better": true'))
    if "true" not in path.read_text():
        path.write_text(path.read_text()[:-10])
    assert table(str(folder)) == 2
    assert path.name in capsys.readouterr().err


def test_leaderboards_never_import_torch(folder: Path):
    code = (
        "import sys, run_eval\n"
        f"code = run_eval.main(['table', {str(folder)!r}, '--format', 'html'])\n"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True)
