"""The results folder: one file a record, written whole, safe for many writers at once.

Layout: ``<folder>/<data set>/<model>/<metric>-<first 12 digits of record_id>.json``. A file appears by one
rename, so two runs may write the same folder at the same time and a killed run leaves no partial record; the
name holds the content's digest, so an evaluation that is run again finds its record already filed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from evalkit.errors import StoreError
from evalkit.files import check_writable, write_text
from evalkit.records.schema import Record, record_from_dict


def slug(name: str) -> str:
    """A name as part of a path: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "unnamed"


class RecordStore:
    """A folder of records."""

    def __init__(self, folder: Path) -> None:
        """Opens ``folder``; it is created with the first record."""
        self.folder = folder

    def path_of(self, record: Record) -> Path:
        """Where ``record`` is, or will be, filed."""
        data = slug(record.data.name) if record.data is not None else "no-data"
        return (
            self.folder
            / data
            / slug(record.samples.name)
            / f"{slug(record.metric)}-{record.record_id[:12]}.json"
        )

    def check_writable(self) -> None:
        """Finds a place that cannot be written before the work, not after it.

        Raises:
            StoreError: The folder cannot be made or written.
        """
        check_writable(self.folder, "preparing the results folder")

    def append(self, record: Record) -> bool:
        """Files ``record`` unless the very same result is on file already.

        Returns:
            Whether a file was written.

        Raises:
            StoreError: The folder cannot be written.
        """
        path = self.path_of(record)
        if path.exists():
            return False
        write_text(path, record.to_json() + "\n")
        return True


def also_filed(num: int, folder: Path | str | None) -> str:
    """What an error says of the results that were finished before it; nothing where there are none."""
    if not num or folder is None:
        return ""
    return f"; {num} other {'result is' if num == 1 else 'results are'} filed in {folder}"


def read_records(paths: Sequence[Path | str] | Path | str) -> list[Record]:
    """All records below ``paths`` (folders or single files), ordered by path.

    Raises:
        StoreError: A path does not exist, holds no record, or a file is not a whole record.
    """
    files: list[Path] = []
    given = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    for path in given:
        if not path.exists():
            raise StoreError(f"no results at {path}; `evalkit run … --output {path}` files some there")
        files += sorted(path.rglob("*.json")) if path.is_dir() else [path]
    records: dict[str, Record] = {}
    for file in files:
        try:
            given = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{file}: not JSON ({error}); move the file out of the results folder"
            ) from error
        if not isinstance(given, dict) or "record_id" not in given:
            raise StoreError(f"{file}: not an evalkit record; move the file out of the results folder")
        record = record_from_dict(given, str(file))
        records.setdefault(record.record_id, record)
    if not records:
        raise StoreError(f"no records below {', '.join(map(str, given))}; `evalkit run` files them")
    return list(records.values())
