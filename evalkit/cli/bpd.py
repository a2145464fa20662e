"""The verbs of printed likelihoods: ``bpd convert``, ``bpd list``. From Python: `conversions.converted`."""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from evalkit.cli.options import Json
from evalkit.errors import UsageError

if TYPE_CHECKING:
    from evalkit.metrics.likelihood.conversions import Converted, Dims

_DIMS = re.compile(r"(?:(?P<c>\d{1,6})x(?P<h>\d{1,6})x(?P<w>\d{1,6})|(?P<num>\d{1,9}))")
_UNKNOWN = "to be stated"


class UnitName(str, Enum):
    """Units of a likelihood."""

    nats = "nats"
    bits = "bits"
    nats_dim = "nats/dim"
    bits_dim = "bits/dim"
    bits_pixel = "bits/pixel"


def register(app: typer.Typer) -> None:
    """Adds the verbs to ``app``."""
    verbs = typer.Typer(no_args_is_help=True, help="Likelihoods as programs print them, in bits/dim.")
    # A negative number is no option.
    verbs.command("convert", context_settings={"ignore_unknown_options": True})(bpd_convert)
    verbs.command("list")(bpd_list)
    app.add_typer(verbs, name="bpd")


def bpd_convert(
    value: Annotated[float, typer.Argument(help="The number, as printed.")],
    printed: Annotated[str, typer.Option("--from", help="What it is: a name of `evalkit bpd list`.")],
    bits: Annotated[
        Optional[int],  # noqa: UP045 - typer on Python 3.10 reads this spelling
        typer.Option("--bits", help="Bits of a level of the images."),
    ] = None,
    dims: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--dims", help="Size of an image: CxHxW, such as 3x32x32, or a number of dimensions."),
    ] = None,
    noise: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--noise", help="q, where noise of width 1/q was added to images on [0, 1]."),
    ] = None,
    to: Annotated[
        Optional[UnitName],  # noqa: UP045
        typer.Option("--to", help="Print the number in this unit alone."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert a printed likelihood to bits/dim, and say what has to be stated beside it."""
    from evalkit.engine import report
    from evalkit.metrics.likelihood.conversions import converted

    found = converted(value, printed, dims=_dims(dims), bits=bits, noise=noise)
    if to is not None:
        if to.value not in found.units:
            raise UsageError(
                f"{to.value} depends on the size of an image; give --dims CxHxW, such as 3x32x32"
            )
        print(json.dumps(found.units[to.value]) if as_json else f"{found.units[to.value]:.6g}")
    elif as_json:
        print(json.dumps(_facts(found), indent=1, ensure_ascii=False))
    else:
        facts = _facts(found)
        units = {name: f"{number:.6g}" for name, number in facts.pop("units").items()}
        states = facts.pop("state")
        told = {name: _UNKNOWN if fact is None else fact for name, fact in facts.items()}
        report.print_fields({**units, **told, **{f"state {n}": text for n, text in enumerate(states, 1)}})


def bpd_list(as_json: Json = False) -> None:
    """List the numbers that can be converted, with what each needs."""
    from evalkit.engine import report
    from evalkit.metrics.likelihood.conversions import PRINTED

    rows = [
        {
            "name": entry.name,
            "is": entry.what,
            "unit": entry.units,
            "bound": entry.bound,
            "bits": entry.bits,
            "dequantisation": entry.dequantisation,
            "needs": " ".join(entry.needs),
            "source": entry.source,
        }
        for entry in PRINTED.values()
    ]
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    else:  # as much as a terminal is wide
        shown = ("name", "is", "unit", "bound", "needs")
        report.print_rows([{key: row[key] for key in shown} for row in rows], to_stdout=True)


def _facts(found: Converted) -> dict[str, Any]:
    return {
        "units": dict(found.units),
        "value": found.value,
        "from": f"{found.printed.name}: {found.printed.what}",
        "unit": found.printed.units,
        "bound": found.printed.bound,
        "bit_depth": found.bits,
        "dequantisation": found.printed.dequantisation,
        "source": found.printed.source,
        "state": list(found.notes),
    }


def _dims(words: str | None) -> Dims:
    from evalkit.metrics.likelihood.conversions import Dims

    if words is None:
        return Dims()
    found = _DIMS.fullmatch(words)
    if found is None:
        raise UsageError(
            f"--dims {words}: write CxHxW, such as 3x32x32, or a number of dimensions, such as 784"
        )
    if found["num"] is not None:
        return Dims(num=int(found["num"]))
    channels = int(found["c"])
    return Dims(num=channels * int(found["h"]) * int(found["w"]), channels=channels)
