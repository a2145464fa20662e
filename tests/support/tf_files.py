"""Writes pickles in the structure of the TensorFlow programs, without TensorFlow."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reference_models.progan import convert as progan
from reference_models.progan import generator as progan_generator
from reference_models.stylegan import convert as stylegan
from reference_models.stylegan import generator as stylegan_generator
from reference_models.stylegan2 import convert_tf as stylegan2
from reference_models.stylegan2 import generator as stylegan2_generator

_SIZES = {"num_channels": 3, "resolution": 16, "label_size": 0, "fmap_base": 64, "fmap_max": 10}
_STYLE = {"latent_size": 8, "dlatent_size": 8, "mapping_layers": 2, "mapping_fmaps": 8}
TF_STYLEGAN2 = {**_SIZES, **_STYLE, "architecture": "skip", "resample_kernel": [1, 3, 3, 1]}
OPTIONS: dict[str, dict[str, Any]] = {
    "progan": _SIZES,
    "stylegan": {**_SIZES, **_STYLE},
    "stylegan2": TF_STYLEGAN2,
}
_BUILD = {
    "progan": (progan.config_from_official, progan_generator.Generator, progan.to_tf),
    "stylegan": (stylegan.config_from_official, stylegan_generator.Generator, stylegan.to_tf),
    "stylegan2": (
        partial(stylegan2.config_from_tf, variables={}),
        stylegan2_generator.Generator,
        stylegan2.to_tf,
    ),
}


class Stateful:
    """An object that pickles as its class's name and a state."""

    def __init__(self, state: object) -> None:
        self.state = state

    def __getstate__(self) -> object:
        return self.state


@contextmanager
def official_class(module: str, name: str, base: type) -> Iterator[type]:
    """A class that pickles under an official name while the context lasts."""
    made = type(name, (base,), {"__module__": module})
    parts = [".".join(module.split(".")[:n]) for n in range(1, module.count(".") + 2)]
    new = [part for part in parts if part not in sys.modules]
    for part in new:
        sys.modules[part] = types.ModuleType(part)
    setattr(sys.modules[module], name, made)
    try:
        yield made
    finally:
        for part in new:
            del sys.modules[part]


def write_tf_pickle(folder: Path, name: str, **options: object) -> tuple[Path, torch.nn.Module]:
    """Writes G three times (a discriminator's place is not read) and returns the file and the network.

    The stored source would leave a file ``marker`` behind if anyone ran it.
    """
    config_of, build, to_tf = _BUILD[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = build(config_of(OPTIONS[name]))
    state: dict[str, Any] = {
        "version": 2 if name == "progan" else 3,
        "name": "Gs",
        "static_kwargs": dict(options or OPTIONS[name]),
        "build_module_src": f"open({str(folder / 'marker')!r}, 'w')",
        "build_func_name": "G",
        "variables": [],
    }
    parts: dict[str, list[tuple[str, np.ndarray]]] = {"mapping": [], "synthesis": []}
    for key, array in to_tf(generator.config, generator.state_dict()).items():
        part, _, tail = key.partition("/")
        parts.get(part, state["variables"]).append((tail if part in parts else key, array))
    module = "tfutil" if name == "progan" else "dnnlib.tflib.network"
    path = folder / f"{name}.pkl"
    with official_class(module, "Network", Stateful) as network:

        def stored() -> object:
            own = {**state, "variables": list(state["variables"])}
            if name != "progan":
                own["components"] = {
                    part: network({**own, "components": {}, "variables": list(inner)})
                    for part, inner in parts.items()
                }
            return network(own)

        path.write_bytes(pickle.dumps((stored(), stored(), stored()), protocol=4))
    return path, generator
