"""What is asked for, in full: the arguments of an evaluation, resolved and checked before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from evalkit.adapters.resolve import ReferenceModels
from evalkit.adapters.samples import Labels
from evalkit.engine.distributed import World, world
from evalkit.engine.inputs import Images, open_inputs
from evalkit.engine.judges import ANY_BUNDLE
from evalkit.engine.plan import Plan, check_draws, check_named, make_plan
from evalkit.engine.progress import Reporter, Silent
from evalkit.errors import UsageError
from evalkit.features.store import FeatureStore
from evalkit.features.weights import check_overrides
from evalkit.files import cache_root
from evalkit.protocols import catalog
from evalkit.protocols.spec import Precision, ProtocolSpec
from evalkit.records.schema import Training
from evalkit.sources.base import ImageSource
from evalkit.sources.statistics import ReferenceStatistics


class Arguments(TypedDict, total=False):
    """The arguments of `prepare`, `plan` and `evaluate`, for type checkers; `prepare` explains each."""

    samples: Images
    model: Any
    metrics: Sequence[str] | str
    data: Images
    name: str | None
    data_name: str | None
    layer: str | None
    precision: Precision
    k: int | None
    num: int | None
    truncation_psi: float
    truncation_cutoff: int | None
    labels: int | str | None
    z_dim: int | None
    value_range: str
    num_classes: int
    sampling: Mapping[str, Any] | None
    attributes: str | Path | None
    reference_models: ReferenceModels | None
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
    samples_cache_dir: Path | str | None
    training: Training | None
    reporter: Reporter | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What was asked for, resolved: protocols, images, how a model is asked, and how networks run."""

    plan: Plan
    samples: ImageSource
    model: Any
    labels: Labels
    truncation_psi: float
    truncation_cutoff: int | None
    attributes: str | Path | None
    data: ImageSource | ReferenceStatistics | None
    name: str
    data_name: str
    seed: int
    batch_size: int
    device: str
    weights_dir: Path | None
    weights: Mapping[str, Path]
    store: FeatureStore
    samples_store: FeatureStore
    training: Training | None
    reporter: Reporter
    world: World


