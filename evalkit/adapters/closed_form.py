"""Spellings of models whose likelihood has a closed form, and the images that they are fitted to.

The models are `evalkit.adapters.closed_form_models`'. They take images of any size. Enlarged or grey images
count as what they are with ``@native`` alone: copies of a pixel are dimensions otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from evalkit.adapters.closed_form_models import CHUNK, Categorical, ClosedForm, GaussianPCA, Shape, Uniform
from evalkit.errors import SourceError, UsageError
from evalkit.imaging.native import native_block, to_native
from evalkit.sources.base import ImageSource, UInt8Array
from evalkit.sources.resolve import resolve

__all__ = ["CLOSED_FORMS", "open_closed_form"]

CLOSED_FORMS: Mapping[str, str] = {
    "uniform": "every level equally likely; uniform:DATA or uniform:CxHxW for another size than of --data",
    "categorical": "categorical:DATA, frequencies of the levels of each dimension by itself; @smoothing=1",
    "gaussian-pca": "gaussian-pca:DATA, probabilistic PCA of dequantised images; @k=16 components",
}

_MOST_BYTES = 4 << 30
_MOST_SIDE = 8192  # of the matrix whose eigenvectors are wanted
_USUAL_COMPONENTS = 16
_USUAL_SMOOTHING = 1.0
_OPTION = re.compile(r"@(?P<name>native|5bit|k|smoothing)(=(?P<value>[^@=]*))?$")
_SIZE = re.compile(r"(?P<c>\d{1,6})x(?P<h>\d{1,6})x(?P<w>\d{1,6})")


def open_closed_form(
    spec: str, *, real: ImageSource | None = None, root: Path | None = None, download: bool = False
) -> ClosedForm | None:
    """The model behind a spelling of `CLOSED_FORMS`; None where it is none.

    Options follow an @ at the end: ``@native`` takes images that were enlarged, or are grey, at their own
    size; ``@5bit`` takes the upper five bits; ``@k=16`` and ``@smoothing=1`` are of one model each.

    Args:
        spec: ``uniform``, ``uniform:3x32x32``, ``categorical:DATA``, ``gaussian-pca:DATA@native@k=8`` …
        real: The images to be judged, whose size ``uniform`` takes where it is not told another.
        root: Where data sets that it is fitted to lie (`evalkit.sources.resolve.resolve`).
        download: Whether they may be downloaded.

    Raises:
        UsageError: An option is unknown, is not the model's or cannot be; or there are no images.
        SourceError: The images cannot be read, or are of several sizes.
    """
    given, options = spec, {}
    while found := _OPTION.search(given):
        if found["name"] in options:
            raise UsageError(f"{spec}: @{found['name']} was given twice; give it once")
        options[found["name"]] = found["value"]
        given = given[: found.start()]
    kind, _, data = given.partition(":")
    plain, at, _ = kind.partition("@")
    if plain not in CLOSED_FORMS:
        return None
    if at:
        raise UsageError(
            f"{spec}: after @ stands no option, or one before the data; options end the spelling, as in "
            f"{plain}:bundled:digits:train@native, and are @native, @5bit, @k=16 and @smoothing=1"
        )
    _check_options(spec, kind, options)
    bits = 5 if "5bit" in options else 8
    native = "native" in options
    if kind == "uniform":
        shape = _given_shape(spec, data, native)
        if shape is None:
            shape = _shape_of(_images(data, root, download) if data else _judged(spec, real), native)
        return Uniform(spec, shape, bits)
    if not data:
        raise UsageError(
            f"{spec} is fitted to images; say which: {kind}:DATA, such as {kind}:bundled:digits:train"
        )
    source = _images(data, root, download)
    shape = _shape_of(source, native)
    levels = _levels(source, shape, bits)
    if kind == "categorical":
        smoothing = _number(spec, "smoothing", options, _USUAL_SMOOTHING)
        return Categorical(spec, shape, bits, levels, smoothing=smoothing, fingerprint=source.fingerprint)
    most = min(shape.dims, len(levels)) - 1
    components = int(_number(spec, "k", options, min(_USUAL_COMPONENTS, most)))
    if not 1 <= components <= most:
        raise UsageError(
            f"{spec}: {len(levels):,} images of {shape.dims:,} dimensions have 1 to {most} components, and k "
            f"is {components}"
        )
    return GaussianPCA(spec, shape, bits, levels, components=components, fingerprint=source.fingerprint)


def _check_options(spec: str, kind: str, options: Mapping[str, str | None]) -> None:
    own = {"categorical": "smoothing", "gaussian-pca": "k"}
    for name, value in options.items():
        if name in own.values() and own.get(kind) != name:
            raise UsageError(f"{spec}: @{name} is no option of {kind}; it takes @native, @5bit"
                             + (f" and @{own[kind]}" if kind in own else ""))  # fmt: skip
        if (value is None) != (name in ("native", "5bit")):
            raise UsageError(f"{spec}: write @native, @5bit, @k=16 or @smoothing=1")


def _number(spec: str, name: str, options: Mapping[str, str | None], usual: float) -> float:
    text = options.get(name)
    if text is None:
        return usual
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    whole = name == "k"
    if not math.isfinite(value) or value < 0 or (whole and value != int(value)):
        raise UsageError(f"{spec}: {name} is {text!r}; give a {'whole ' if whole else ''}number from 0 up")
    return value


def _images(data: str, root: Path | None, download: bool) -> ImageSource:
    source = resolve(data, root=root, download=download)
    if not isinstance(source, ImageSource):
        raise SourceError(
            f"{source.spec} holds statistics of images, and a model is fitted to images themselves"
        )
    if not len(source):
        raise SourceError(f"{source.spec} has no images to fit a model to")
    return source


def _given_shape(spec: str, data: str, native: bool) -> Shape | None:
    size = _SIZE.fullmatch(data)
    if size is None:
        return None
    shape = Shape(int(size["c"]), int(size["h"]), int(size["w"]))
    if native or shape.channels not in (1, 3) or not shape.dims:
        raise UsageError(
            f"{spec}: write uniform:CxHxW with 1 or 3 channels and no @native, as in uniform:3x32x32"
        )
    return shape


def _judged(spec: str, real: ImageSource | None) -> ImageSource:
    if real is None:
        raise UsageError(
            f"{spec} needs the size of the images: give --data (images, not statistics of them), or write "
            "uniform:3x32x32"
        )
    return real


def _each(source: ImageSource) -> Iterator[UInt8Array]:
    for _, images in source.batches(CHUNK):
        yield from images


def _shape_of(source: ImageSource, native: bool) -> Shape:
    _, height, width = source.load([0])[0].shape
    if not native:
        return Shape(3, height, width)
    enlarge = native_block(_each(source))
    grey = all(bool((image == image[:1]).all()) for image in _each(source))
    if enlarge == 1 and not grey:
        raise UsageError(
            f"@native undoes an enlargement and takes grey images as such, and {source.spec} is neither "
            "enlarged nor grey; leave it out"
        )
    return Shape(1 if grey else 3, height // enlarge, width // enlarge, enlarge)


def _levels(source: ImageSource, shape: Shape, bits: int) -> UInt8Array:
    num, dims = len(source), shape.dims
    if num < 2:
        raise SourceError(f"{source.spec} has 1 image, and a model is fitted to 2 or more")
    if max(num * dims, 8 * dims << bits) > _MOST_BYTES or min(num, dims) > _MOST_SIDE:
        raise UsageError(
            f"{source.spec} has {num:,} images of {dims:,} dimensions, which is too much for a model in "
            "closed form; give fewer of them, or smaller ones"
        )
    levels = np.empty((num, dims), np.uint8)
    wanted = (3, shape.height * shape.enlarge, shape.width * shape.enlarge)
    for indices, images in source.batches(CHUNK):
        for index, image in zip(indices, images, strict=True):
            if image.shape != wanted:
                raise SourceError(
                    f"{source.item_name(index)} has {image.shape[2]}x{image.shape[1]} pixels and others have "
                    f"{wanted[2]}x{wanted[1]}; a model in closed form is fitted to images of one size"
                )
        small = to_native(np.stack(images), shape.enlarge, shape.channels)
        levels[indices.start : indices.stop] = small.reshape(len(images), dims) >> (8 - bits)
    return levels
