"""From protocols and images to the work that has to be done: every image passes every network once.

All that can be wrong with a request and be known without a network is found here, before any work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from evalkit.adapters.capabilities import need
from evalkit.adapters.likelihood import likelihood_of
from evalkit.engine.likelihood import check_bits, lacks_bound
from evalkit.errors import MetricError, ProtocolError, UsageError
from evalkit.protocols import catalog
from evalkit.protocols.spec import (
    EquivarianceOptions,
    FrechetInfinityOptions,
    FrechetOptions,
    InceptionScoreOptions,
    KernelOptions,
    LikelihoodOptions,
    ModelOptions,
    NeighbourOptions,
    ProtocolSpec,
    SeparabilityOptions,
)
from evalkit.sources.base import ImageSource
from evalkit.sources.statistics import ReferenceStatistics

Role = Literal["samples", "data"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One protocol with the counts it will use.

    Attributes:
        spec: The protocol.
        num_fake: Samples or draws used; 0 of a likelihood, which is one of real images.
        num_real: Real images used, or behind the statistics where that is known; None without data.
    """

    spec: ProtocolSpec
    num_fake: int
    num_real: int | None

    @property
    def num_rows(self) -> int:
        """Rows that a metric of a model itself reads: a draw each, or a real image."""
        if isinstance(self.spec.options, LikelihoodOptions):
            assert self.num_real is not None
            return self.num_real
        return self.num_fake


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One pass of images through a network, shared by all measurements that need it.

    Attributes:
        role: Whose images.
        extractor: The network.
        resize: How images reach its size.
        precision: Type of weights and activations.
        layers: All layers that are needed.
        num_images: How many images, from the first.
    """

    role: Role
    extractor: str
    resize: str
    precision: str
    layers: tuple[str, ...]
    num_images: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelStep:
    """Draws of a model, or its answers to real images, shared by all measurements that can look at the same.

    Attributes:
        specs: The protocols it serves; they differ in how many rows they take, or in which layer.
        num_rows: How many draws or images, from the first.
    """

    specs: tuple[ProtocolSpec, ...]
    num_rows: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What will be measured, and the passes it takes.

    Attributes:
        protocols: All that were asked for, in order.
        measurements: Those that apply, with their counts.
        steps: Passes of images through networks.
        model_steps: Draws of the model.
        inapplicable: Protocols that ask of the model what it does not offer, with the reason.
    """

    protocols: tuple[ProtocolSpec, ...]
    measurements: tuple[Measurement, ...]
    steps: tuple[Step, ...]
    model_steps: tuple[ModelStep, ...] = ()
    inapplicable: tuple[tuple[ProtocolSpec, str], ...] = ()


def make_plan(
    protocols: Sequence[ProtocolSpec],
    samples: ImageSource,
    data: ImageSource | ReferenceStatistics | None,
    model: Any = None,  # noqa: ANN401 - any model
) -> Plan:
    """Plans ``protocols`` on ``samples`` against ``data``.

    Args:
        protocols: What to measure.
        samples: The images to judge; those of ``model`` where there is one.
        data: Real images, or their statistics.
        model: What the samples come from, where that can be asked.

    Raises:
        UsageError: A protocol needs real images or a model and none were given.
        ProtocolError: Counts or reference statistics do not fit a protocol.
        MetricError: There are too few images for a metric to be defined.
    """
    inapplicable = [(spec, why) for spec in protocols if (why := _lacking(spec, model))]
    lacking = {spec.name for spec, _ in inapplicable}
    for spec in protocols:
        if isinstance(spec.options, LikelihoodOptions) and spec.name not in lacking:
            check_bits(spec, likelihood_of(model), model.name)
    measurements = tuple(_measurement(spec, samples, data) for spec in protocols if spec.name not in lacking)
    grouped: dict[tuple[Role, str, str, str], tuple[dict[str, None], int]] = {}
    for item in measurements:
        spec = item.spec
        if spec.capability is not None:
            continue
        roles: list[tuple[Role, int]] = [("samples", item.num_fake)]
        if spec.needs_data and isinstance(data, ImageSource) and item.num_real is not None:
            roles.append(("data", item.num_real))
        for role, num in roles:
            key = (role, spec.extractor, spec.resize, spec.precision)
            layers, most = grouped.get(key, ({}, 0))
            grouped[key] = ({**layers, spec.layer: None}, max(most, num))
    steps = tuple(
        Step(
            role=role,
            extractor=name,
            resize=resize,
            precision=precision,
            layers=tuple(layers),
            num_images=num,
        )
        for (role, name, resize, precision), (layers, num) in grouped.items()
    )
    return Plan(
        protocols=tuple(protocols),
        measurements=measurements,
        steps=steps,
        model_steps=_model_steps(measurements),
        inapplicable=tuple(inapplicable),
    )


