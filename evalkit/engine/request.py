"""What is asked for, in full: the arguments of an evaluation, resolved and checked before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from evalkit.engine.distributed import World, world
from evalkit.engine.plan import Plan, make_plan
from evalkit.engine.progress import Reporter, Silent
from evalkit.errors import UsageError
from evalkit.features.store import FeatureStore
from evalkit.files import cache_root
from evalkit.protocols import catalog
from evalkit.protocols.spec import Precision
from evalkit.sources.base import ImageSource
from evalkit.sources.resolve import resolve
from evalkit.sources.statistics import ReferenceStatistics

# Everything `evalkit.sources.resolve` takes: a path, a name, an array, a data set, a callable, a source.
Images = Any


class Arguments(TypedDict, total=False):
    """The arguments of `prepare`, `plan` and `evaluate`, for type checkers; `prepare` explains each."""

    samples: Images
    metrics: Sequence[str] | str
    data: Images
    name: str | None
    data_name: str | None
    layer: str | None
    precision: Precision
    k: int | None
    num: int | None
    limit: int | None
    data_limit: int | None
    subset_seed: int | None
    seed: int
    skip_broken: bool
    root: Path | None
    download: bool
    device: str
    batch_size: int
    weights_dir: Path | str | None
    weights: Mapping[str, Path | str] | None
    cache_dir: Path | str | None
    reporter: Reporter | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What was asked for, resolved: protocols, images and how networks run."""

    plan: Plan
    samples: ImageSource
    data: ImageSource | ReferenceStatistics | None
    name: str
    data_name: str
    seed: int
    batch_size: int
    device: str
    weights_dir: Path | None
    weights: Mapping[str, Path]
    store: FeatureStore
    reporter: Reporter
    world: World


def prepare(
    *,
    samples: Images,
    metrics: Sequence[str] | str,
    data: Images = None,
    name: str | None = None,
    data_name: str | None = None,
    layer: str | None = None,
    precision: Precision = "float32",
    k: int | None = None,
    num: int | None = None,
    limit: int | None = None,
    data_limit: int | None = None,
    subset_seed: int | None = None,
    seed: int = 0,
    skip_broken: bool = False,
    root: Path | None = None,
    download: bool = False,
    device: str = "auto",
    batch_size: int = 64,
    weights_dir: Path | str | None = None,
    weights: Mapping[str, Path | str] | None = None,
    cache_dir: Path | str | None = None,
    reporter: Reporter | None = None,
) -> Request:
    """Resolves and checks a request without computing anything.

    Args:
        samples: Images to judge: a folder, archive, npz, array, torch data set, callable of seeds, or a
            source.
        metrics: Names of protocols or groups of them, as a list or with commas.
        data: Real images in the same forms, or a file of reference statistics.
        name: Name of the samples in tables; what was typed where None.
        data_name: Name of the real images in tables.
        layer: Another layer of the protocols' network.
        precision: Type of weights and activations; ``bfloat16`` is another protocol.
        k: Neighbours of precision, recall, density and coverage.
        num: How many samples a callable makes; what the protocols ask for where None.
        limit: Use so many of the samples.
        data_limit: Use so many of the real images.
        subset_seed: Draw the limited ones at random by this seed, instead of taking the first.
        seed: First seed of a callable, and seed of the bootstrap.
        skip_broken: Leave unreadable images out, and count them in the record.
        root: Folder of torchvision data sets.
        download: Allow a torchvision data set to be downloaded.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: Images read at a time; it cannot change a number.
        weights_dir: Folder of weight files.
        weights: Files to use for single networks, by name.
        cache_dir: Where features are kept.
        reporter: Where progress goes; nowhere where None.

    Raises:
        EvalkitError: The request cannot be run; the message says why.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be 1 or more")
    names = metrics.split(",") if isinstance(metrics, str) else list(metrics)
    protocols = catalog.select(names, layer=layer, precision=precision, k=k)
    if subset_seed is not None and limit is None and data_limit is None:
        raise UsageError(
            f"--subset-seed {subset_seed} draws a limited number of images and no limit was given; add "
            "--limit or --data-limit, or leave the seed out to use all images"
        )
    shared: dict[str, Any] = {
        "skip_broken": skip_broken,
        "root": root,
        "download": download,
    }
    wanted = max((spec.num_fake for spec in protocols if spec.num_fake is not None), default=None)
    fake = resolve(
        samples,
        limit=limit,
        subset_seed=None if limit is None else subset_seed,
        num=num,
        usual_num=wanted,
        seed=seed,
        **shared,
    )
    if isinstance(fake, ReferenceStatistics):
        raise UsageError(
            f"{fake.spec} holds statistics, and --samples must be images; statistics can stand for the real "
            f"side (--data)"
        )
    real = (
        None
        if data is None
        else resolve(
            data, limit=data_limit, subset_seed=None if data_limit is None else subset_seed, **shared
        )
    )
    return Request(
        plan=make_plan(protocols, fake, real),
        samples=fake,
        data=real,
        name=name or fake.spec,
        data_name=data_name or (real.spec if real is not None else ""),
        seed=seed,
        batch_size=batch_size,
        device=device,
        weights_dir=None if weights_dir is None else Path(weights_dir),
        weights={key: Path(file) for key, file in (weights or {}).items()},
        store=FeatureStore(cache_root(None if cache_dir is None else Path(cache_dir)) / "features"),
        reporter=reporter or Silent(),
        world=world(),
    )
