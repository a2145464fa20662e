"""Stand-ins for what a pickle names and builds: a name, an object with state, an object that does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from evalkit.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Global:
    """A name that a file mentions. It stands for nothing but itself."""

    module: str
    name: str

    def __str__(self) -> str:
        return clip(f"{self.module}.{self.name}")


class Passive:
    """Base of stand-ins for objects whose state a file sets; `build` returns what takes their place."""

    def build(self, state: object) -> object:
        """The finished object, from its state.

        Raises:
            CheckpointError: The state is not what such an object has.
        """
        raise CheckpointError(f"a {type(self).__name__} has no state to set")


class Inert(Passive):
    """What a survey puts in the place of every object: it accepts all, and does nothing."""

    def build(self, state: object) -> object:
        """Itself."""
        return self


def clip(text: str) -> str:
    """Text from a file, fit to be part of a message: printable, and not long."""
    shown = "".join(character if character.isprintable() else "?" for character in text[:100])
    return shown + ("…" if len(text) > 100 else "")


def is_key(value: object) -> bool:
    """Whether a value may be a key of a dict or a member of a set: its hash is quick and cannot be chosen."""
    return value is None or type(value) is str or (isinstance(value, int) and -(2**31) <= value < 2**31)
