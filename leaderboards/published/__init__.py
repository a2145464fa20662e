"""Likelihoods as papers and official repositories state them: quoted, with their place, and not measured.

`nll.csv` has a number a row, in the unit of its source, with everything that decides whether another number
can be held against it: bound, K, bits, dequantisation, size of the images. ``checked`` says where the number
was read, and ``tier`` how far that is to be trusted: ``official repository``, ``index page``, or
``secondary note``.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("nll.csv")
UNITS = {"bits/dim": "bits/dim", "nats": "nats/image"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One published likelihood.

    Attributes:
        model: Its name.
        variant: Which of it.
        data: The data set, as the source names it.
        resolution: Side of the images.
        channels: Channels of the images.
        value: The number, with the digits of its source.
        unit: A key of `UNITS`.
        bound: ``exact``, ``elbo`` or ``iwae``.
        num_importance: K of ``iwae``.
        bits: Bits of a level; None where the source does not say.
        dequantisation: ``discrete``, ``uniform``, ``variational`` or ``none``.
        paper: Its title.
        arxiv: Its number at arxiv.org.
        place: Where the number stands.
        checked: How that was read.
        tier: How far that is to be trusted.
        note: What a reader must know.
    """

    model: str
    variant: str
    data: str
    resolution: int
    channels: int
    value: str
    unit: str
    bound: str
    num_importance: int | None
    bits: int | None
    dequantisation: str
    paper: str
    arxiv: str
    place: str
    checked: str
    tier: str
    note: str

    @property
    def name(self) -> str:
        """Model and variant."""
        return f"{self.model} ({self.variant})" if self.variant else self.model

    @property
    def num_dims(self) -> int:
        """Dimensions of an image."""
        return self.channels * self.resolution**2

    @property
    def citation(self) -> str:
        """Where it stands, and how that was read."""
        said = f"{self.paper}, arXiv {self.arxiv}; {self.place}; read in: {self.checked}"
        return f"{said}; {self.note}" if self.note else said

    def of(self, data: str, num_dims: set[int]) -> bool:
        """Whether images of that name and size are its data set, its training images excepted.

        Args:
            data: As records name it: ``cifar10:test``, ``hf:NAME:SPLIT``, a name of the user's …
            num_dims: Dimensions of images that were measured.
        """
        words = {_letters(data), *(_letters(part.split("/")[-1]) for part in re.split(r"[: ]", data))}
        own = _letters(self.data)
        names = {own, f"{own}{self.resolution}"}
        return self.num_dims in num_dims and bool(names & words) and "train" not in words


@cache
def published() -> tuple[Published, ...]:
    """All published likelihoods, in the order of the file."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_row(row) for row in csv.DictReader(file))


def _row(row: dict[str, str]) -> Published:
    counts = {
        name: int(row[name]) if row[name] else None
        for name in ("resolution", "channels", "num_importance", "bits")
    }
    return Published(**{**row, **counts})  # type: ignore[arg-type]


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
