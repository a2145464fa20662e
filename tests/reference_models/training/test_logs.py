"""The log of a training, and what it shows on the screen."""

from __future__ import annotations

import io
import json
import math
import sys

import pytest

from evalkit.errors import StoreError, UsageError
from reference_models.training.logs import Log, Screen


def rows_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def opened(folder, *, is_main=True, tensorboard=False):
    return Log(folder, tensorboard=tensorboard, is_main=is_main)


def filled(folder, count):
    log = opened(folder)
    for images in range(8, 8 * count + 1, 8):
        log.write({"images": images, "kimg": images / 1000, "loss/G": 1 / images})
    return log


def test_lines_are_json_and_come_back(tmp_path):
    log = filled(tmp_path / "new", 3)
    assert log.rows() == rows_of(tmp_path / "new")
    assert log.rows()[2] == {"images": 24, "kimg": 0.024, "loss/G": 1 / 24}
    assert opened(tmp_path / "none").rows() == []


def test_numbers_that_are_not_finite_stay_json(tmp_path):
    opened(tmp_path).write({"images": 1, "a": math.nan, "b": -math.inf, "c": "word"})
    text = (tmp_path / "log.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"images": 1, "a": None, "b": None, "c": "word"}


def test_a_resumed_log_is_that_of_an_uninterrupted_run(tmp_path):
    filled(tmp_path / "whole", 6)
    cut = filled(tmp_path / "cut", 5)
    with (tmp_path / "cut" / "log.jsonl").open("a") as file:
        file.write('{"images": 48, "ki')
    cut.keep_until(24)
    assert [row["images"] for row in rows_of(tmp_path / "cut")] == [8, 16, 24]
    for images in (32, 40, 48):
        cut.write({"images": images, "kimg": images / 1000, "loss/G": 1 / images})
    assert (tmp_path / "cut" / "log.jsonl").read_bytes() == (tmp_path / "whole" / "log.jsonl").read_bytes()


def test_a_log_with_nothing_to_drop_is_left_alone(tmp_path):
    log = filled(tmp_path, 2)
    before = (tmp_path / "log.jsonl").stat()
    log.keep_until(16)
    after = (tmp_path / "log.jsonl").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_other_processes_write_nothing(tmp_path):
    filled(tmp_path, 2)
    other = opened(tmp_path, is_main=False)
    other.write({"images": 99})
    other.keep_until(0)
    assert len(rows_of(tmp_path)) == 2


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="while writing .*log.jsonl; choose another"):
        opened(tmp_path / "file").write({"images": 1})


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install evalkit\[tensorboard\]`, or leave --tensorboard out"):
        opened(tmp_path, tensorboard=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_holds_the_scalars_of_a_resumed_run(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = opened(tmp_path, tensorboard=True)
    for images in (8, 16, 24):
        log.write({"images": images, "loss/G": images / 2, "note": "word"})
    log.close()
    resumed = opened(tmp_path, tensorboard=True)
    resumed.keep_until(16)
    resumed.write({"images": 24, "loss/G": 7.0})
    resumed.close()
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert "note" not in found.Tags()["scalars"]
    assert [(each.step, each.value) for each in found.Scalars("loss/G")] == [(8, 4.0), (16, 8.0), (24, 7.0)]


# --------------------------------------------------------------------------------------------------- screen


def shown(capsys, calls):
    screen = Screen()
    for call in calls:
        screen.progress(*call)
    screen.close()
    return capsys.readouterr().err.splitlines()


def test_piped_progress_is_a_line_every_ten_seconds_and_one_at_the_end(capsys):
    values = {"loss/G": 0.5, "loss/D": 1.25, "scores/real": 3.0}
    lines = shown(capsys, [(100 * second, 4000, values, float(second)) for second in range(1, 41)])
    assert [line.split(" kimg")[0] for line in lines] == ["0.1/4", "1.1/4", "2.1/4", "3.1/4", "4.0/4"]
    assert lines[1] == "1.1/4 kimg, 100.0 img/s, 10.0 s/kimg, 0:29 left, loss/G 0.500, loss/D 1.250"


def test_the_rate_of_a_resumed_run_counts_what_this_process_did(capsys):
    lines = shown(capsys, [(1_000_000 + 50 * second, 1_002_050, {}, float(second)) for second in (1, 5, 11)])
    assert lines[-1] == "1,000.5/1,002.05 kimg, 50.0 img/s, 20.0 s/kimg, 0:30 left"


def test_one_iteration_has_no_rate_yet(capsys):
    assert shown(capsys, [(8, 8, {}, 0.1)]) == ["0.0/0.008 kimg"]


def test_words_are_shown_as_they_are(capsys):
    Screen().say("resumed from [bold]here[/bold]")
    assert capsys.readouterr().err == "resumed from [bold]here[/bold]\n"


def test_a_terminal_has_one_line_that_is_renewed_and_left_standing(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    screen.progress(8, 4000, {"loss/G": 0.5}, 1.0)
    screen.progress(16, 4000, {"loss/G": 0.5}, 1.1)  # too soon to be shown
    screen.say(
        "a [note] that is longer than the terminal is wide, and stays one line for those who copy it " * 2
    )
    screen.progress(24, 4000, {"loss/G": 0.25}, 2.0)
    screen.close()
    screen.close()
    text = terminal.getvalue()
    assert "loss/G 0.500" in text
    assert "a [note] that" in text
    assert text.rstrip("\x1b[?25h\n").endswith("loss/G 0.250")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")