def _lacking(spec: ProtocolSpec, model: Any) -> str | None:  # noqa: ANN401
    # Why a protocol cannot ask this model; None where it can, or needs images alone.
    if spec.capability is None:
        if model is not None:
            need(model, "Samples", spec.name)
        return None
    if model is None:
        raise UsageError(
            f"{spec.name} asks a model itself and cannot be computed from images; name the model with --model"
        )
    try:
        need(model, spec.capability, "this")
    except UsageError as error:
        return str(error)
    if isinstance(spec.options, LikelihoodOptions):
        return lacks_bound(spec, model)
    return None


def _model_steps(measurements: Sequence[Measurement]) -> tuple[ModelStep, ...]:
    # One for each way of drawing: protocols that differ in count or layer alone share their rows.
    grouped: dict[tuple[str, ModelOptions], list[Measurement]] = {}
    for item in measurements:
        options = item.spec.options
        if not isinstance(options, ModelOptions):
            continue
        if isinstance(options, EquivarianceOptions):
            options = dataclasses.replace(options, operation="int")
        grouped.setdefault((item.spec.extractor, options), []).append(item)
    return tuple(
        ModelStep(specs=tuple(item.spec for item in items), num_rows=max(item.num_rows for item in items))
        for items in grouped.values()
    )


def _measurement(
    spec: ProtocolSpec, samples: ImageSource, data: ImageSource | ReferenceStatistics | None
) -> Measurement:
    if isinstance(spec.options, LikelihoodOptions):
        return _of_real_images(spec, data)
    num_fake = len(samples) if spec.num_fake is None else spec.num_fake
    if spec.capability is None:
        check_draws(spec, len(samples), samples.spec)
    _check_count(spec, num_fake, "samples", samples.spec)
    if not spec.needs_data:
        return Measurement(spec=spec, num_fake=num_fake, num_real=None)
    if data is None:
        raise UsageError(
            f"{spec.name} compares with real images; name them with --data (a folder, an archive, …)"
        )
    if isinstance(data, ReferenceStatistics):
        _check_reference(spec, data)
        return Measurement(spec=spec, num_fake=num_fake, num_real=data.num)
    num_real = len(data) if spec.num_real is None else min(spec.num_real, len(data))
    _check_count(spec, num_real, "real images", data.spec)
    if isinstance(spec.options, KernelOptions) and spec.options.subset_rule == "exact":
        for num, what in ((num_fake, samples.spec), (num_real, data.spec)):
            if num < spec.options.subset_size:
                raise ProtocolError(
                    f"{spec.name} draws subsets of {spec.options.subset_size} and {what} has {num}"
                )
    return Measurement(spec=spec, num_fake=num_fake, num_real=num_real)


def _of_real_images(spec: ProtocolSpec, data: ImageSource | ReferenceStatistics | None) -> Measurement:
    check_named(spec, data)
    assert data is not None
    if isinstance(data, ReferenceStatistics):
        raise ProtocolError(
            f"{spec.name} needs the real images themselves and {data.spec} holds only their mean and "
            "covariance; name the images with --data"
        )
    num_real = len(data) if spec.num_real is None else min(spec.num_real, len(data))
    _check_count(spec, num_real, "real images", data.spec)
    return Measurement(spec=spec, num_fake=0, num_real=num_real)