def prepare(
    *,
    samples: Images = None,
    model: Any = None,  # noqa: ANN401 - a spelling, or an object with the capability Samples
    metrics: Sequence[str] | str,
    data: Images = None,
    name: str | None = None,
    data_name: str | None = None,
    layer: str | None = None,
    precision: Precision = "float32",
    k: int | None = None,
    num: int | None = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    labels: int | str | None = None,
    z_dim: int | None = None,
    value_range: str = "signed",
    num_classes: int = 0,
    sampling: Mapping[str, Any] | None = None,
    attributes: str | Path | None = None,
    reference_models: ReferenceModels | None = None,
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
    samples_cache_dir: Path | str | None = None,
    training: Training | None = None,
    reporter: Reporter | None = None,
) -> Request:
    """Resolves and checks a request without computing anything.

    Args:
        samples: Images to judge: a folder, archive, npz, array, torch data set, callable of seeds, or a
            source.
        model: A model to judge instead: a spelling of `evalkit.adapters.resolve.open_model`, or an object.
        metrics: Names of protocols or groups of them, as a list or with commas.
        data: Real images in the same forms, or a file of reference statistics.
        name: Name of the samples in tables; what was typed where None.
        data_name: Name of the real images in tables.
        layer: Another layer of the protocols' network.
        precision: Type of weights and activations; ``bfloat16`` is another protocol.
        k: Neighbours of precision, recall, density and coverage.
        num: How many samples a model or callable makes; what the protocols ask for where None, and a model
            without either makes one for every real image (50,000 at most).
        truncation_psi: Truncation of a model; 1 is none.
        truncation_cutoff: How many of its layers are truncated; None leaves it to the model (mostly all).
        labels: Classes of a conditional model: one class, or ``uniform``; drawn from the labels of ``data``
            where None.
        z_dim: Width of the latents of a model from outside.
        value_range: Range of its images: ``signed`` for [-1, 1], ``unit`` for [0, 1].
        num_classes: Its number of classes.
        sampling: Settings of a model that has some (``temperature`` of a VAE), by name.
        attributes: Bundle of attribute classifiers that linear separability (``ls``) looks through: a name,
            or a file.
        reference_models: What opens this project's own models by name, and official checkpoints.
        limit: Use so many of the samples.
        data_limit: Use so many of the real images.
        subset_seed: Draw the limited ones at random by this seed, instead of taking the first.
        seed: First seed of a model or callable, and seed of the bootstrap.
        skip_broken: Leave unreadable images out, and count them in the record.
        root: Folder of torchvision data sets.
        download: Allow a torchvision data set to be downloaded.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: Images read at a time; it cannot change a number.
        weights_dir: Folder of weight files.
        weights: Files to use for single networks, by name.
        cache_dir: Where features are kept.
        samples_cache_dir: Where those of the samples are kept instead, such as a place that is deleted
            afterwards.
        training: How long a model was trained, for its records; what the model says itself where None.
        reporter: Where progress goes; nowhere where None.

    Raises:
        EvalkitError: The request cannot be run; the message says why.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be 1 or more")
    check_overrides({key: Path(file) for key, file in (weights or {}).items()})
    names = metrics.split(",") if isinstance(metrics, str) else list(metrics)
    protocols = catalog.select(names, layer=layer, precision=precision, k=k)
    for spec in protocols:
        if spec.capability == "Restores":
            raise UsageError(
                f"{spec.name} compares restorations with their originals; name those with --hr, their scale "
                "with --scale, and the restorations with --sr (images) or --sr-model (what makes them)"
            )
    if attributes is not None and not any(spec.extractor == ANY_BUNDLE for spec in protocols):
        raise UsageError(
            f"--attributes {attributes} belongs to ls, which is not among the metrics; leave it out, or ask "
            "for ls (ls_mini has its own)"
        )
    for spec in protocols:
        check_named(spec, data)  # before a model without data is asked how many images it makes
    opened = open_inputs(
        samples=samples, model=model, data=data, num=num,
        usual_num=_usual_num(protocols),
        truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff, labels=labels, z_dim=z_dim,
        value_range=value_range, num_classes=num_classes, sampling=sampling,
        reference_models=reference_models, limit=limit, data_limit=data_limit, subset_seed=subset_seed,
        seed=seed, skip_broken=skip_broken, root=root, download=download, device=device,
    )  # fmt: skip
    fake, real = opened.samples, opened.data
    if opened.model is not None:
        for spec in protocols:
            check_draws(spec, limit if num is None else num, fake.spec)
    kept = cache_root(None if cache_dir is None else Path(cache_dir))
    apart = kept if samples_cache_dir is None else Path(samples_cache_dir)
    store = FeatureStore(kept / "features")
    return Request(
        plan=make_plan(protocols, fake, real, opened.model),
        samples=fake,
        model=opened.model,
        labels=opened.labels,
        truncation_psi=truncation_psi,
        truncation_cutoff=truncation_cutoff,
        attributes=attributes,
        data=real,
        name=name or fake.spec,
        data_name=data_name or (real.spec if real is not None else ""),
        seed=seed,
        batch_size=batch_size,
        device=device,
        weights_dir=None if weights_dir is None else Path(weights_dir),
        weights={key: Path(file) for key, file in (weights or {}).items()},
        store=store,
        samples_store=store if apart == kept else FeatureStore(apart / "features"),
        training=training or training_of(opened.model),
        reporter=reporter or Silent(),
        world=world(),
    )


def _usual_num(protocols: Sequence[ProtocolSpec]) -> int | None:
    # Metrics that ask the model itself make draws of their own; their counts bind no metric of images.
    of_images = [spec for spec in protocols if spec.capability is None] or protocols
    return max((spec.num_fake for spec in of_images if spec.num_fake is not None), default=None)


def training_of(model: Any) -> Training | None:  # noqa: ANN401
    """How long a model was trained, where it says so."""
    # Models are known by shape; those from outside have no such attribute.
    found = getattr(model, "training", None)
    if not isinstance(found, Mapping) or not {"kimg", "checkpoint_sha256"} <= set(found):
        return None  # torch modules have an attribute of this name that is a bool
    return Training(kimg=float(found["kimg"]), checkpoint_sha256=str(found["checkpoint_sha256"]))
