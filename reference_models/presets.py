"""What a preset is: the config of a network, or of a generator and its discriminator, under one name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from evalkit.errors import UsageError, nearest

G = TypeVar("G")
D = TypeVar("D")
C = TypeVar("C")

_NETWORKS = ("generator", "discriminator", "network")


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

    @property
    def sampled(self) -> G:
        """Config of the network that is sampled from."""
        return self.generator


@dataclass(frozen=True, kw_only=True)
class Single(Generic[G]):
    """A network that is trained alone.

    Attributes:
        network: Its config.
        about: Where it was published, or what it is for.
    """

    network: G
    about: str

    @property
    def sampled(self) -> G:
        """Config of the network that is sampled from."""
        return self.network


def changed(config: C, overrides: Mapping[str, object], what: str) -> C:
    """A config with other values in some of its fields.

    Args:
        config: A frozen config.
        overrides: Values by field; ``outer.inner`` names a field of a nested config.
        what: How messages name the config.

    Raises:
        UsageError: There is no such field (the nearest are offered), or a value cannot be.
    """
    assert dataclasses.is_dataclass(config)
    known = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    values: dict[str, Any] = {}
    nested: dict[str, dict[str, object]] = {}
    for name, value in overrides.items():
        outer, dot, inner = name.partition(".")
        if outer not in known or (dot and not dataclasses.is_dataclass(known[outer])):
            raise UsageError(
                f"{what} has no field {name!r} (nearest: {nearest(name, known)}); it has {', '.join(known)}"
            )
        if not dot and dataclasses.is_dataclass(known[outer]) and not dataclasses.is_dataclass(value):
            raise UsageError(
                f"{what}: {outer} has fields of its own; give {outer}.NAME=VALUE, where NAME is one of "
                f"{', '.join(field.name for field in dataclasses.fields(known[outer]))}"
            )
        if dot:
            nested.setdefault(outer, {})[inner] = value
        else:
            values[outer] = value
    for name, inner_values in nested.items():
        values[name] = changed(known[name], inner_values, f"{what}, {name},")
    made: C = dataclasses.replace(config, **values)  # type: ignore[type-var]
    return made


def build_networks(
    classes: Mapping[str, Callable[[Any], Any]],
    preset: Preset[Any, Any] | Single[Any],
    *,
    common: Mapping[str, object],
    seed: int,
    overrides: Mapping[str, object] | None = None,
) -> tuple[Any, ...]:
    """All networks of a preset, with random weights.

    Args:
        classes: What builds each, by its field in the preset (``generator`` and ``discriminator``, or
            ``network``), in the order in which weights are drawn.
        preset: Their configs.
        common: Fields that get the same value in every config (``img_resolution``, ``c_dim``).
        seed: Of the weights.
        overrides: Values by ``generator.FIELD``, ``discriminator.FIELD`` or ``network.FIELD``.

    Raises:
        UsageError: A field or a value is none that can be.
    """
    import torch

    shared = {f"{part}.{name}": value for part in classes for name, value in common.items()}
    configs = changed(preset, {**shared, **(overrides or {})}, "the networks")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return tuple(build(getattr(configs, part)) for part, build in classes.items())


def split_overrides(overrides: Mapping[str, object] | None) -> tuple[dict[str, object], dict[str, object]]:
    """Overrides of networks (``generator.``, ``discriminator.`` or ``network.FIELD``), and of the recipe.

    Raises:
        UsageError: A network is named without a field.
    """
    given = dict(overrides or {})
    if bare := set(_NETWORKS) & given.keys():
        name = min(bare)
        raise UsageError(f"{name} is a network; change a field of it: {name}.NAME=VALUE")
    prefixes = tuple(f"{name}." for name in _NETWORKS)
    networks = {name: value for name, value in given.items() if name.startswith(prefixes)}
    return networks, {name: value for name, value in given.items() if name not in networks}


def lookup_preset(model: str, preset: str, known: Mapping[str, C]) -> C:
    """The entry of a preset.

    Raises:
        UsageError: The model has no such preset; the nearest are offered.
    """
    if preset not in known:
        raise UsageError(
            f"{model} has no preset {preset!r} (nearest: {nearest(preset, known)}); it has {', '.join(known)}"
        )
    return known[preset]
