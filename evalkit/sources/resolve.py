"""What a user types, or hands over in Python, to the source behind it. Nothing heavy is imported here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import SourceError, UsageError, nearest
from evalkit.files import cache_root
from evalkit.sources.archive import TAR_ENDINGS, ZIP_ENDINGS, open_archive
from evalkit.sources.arrays import ArraySource
from evalkit.sources.base import ImageSource
from evalkit.sources.decode import ACCEPTED, is_image_name
from evalkit.sources.folder import FolderSource
from evalkit.sources.generated import GeneratedSource, is_importable, load_callable
from evalkit.sources.npz import open_npy, open_npz, read_headers
from evalkit.sources.statistics import ReferenceStatistics, is_statistics, read_statistics
from evalkit.sources.subset import leave_out_broken, select
from evalkit.sources.torch_dataset import DATASETS, DatasetSource, open_torchvision

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def describe_sources() -> dict[str, str]:
    """Spellings of sources, and what they are."""
    return {
        "FOLDER": f"all images below a folder ({ACCEPTED}); labels from dataset.json or first-level folders",
        "FILE.zip, FILE.tar[.gz|.bz2|.xz]": "images in an archive, StyleGAN data sets with dataset.json "
        "included",
        "FILE.npz[:SPLIT]": "uint8 images arr_0, images or SPLIT_images, NHWC or NCHW; labels beside them",
        "FILE.npy": "one uint8 array of images",
        "FILE.npz with mu and sigma": "reference statistics: evalkit's, pytorch-fid's, clean-fid's, ADM's",
        ", ".join(f"{name}:SPLIT" for name in DATASETS): "a torchvision data set (--root, --download)",
        "hf:NAME:SPLIT[:COLUMN]": "a Hugging Face data set (extra hf; --download)",
        "bundled:digits[:train|:test]": "scikit-learn's handwritten digits, 32x32",
        "package.module:function": "a callable of seeds that returns images (--num, --seed)",
    }


def resolve(
    given: Any,  # noqa: ANN401 - told apart here
    *,
    limit: int | None = None,
    num: int | None = None,
    usual_num: int | None = None,
    seed: int = 0,
    subset_seed: int | None = None,
    skip_broken: bool = False,
    root: Path | None = None,
    download: bool = False,
) -> ImageSource | ReferenceStatistics:
    """The source behind ``given``.

    Args:
        given: A path or spelling of `describe_sources`, a uint8 array or tensor, a torch or Hugging Face
            ``Dataset``, a callable of seeds, or a source.
        limit: Use so many of the images.
        num: How many images a callable makes; refused for anything else, which has its own number.
        usual_num: How many it makes where ``num`` is None; the limit where that is None too.
        seed: First seed of a callable.
        subset_seed: Draw the limited ones at random by this seed, instead of taking the first.
        skip_broken: Decode all images once, and leave out those that cannot be read.
        root: Folder of torchvision data sets; ``datasets`` in evalkit's cache where None.
        download: Allow a data set to be downloaded.

    Raises:
        UsageError: The spelling or a number cannot be.
        SourceError: Nothing is there, or it cannot be read.
    """
    counts = (num, usual_num, limit)
    count = next((each for each in counts if each is not None), None)
    found = _find(given, count, seed, root or cache_root() / "datasets", download)
    if num is not None and not isinstance(found, GeneratedSource):
        raise UsageError(
            f"--num {num} says how many images a callable makes, and {found.spec} has a number of its own; "
            f"use --limit {num} to take so many of them"
        )
    if isinstance(found, ReferenceStatistics):
        if limit is not None or subset_seed is not None:
            raise UsageError(
                f"{found.spec} holds statistics, of which no part can be taken; leave the limit out"
            )
        return found
    if skip_broken:
        found = leave_out_broken(found)
    return select(found, limit, subset_seed)


def _find(
    given: Any,  # noqa: ANN401
    num: int | None,
    seed: int,
    root: Path,
    download: bool,
) -> ImageSource | ReferenceStatistics:
    if isinstance(given, (ImageSource, ReferenceStatistics)):
        return given
    if isinstance(given, str) and not given.strip():
        raise UsageError(
            "an empty name was given for images; write a path or a name (`.` is the working folder)"
        )
    if isinstance(given, Path) or (isinstance(given, str) and Path(given).exists()):
        return _open_path(Path(given), str(given))
    if isinstance(given, str):
        return _open_spelling(given, num, seed, root, download)
    if isinstance(given, np.ndarray):
        return ArraySource(given)
    if hasattr(given, "detach"):
        return ArraySource(given.detach().cpu().numpy())
    if hasattr(given, "cast_column") and hasattr(given, "features"):
        from evalkit.sources.huggingface import HuggingFaceSource

        return HuggingFaceSource(given, None, "datasets.Dataset")
    if hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        return DatasetSource(given)
    if callable(given):
        return _generated(given, num, seed, None)
    raise UsageError(
        f"{type(given).__name__} is no source of images; accepted are a path, a name, a uint8 array or "
        "tensor, a torch Dataset, a callable of seeds; `evalkit list sources` shows the spellings"
    )


def _open_path(path: Path, spec: str) -> ImageSource | ReferenceStatistics:
    if not path.exists():
        raise _missing(spec)
    if path.is_dir():
        from evalkit.sources import huggingface

        saved = huggingface.is_saved(path) or huggingface.has_splits(path)
        return huggingface.open_saved(path, spec) if saved else FolderSource(path, spec)
    name = path.name.lower()
    if name.endswith(".npz"):
        return (
            read_statistics(path, spec) if is_statistics(read_headers(path)) else open_npz(path, None, spec)
        )
    if name.endswith(".npy"):
        return open_npy(path, spec)
    if name.endswith((*ZIP_ENDINGS, *TAR_ENDINGS)):
        return open_archive(path, spec)
    if is_image_name(path.name):
        raise SourceError(f"{spec} is one image; name the folder it is in")
    raise SourceError(
        f"{spec} is no kind of file that holds images; accepted are folders, "
        f"{', '.join(ZIP_ENDINGS + TAR_ENDINGS)}, .npz and .npy"
    )


def _open_spelling(
    spec: str, num: int | None, seed: int, root: Path, download: bool
) -> ImageSource | ReferenceStatistics:
    path, colon, split = spec.rpartition(":")
    if colon and path.lower().endswith(".npz"):
        if not Path(path).is_file():
            raise _missing(path)
        return open_npz(Path(path), split, spec)
    kind, colon, rest = spec.partition(":")
    if kind == "bundled":
        from evalkit.sources.bundled import open_bundled

        name, _, split = rest.partition(":")
        return open_bundled(name, split or "all")
    if kind == "hf":
        from evalkit.sources.huggingface import open_huggingface

        return open_huggingface(rest, download, spec)
    if kind in DATASETS:
        return open_torchvision(kind, rest or None, root, download, spec)
    if _CALLABLE.fullmatch(spec):
        known = ["bundled", "hf", *DATASETS]
        if (close := nearest(kind, known)) != "nothing close" and not is_importable(kind):
            raise SourceError(
                f"unknown source {spec!r} (nearest: {close}); `evalkit list sources` shows all spellings"
            )
        return _generated(load_callable(kind, rest), num, seed, spec)
    raise _missing(spec)


def _generated(function: Any, num: int | None, seed: int, spec: str | None) -> GeneratedSource:  # noqa: ANN401
    if num is None:
        name = spec or getattr(function, "__name__", type(function).__name__)
        raise UsageError(f"{name} makes as many images as it is asked for; say how many with --num")
    return GeneratedSource(function, num, seed, spec)


def _missing(spec: str) -> SourceError:
    path = Path(spec)
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        path, folder = folder, folder.parent
    try:
        beside = [entry.name for entry in folder.iterdir()]
    except OSError:
        beside = []
    known = ["bundled:digits", *(f"{name}:test" for name in DATASETS)] if path.name == spec else []
    return SourceError(
        f"nothing is at {spec}: {folder} has no {path.name!r} (nearest: "
        f"{nearest(path.name, [*beside, *known])}); check the path, or see the spellings in "
        "`evalkit list sources`"
    )
