"""All feature extractors by name, what files can feed them, and how one is loaded. Imports no torch."""

from __future__ import annotations

import dataclasses
import importlib
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.errors import UsageError, WeightsError, lookup, nearest
from evalkit.features.base import Extractor, ExtractorInfo
from evalkit.features.tensors import read_tensors
from evalkit.features.weights import WEIGHTS, WeightsStatus, check_overrides, locate, status
from evalkit.features.weights import weights_dir as weights_folder

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16")

EXTRACTORS: Mapping[str, ExtractorInfo] = {
    info.name: info
    for info in (
        ExtractorInfo(
            name="inception-tf2015",
            layers={"64": 64, "192": 192, "768": 768, "2048": 2048, "logits_unbiased": 1008, "logits": 1008},
            input_size=299,
            resizes=("tf1-bilinear", "clean", "half-pixel-bilinear"),
            weights=("inception-tf2015", "inception-tf2015-stem192"),
            gmac=5.7,
            source="Szegedy et al. 2015, graph inception-2015-12-05; tensors named as in "
            "toshas/torch-fidelity@5e211a9",
        ),
        ExtractorInfo(
            name="vgg16",
            layers={"fc2": 4096, "fc2_relu": 4096},
            input_size=224,
            resizes=("tf1-bilinear",),
            weights=("vgg16",),
            gmac=15.5,
            source="Simonyan and Zisserman 2015; torchvision's ImageNet weights",
        ),
        ExtractorInfo(
            name="mini",
            layers={"features": 256, "logits": 10},
            input_size=32,
            resizes=("antialiased-bilinear",),
            weights=("mini",),
            gmac=0.056,
            source="evalkit, features/train_mini.py: a CIFAR-10 classifier that ships with the package",
        ),
    )
}

_CLASSES = {
    "inception-tf2015": "evalkit.features.inception:Inception",
    "vgg16": "evalkit.features.vgg16:VGG16",
    "mini": "evalkit.features.mini:Mini",
}


# Samples and data pass the same network: one copy of it, for as long as somebody holds it.
_in_use: weakref.WeakValueDictionary[tuple[object, ...], Extractor] = weakref.WeakValueDictionary()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    """Whether an extractor's weights are at hand.

    Attributes:
        ok: They are, and verify.
        detail: Which file serves, or what to do.
    """

    ok: bool
    detail: str


def load_extractor(
    name: str,
    *,
    layers: Sequence[str],
    resize: str | None = None,
    precision: str = "float32",
    device: torch.device | str = "cpu",
    weights_dir: Path | str | None = None,
    overrides: Mapping[str, Path] | None = None,
) -> Extractor:
    """A network ready to run, with verified weights; one that is in use already is returned again.

    Args:
        name: Name of the extractor.
        layers: Layers to compute; only as much of the network as they need is loaded.
        resize: How images reach the network's size; the extractor's own where None.
        precision: ``float32`` or ``bfloat16``.
        device: Where it runs.
        weights_dir: Folder of weight files.
        overrides: Files to use for single weights, by name.

    Raises:
        UsageError: A name is unknown; the nearest are offered.
        WeightsError: The weights are missing, partial, wrong, or do not fit the network.
    """
    info = lookup(name, EXTRACTORS, "extractor")
    if not layers:
        raise UsageError(f"no layer of {name} was named; it has {', '.join(info.layers)}")
    for layer in layers:
        _check(info, "layer", layer, tuple(info.layers))
    resize = info.resizes[0] if resize is None else resize
    _check(info, "resize", resize, info.resizes)
    _check(info, "precision", precision, PRECISIONS)
    path = find_weights(info, layers, weights_folder(weights_dir), overrides or {})
    chosen = tuple(dict.fromkeys(layers))
    found = path.stat()
    key = (name, chosen, resize, precision, str(device), str(path), found.st_size, found.st_mtime_ns)
    extractor = _in_use.get(key)
    if extractor is None:
        module, _, class_name = _CLASSES[name].partition(":")
        build: type[Extractor] = getattr(importlib.import_module(module), class_name)
        extractor = _in_use[key] = build(
            info, read_tensors(path), layers=chosen, resize=resize, precision=precision, device=device,
            weights_file=str(path),
        )  # fmt: skip
    return extractor


def find_weights(
    info: ExtractorInfo, layers: Sequence[str], folder: Path, overrides: Mapping[str, Path]
) -> Path:
    """The file to feed ``layers`` from: the one the user named, else the first that verifies.

    Raises:
        UsageError: A file was named for weights that do not exist.
        WeightsError: No file can serve; the message says what to do.
    """
    check_overrides(overrides)
    able = _able(info, layers)
    for name in (*able, *info.weights):
        if name in overrides:
            return locate(name, folder, overrides)
    for name in able:
        if status(WEIGHTS[name], folder).state == "ok":
            return locate(name, folder, {})
    raise WeightsError(_explain(info, layers, folder))


def weights_status(name: str, layers: Sequence[str], *, weights_dir: Path | str | None = None) -> Readiness:
    """Whether ``layers`` of the extractor ``name`` can run now, and what to do if they cannot."""
    info = lookup(name, EXTRACTORS, "extractor")
    folder = weights_folder(weights_dir)
    states = _states(info, layers, folder)
    if ok := [state for state in states.values() if state.state == "ok"]:
        return Readiness(ok=True, detail=str(ok[0].path))
    return Readiness(ok=False, detail=_explain(info, layers, folder))


def _able(info: ExtractorInfo, layers: Sequence[str]) -> list[str]:
    return [name for name in info.weights if WEIGHTS[name].serves(layers)]


def _states(info: ExtractorInfo, layers: Sequence[str], folder: Path) -> dict[str, WeightsStatus]:
    return {name: status(WEIGHTS[name], folder) for name in _able(info, layers)}


def _explain(info: ExtractorInfo, layers: Sequence[str], folder: Path) -> str:
    # Something that is there and cannot be used comes first: the user expects it to work.
    states = _states(info, layers, folder)
    name, state = min(states.items(), key=lambda item: item[1].state == "missing")
    others = [WEIGHTS[other].filename for other in states if other != name]
    also = f"; {' or '.join(others)} would serve as well" if others else ""
    return f"the weights {name} cannot be used ({state.state}): {state.detail}{also}"


def _check(info: ExtractorInfo, what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise UsageError(
            f"{info.name} has no {what} {given!r} (nearest: {nearest(given, list(known))}); it has "
            f"{', '.join(known)}"
        )
