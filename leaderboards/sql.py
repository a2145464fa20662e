"""Records in one table of a shared database (extra ``sql``), filed from any machine, as often as you like.

The key is the record's id, the digest of everything that decides the result, so a record is there once
whoever files it. The facts that tables need are columns; the whole record stands beside them as JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import StoreError, UsageError
from evalkit.records.schema import Record
from evalkit.records.store import read_records
from leaderboards.load import FACTS, facts

if TYPE_CHECKING:
    from sqlalchemy import Table

TABLE = "evalkit_records"
_NUMBERS = ("value", "standard_error", "ci_low", "ci_high", "bias")
_COUNTS = ("num_data", "num_samples", "seed", "protocol_version")
_IDS_A_QUERY = 500  # SQLite takes at most 999 parameters


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Filed:
    """What `file_records` did: records read, how many of them were new, and where they are."""

    num_records: int
    num_new: int
    database: str


def file_records(paths: Sequence[Path | str] | Path | str, url: str) -> Filed:
    """Files all records below ``paths`` in the database at ``url``; those that are there already stay.

    Args:
        paths: Results folders or single records.
        url: A database URL as SQLAlchemy spells it, such as ``sqlite:///results.db``.

    Raises:
        StoreError: There are no records, or the database refuses them.
        UsageError: SQLAlchemy or the database's driver is not installed, or ``url`` is none.
    """
    try:
        import sqlalchemy
        from sqlalchemy import exc
    except ImportError as error:
        raise UsageError("--sql needs SQLAlchemy: pip install 'evalkit[sql]'") from error
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    records = read_records([Path(path) for path in given])
    try:
        engine = sqlalchemy.create_engine(url)
    except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
        raise UsageError(
            f"cannot open this database ({type(error).__name__}: {_first_line(error)}); write a URL such as "
            "sqlite:///results.db or postgresql://user@host/name, and install its driver"
        ) from error
    shown = engine.url.render_as_string(hide_password=True)
    table = _table(sqlalchemy.MetaData())
    try:
        table.metadata.create_all(engine)
        with engine.connect() as connection:
            there = set()
            ids = [record.record_id for record in records]
            for start in range(0, len(ids), _IDS_A_QUERY):
                wanted = table.c.record_id.in_(ids[start : start + _IDS_A_QUERY])
                there |= set(connection.scalars(sqlalchemy.select(table.c.record_id).where(wanted)))
        num_new = 0
        for record in records:
            if record.record_id in there:
                continue
            try:
                with engine.begin() as connection:
                    connection.execute(table.insert().values(**_row(record)))
                num_new += 1
            except exc.IntegrityError:
                continue  # somebody else has just filed the same record
    except exc.SQLAlchemyError as error:
        raise StoreError(
            f"{shown} refused the records: {_first_line(error)}; nothing filed is lost"
        ) from error
    finally:
        engine.dispose()
    return Filed(num_records=len(records), num_new=num_new, database=shown)


def _table(metadata: Any) -> Table:  # noqa: ANN401 - sqlalchemy is imported by its caller
    import sqlalchemy as sql

    columns: list[sql.Column[Any]] = [sql.Column("record_id", sql.String(64), primary_key=True)]
    for name in FACTS:
        if name in _NUMBERS:
            columns.append(sql.Column(name, sql.Double()))
        elif name in _COUNTS:
            columns.append(sql.Column(name, sql.BigInteger()))
        elif name == "higher_is_better":
            columns.append(sql.Column(name, sql.Boolean(), nullable=False))
        elif name != "record_id":
            columns.append(sql.Column(name, sql.Text()))
    return sql.Table(TABLE, metadata, *columns, sql.Column("record", sql.Text(), nullable=False))


def _row(record: Record) -> dict[str, Any]:
    return {**facts(record), "record": record.to_json(indent=None)}


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
