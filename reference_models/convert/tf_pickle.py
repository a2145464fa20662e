"""Reads the TensorFlow-era pickles of ProGAN, StyleGAN and StyleGAN2, without TensorFlow and running nothing.

Official: tkarras/progressive_growing_of_gans@2504c3f (tfutil.py), NVlabs/stylegan@1e0d5c7 and
NVlabs/stylegan2 (dnnlib/tflib/network.py). A file is a pickle of three networks: the generator G, the
discriminator D, and Gs, the running average of G's weights. A network is an object whose state is a dict:
``version``, ``name``, ``static_kwargs`` (options of the function that builds it), ``variables`` (pairs of a
name and an array), ``build_module_src`` and ``build_func_name`` (a Python module as text, and a function of
it), and from StyleGAN on ``components`` (further networks by name, such as ``mapping`` and ``synthesis``).

The official reader executes the text. This one never does: it keeps it as text. Only the classes named in
`_ALLOWED` and numeric arrays can be rebuilt, all of them as passive containers. Not covered: files that
Python 2 wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.adapters.restricted_pickle import RestrictedUnpickler, clip, numpy_globals
from evalkit.errors import CheckpointError

Array = npt.NDArray[Any]

_KEYS = ("G", "D", "G_ema")
# mapping and synthesis stand one level below their generator; nothing official is deeper.
_MAX_DEPTH = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TfNetwork:
    """One network of a file.

    Attributes:
        name: Name that it was built under, such as ``G`` or ``Gs``.
        function: Name of the function that built it, such as ``G_style``.
        static_kwargs: Options of that function.
        variables: Arrays by official name; those of a component start with its key, as
            ``synthesis/4x4/Conv/weight``.
        source: Text of the module with that function; kept, never run.
    """

    name: str
    function: str
    static_kwargs: Mapping[str, Any]
    variables: Mapping[str, Array]
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TfPickle:
    """The networks of a file.

    Attributes:
        networks: By ``G``, ``D`` and ``G_ema``; the last is what to sample from.
    """

    networks: Mapping[str, TfNetwork]


class _Stored:
    # Stands for a pickled Network: takes its state and does nothing with it.
    __slots__ = ("state",)

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Options(dict[str, Any]):
    # Stands for the official dict with attribute access.
    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        if state:
            raise CheckpointError(
                "an options dict of the file carries attributes; it is damaged or made by hand"
            )


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("dnnlib.tflib.network", "Network"): _Stored,
    ("tfutil", "Network"): _Stored,
    ("dnnlib.util", "EasyDict"): _Options,
    ("dnnlib", "EasyDict"): _Options,
    ("config", "EasyDict"): _Options,
    ("collections", "OrderedDict"): _Options,
}


def read_tf_pickle(path: str | Path) -> TfPickle:
    """Reads a file of three networks.

    Raises:
        CheckpointError: The file cannot be read, names anything that is not allowed, is damaged, or holds
            something else.
    """
    where = str(path)
    try:
        with Path(path).open("rb") as file:
            allowed = {**numpy_globals(), **_ALLOWED}
            loaded = RestrictedUnpickler(file, allowed, what=where).load()
    except OSError as error:
        raise CheckpointError(
            f"{where} cannot be read: {error.strerror or error}; give a pickle of the official tools"
        ) from None
    if (
        not isinstance(loaded, tuple | list)
        or len(loaded) != 3
        or not all(type(x) is _Stored for x in loaded)
    ):
        raise CheckpointError(
            f"{where} holds {_describe(loaded)}; a TensorFlow pickle of ProGAN, StyleGAN or StyleGAN2 holds "
            "three "
            "networks: G, D and the average of G"
        )
    seen: set[int] = set()
    return TfPickle(
        networks={
            key: _network(item, f"{where}, network {key}", _MAX_DEPTH, seen)
            for key, item in zip(_KEYS, loaded, strict=True)
        }
    )


def identify(networks: Mapping[str, TfNetwork]) -> str:
    """Which model a file's generator is: ``progan``, ``stylegan`` or ``stylegan2``, told by its variables.

    Raises:
        CheckpointError: It is none of them.
    """
    generator = networks["G_ema"]
    names = generator.variables
    if "4x4/Dense/weight" in names and "ToRGB_lod0/weight" in names:
        return "progan"
    if "synthesis/4x4/Const/StyleMod/weight" in names:
        return "stylegan"
    if "synthesis/4x4/Conv/mod_weight" in names:
        return "stylegan2"
    raise CheckpointError(
        f"network {clip(generator.name)!r}, made by {clip(generator.function)!r}, is none of ProGAN, "
        "StyleGAN and "
        "StyleGAN2; its "
        f"first variables are {clip(', '.join(list(names)[:3])) or 'none at all'}"
    )


def _describe(loaded: object) -> str:
    if type(loaded) is _Stored:
        return "a single network"
    if isinstance(loaded, tuple | list):
        return f"a {type(loaded).__name__} of {len(loaded)} items"
    return f"a {type(loaded).__name__}"


def _network(stored: object, where: str, depth: int, seen: set[int]) -> TfNetwork:
    state = getattr(stored, "state", None)
    if type(stored) is not _Stored or not isinstance(state, dict):
        raise CheckpointError(f"{where}: not a stored network; the file is damaged or made by hand")
    if depth == 0:
        raise CheckpointError(
            f"{where}: networks are nested deeper than {_MAX_DEPTH}; the file was made by hand"
        )
    # A pickle can put one object in many places, and so ask for far more work than it has bytes.
    for part in (stored, state.get("variables")):
        if id(part) in seen:
            raise CheckpointError(f"{where}: it stands in two places of the file; the file was made by hand")
        seen.add(id(part))
    version = state.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(
            f"{where}: its version is {_short(version)}; a whole number of 1 or more was expected"
        )
    variables: dict[str, Array] = {}
    for name, value in _pairs(state.get("variables"), where):
        _add(variables, name, value, where)
    components = state.get("components", {})
    if not isinstance(components, dict):
        raise CheckpointError(f"{where}: its components are a {type(components).__name__}, not a dict")
    for key, part in components.items():
        if not isinstance(key, str):
            raise CheckpointError(f"{where}: a component is named {_short(key)}, which is no text")
        inner = _network(part, f"{where}, component {clip(key)}", depth - 1, seen)
        for name, value in inner.variables.items():
            _add(variables, f"{key}/{name}", value, where)
    return TfNetwork(
        name=_text(state, "name", where),
        function=_text(state, "build_func_name", where, default=""),
        static_kwargs=_options(state.get("static_kwargs"), where),
        variables=variables,
        source=_text(state, "build_module_src", where, default=""),
    )


def _pairs(given: object, where: str) -> list[tuple[str, object]]:
    if not isinstance(given, list | tuple):
        raise CheckpointError(
            f"{where}: its variables are a {type(given).__name__}; a list of names and arrays was expected"
        )
    found = []
    for item in given:
        if not (isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str)):
            raise CheckpointError(f"{where}: a variable is {_short(item)}; a name and an array were expected")
        found.append((item[0], item[1]))
    return found


def _add(variables: dict[str, Array], name: str, value: object, where: str) -> None:
    if name in variables:
        raise CheckpointError(
            f"{where}: variable {clip(name)!r} occurs twice; the file is damaged or made by hand"
        )
    # Scalars come as NumPy scalars or, from the oldest files, as Python's numbers.
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic | int | float) else None
    if array is None or array.dtype.kind not in "fiub":
        raise CheckpointError(
            f"{where}: variable {clip(name)!r} is a {type(value).__name__}, not an array of numbers"
        )
    variables[name] = array.astype(np.float32) if isinstance(value, float) else array


def _options(given: object, where: str) -> dict[str, Any]:
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise CheckpointError(f"{where}: its options are {_short(given)}; a dict with names was expected")
    return dict(given)


def _text(state: Mapping[Any, Any], key: str, where: str, *, default: str | None = None) -> str:
    value = state.get(key, default)
    if not isinstance(value, str):
        raise CheckpointError(f"{where}: its {key} is a {type(value).__name__}; text was expected")
    return value


def _short(value: object) -> str:
    # A container can hold itself or very much: its type says enough.
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return f"a {type(value).__name__}"
