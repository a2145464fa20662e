"""What verbs share: options, and how their words are read."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from evalkit.errors import UsageError

if TYPE_CHECKING:
    from evalkit.sources.base import Int64Array

MOST_SEEDS = 1_000_000


class Device(str, Enum):
    """Where networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class PrecisionName(str, Enum):
    """Type of weights and activations."""

    float32 = "float32"
    bfloat16 = "bfloat16"


WeightsDir = Annotated[
    Optional[Path],  # noqa: UP045 - typer on Python 3.10 reads this spelling
    typer.Option(
        "--weights-dir", help="Folder of weight files, for machines without a network. [$EVALKIT_WEIGHTS]"
    ),
]
WeightsFiles = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--weights", metavar="NAME=FILE", help="Use this file for one network; named in the record."
    ),
]
CacheDir = Annotated[
    Optional[Path],  # noqa: UP045 - typer on Python 3.10 reads this spelling
    typer.Option("--cache-dir", help="Where features are kept. [$EVALKIT_CACHE]"),
]
DeviceOption = Annotated[
    Device, typer.Option(help="Where networks run; auto takes a GPU where there is one.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images read at a time. It cannot change a number.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


class RangeName(str, Enum):
    """Range of a model's float images."""

    signed = "signed"
    unit = "unit"


TruncationPsi = Annotated[float, typer.Option("--truncation", help="Truncation psi; 1 is none.")]
TruncationCutoff = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--truncation-cutoff",
        help="Layers that are truncated; the model's own number if not given: all, of StyleGAN 8.",
    ),
]
LabelsOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--labels", help="Classes of a conditional model: one class, or uniform."),
]
ZDim = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--z-dim", min=1, help="Width of the latents of a model from outside."),
]
Range = Annotated[RangeName, typer.Option("--range", help="Its images: signed is [-1, 1], unit is [0, 1].")]
NumClasses = Annotated[int, typer.Option("--num-classes", min=0, help="Its classes; 0 is none.")]


SamplingOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--sampling", metavar="NAME=VALUE", help="A setting of the model's own sampling: temperature=0.7 …"
    ),
]
ModelOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--model", help="A model to judge: NAME:PRESET-random, a checkpoint, package.module:factory …"
    ),
]
SamplesOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--samples", help="Images to judge: a folder, archive, npz, package.module:function …"),
]
DataName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--data-name", help="Name of the real images in tables."),
]
Limit = Annotated[Optional[int], typer.Option("--limit", help="Use so many of the samples.")]  # noqa: UP045
DataLimit = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--data-limit", help="Use so many of the real images."),
]
SubsetSeed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--subset-seed", help="Draw the limited ones at random by this seed."),
]
Num = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--num", help="How many samples a model or callable makes."),
]
Neighbours = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--k", help="Neighbours of precision, recall, density and coverage."),
]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Leave unreadable images out, and count them.")
]
Root = Annotated[Optional[Path], typer.Option("--root", help="Folder of torchvision data sets.")]  # noqa: UP045
Download = Annotated[bool, typer.Option("--download", help="Allow a torchvision data set to be downloaded.")]
AttributesOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--attributes", help="Attribute classifiers of ls: digits, or a file of `attributes train`."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost, and stop.")]


def parse_seeds(words: str, num: int | None) -> Int64Array:
    """Reads ``0-63``, ``1,5,9`` or ``100-``, which goes on as far as ``num`` says.

    Raises:
        UsageError: The words are no seeds, or are not as many as ``num`` says.
    """
    import numpy as np

    if num is not None and num < 1:
        raise UsageError(f"-n is {num}; ask for 1 image or more")
    seeds: list[int] = []
    for word in words.split(","):
        first, dash, last = word.strip().partition("-")
        if not _is_seed(first) or (last and not _is_seed(last)):
            raise UsageError(f"--seeds {words}: write whole numbers, such as 0-63, 1,5,9 or 100-")
        if dash and not last and num is None:
            num = 64
        stop = int(last) if last else int(first) + (num - len(seeds) - 1 if dash and num is not None else 0)
        if stop < int(first):
            raise UsageError(f"--seeds {words}: {word.strip()} runs backwards; the smaller seed comes first")
        if stop - int(first) >= MOST_SEEDS:
            raise UsageError(
                f"--seeds {words}: that is more than {MOST_SEEDS:,} images; sample them in parts"
            )
        seeds += range(int(first), stop + 1)
    if num is not None and len(seeds) < num:
        raise UsageError(f"-n {num} asks for more images than --seeds {words} has seeds ({len(seeds)})")
    return np.array(seeds if num is None else seeds[:num], dtype=np.int64)


def _is_seed(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 19


def parse_sampling(given: Sequence[str]) -> dict[str, float | int | str | bool]:
    """Reads ``NAME=VALUE`` words; a value is a whole number, a number, true or false, or a word.

    Raises:
        UsageError: A word has no ``=``, or a name comes twice.
    """
    found: dict[str, float | int | str | bool] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise UsageError(f"--sampling {word}: write NAME=VALUE, such as temperature=0.7")
        if name in found:
            raise UsageError(f"--sampling {name} was given twice; give it once")
        found[name] = _value(value)
    return found


def _value(word: str) -> float | int | str | bool:
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def parse_weights(given: Sequence[str]) -> dict[str, Path]:
    """Reads ``NAME=FILE`` words.

    Raises:
        UsageError: A word has no ``=``.
    """
    files = {}
    for word in given:
        name, equals, file = word.partition("=")
        if not (name and equals and file):
            raise UsageError(f"--weights {word}: write NAME=FILE, such as inception-tf2015=weights.pth")
        files[name] = Path(file)
    return files
