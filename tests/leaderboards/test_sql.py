"""A shared database holds every record once, whoever files it and how often."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import pytest

import run_eval
from evalkit.errors import StoreError, UsageError
from evalkit.records.schema import record_from_dict
from leaderboards.sql import TABLE, file_records


def rows(path: Path, what: str = "*") -> list[tuple]:
    with sqlite3.connect(path) as connection:
        found = connection.execute(f"SELECT {what} FROM {TABLE} ORDER BY value").fetchall()
    connection.close()
    return found


def test_filing_twice_files_once(make, file, tmp_path: Path):
    database = tmp_path / "all.db"
    folder = file(make(value=1.0), make(value=2.0, model="vae"))
    first = file_records(folder, f"sqlite:///{database}")
    assert (first.num_records, first.num_new) == (2, 2)
    again = file_records(folder, f"sqlite:///{database}")
    assert (again.num_records, again.num_new) == (2, 0)
    file(make(value=3.0, model="flow"))
    more = file_records([folder], f"sqlite:///{database}")
    assert (more.num_records, more.num_new) == (3, 1)
    assert rows(database, "samples, value") == [("gan", 1.0), ("vae", 2.0), ("flow", 3.0)]


def test_the_whole_record_can_be_had_back(make, file, tmp_path: Path):
    database = tmp_path / "all.db"
    record = make(standard_error=0.5, ci95=(9.0, 11.0), notes=("a note",))
    file_records(file(record), f"sqlite:///{database}")
    ((text,),) = rows(database, "record")
    assert record_from_dict(json.loads(text), "database") == record


def test_the_verb_files_and_still_prints_the_table(make, file, tmp_path: Path, capsys):
    url = f"sqlite:///{tmp_path / 'all.db'}"
    assert run_eval.main(["table", str(file(make())), "--sql", url]) == 0
    out, err = capsys.readouterr()
    assert "cifar10" in out
    assert "filed 1 new of 1 records in sqlite:///" in err


@pytest.mark.parametrize("url", ["results.db", "nosuch://host/name", ""])
def test_what_is_no_database_is_explained(make, file, url: str):
    with pytest.raises(UsageError, match="write a URL such as sqlite:///results.db"):
        file_records(file(make()), url)


def test_a_database_that_refuses_is_explained(make, file, tmp_path: Path):
    with pytest.raises(StoreError, match="refused the records: .*; nothing filed is lost"):
        file_records(file(make()), f"sqlite:///{tmp_path / 'absent' / 'all.db'}")


def test_without_sqlalchemy_it_says_what_to_install(make, file, monkeypatch: pytest.MonkeyPatch):
    folder = file(make())
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(UsageError, match=r"--sql needs SQLAlchemy: pip install 'evalkit\[sql\]'"):
        file_records(folder, "sqlite://")
