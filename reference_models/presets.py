"""What a preset is: the configs of a generator and a discriminator that belong together, under one name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

G = TypeVar("G")
D = TypeVar("D")


@dataclass(frozen=True, kw_only=True)
class Preset(Generic[G, D]):
    """A pair of networks.

    Attributes:
        generator: Its config.
        discriminator: Its config.
        about: Where it was published, or what it is for.
    """

    generator: G
    discriminator: D
    about: str
