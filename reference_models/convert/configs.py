"""Configs as JSON and back: every field, nothing more, nested configs included."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from evalkit.errors import CheckpointError, nearest

C = TypeVar("C")


def config_to_json(config: Any) -> dict[str, Any]:  # noqa: ANN401 - any config dataclass
    """The fields of a config as JSON can hold them."""
    return dataclasses.asdict(config)


def config_from_json(kind: type[C], given: Mapping[str, Any], what: str) -> C:
    """The config that `config_to_json` wrote.

    Args:
        kind: Its class; every field has a default, and nested configs are told by theirs. Where a field can
            be one of several configs, the names of what is given say which.
        given: Its fields.
        what: How messages name the file.

    Raises:
        CheckpointError: A field is missing or unknown, or has a value that cannot be.
    """
    plain = kind()
    assert dataclasses.is_dataclass(plain)
    fields = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
    for name in given:
        if name not in fields:
            raise CheckpointError(
                f"{what}: its config has the field {name!r}, which {kind.__name__} does not know (nearest: "
                f"{nearest(name, fields)}); it was written by another version"
            )
    if missing := [name for name in fields if name not in given]:
        raise CheckpointError(f"{what}: its config lacks {', '.join(missing)}; the file is damaged")
    found: dict[str, Any] = {}
    for name, default in fields.items():
        value = given[name]
        if dataclasses.is_dataclass(default) and not isinstance(default, type):
            if not isinstance(value, Mapping):
                raise CheckpointError(f"{what}: its config's {name} is {value!r}, not a group of fields")
            nested = _nested(kind, name, type(default), value)
            found[name] = config_from_json(nested, value, f"{what}, {name}")
        else:
            found[name] = _tuples(value)
    try:
        return kind(**found)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{what}: its config cannot be ({error}); the file is damaged") from error


def _nested(kind: type, name: str, default: type[Any], given: Mapping[str, Any]) -> Any:  # noqa: ANN401
    # The class of a nested config: the one of its union with exactly the given fields, or the default's.
    for each in get_args(get_type_hints(kind)[name]):
        if dataclasses.is_dataclass(each) and {field.name for field in dataclasses.fields(each)} == set(
            given
        ):
            return each
    return default


def _tuples(value: Any) -> Any:  # noqa: ANN401
    # JSON has lists only; configs are frozen and hold tuples.
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