def check_named(spec: ProtocolSpec, data: object) -> None:
    """Refuses a likelihood of no images.

    Raises:
        UsageError: None were named.
    """
    if data is None and isinstance(spec.options, LikelihoodOptions):
        raise UsageError(
            f"{spec.name} is the likelihood of real images; name them with --data (a test set that the model "
            "was not trained on)"
        )


def check_draws(spec: ProtocolSpec, num: int | None, where: str) -> None:
    """Refuses fewer samples, or draws, than a protocol is defined on.

    Args:
        spec: The protocol.
        num: How many there are, or may be made; None is as many as it takes.
        where: What they are of.

    Raises:
        ProtocolError: There are fewer; the message names the protocol for any number, where there is one.
    """
    if num is None or spec.num_fake is None or spec.num_fake <= num:
        return
    free = catalog.any_number(spec)
    other = f", or use {free!r}, which takes any number and says so in its name" if free else ""
    raise ProtocolError(
        f"{spec.name} is defined on {spec.num_fake:,} samples and {where} has {num:,}; make more "
        f"samples{other}"
    )


def _check_count(spec: ProtocolSpec, num: int, what: str, where: str) -> None:
    options = spec.options
    if isinstance(options, NeighbourOptions):
        least, why = options.k + 1, f"k = {options.k} neighbours need at least k + 1 = {options.k + 1} images"
    elif isinstance(options, InceptionScoreOptions):
        least, why = options.splits, f"its {options.splits} splits need at least one image each"
    elif isinstance(options, FrechetInfinityOptions):
        least = 2 * options.num_points
        why = f"its {options.num_points} sample sizes need at least {least} images"
    elif isinstance(options, SeparabilityOptions):
        least, why = 4, "classifiers need at least two samples of those that are kept"
    else:
        least, why = 2, "a spread needs at least 2 images"
    if num < least:
        raise MetricError(f"{spec.name} is not defined on {num} {what} ({where}): {why}")


def _check_reference(spec: ProtocolSpec, data: ReferenceStatistics) -> None:
    if not isinstance(spec.options, (FrechetOptions, FrechetInfinityOptions)):
        raise ProtocolError(
            f"{spec.name} needs the real images themselves and {data.spec} holds only their mean and "
            "covariance, which serve Fréchet distances (fid, fid50k_full, fd_mini …); name the images with "
            "--data"
        )
    build = f"build one with `evalkit ref build DATA --protocol {spec.name.split('@')[0]} -o ref.npz`"
    if data.format != "evalkit":
        _check_foreign(spec, data, build)
        return
    header = data.header
    wanted = {
        "extractor": spec.extractor,
        "layer": spec.layer,
        "resize": spec.resize,
        "precision": spec.precision,
    }
    wrong = [
        f"{field} {header[field]!r} where {value!r} is needed"
        for field, value in wanted.items()
        if header[field] != value
    ]
    if wrong:
        raise ProtocolError(
            f"{data.spec} was made under protocol {header['protocol']!r} and cannot serve {spec.name!r}: "
            f"{', '.join(wrong)}; {build}"
        )
    if spec.num_real is not None and data.num is not None and data.num > spec.num_real:
        raise ProtocolError(
            f"{data.spec} was made from {data.num:,} images under protocol {header['protocol']!r} and "
            f"{spec.name!r} uses at most {spec.num_real:,}; {build}"
        )


def _check_foreign(spec: ProtocolSpec, data: ReferenceStatistics, build: str) -> None:
    # What the peers' files hold is known by their kind alone: Inception features in float32, after some
    # resize.
    if spec.extractor != "inception-tf2015" or spec.precision != "float32":
        raise ProtocolError(
            f"{data.spec} is a file of {data.format}'s kind, of float32 Inception features, and cannot serve "
            f"{spec.name!r}, which measures {spec.extractor} in {spec.precision}; {build}"
        )
    if spec.resize not in data.resizes:
        raise ProtocolError(
            f"{data.spec} is a file of {data.format}'s kind, made after the resize "
            f"{' or '.join(data.resizes)}, and cannot serve {spec.name!r}, which resizes by {spec.resize}; "
            f"{build}"
        )
