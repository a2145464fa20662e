"""From a planned step to the probe that makes its rows, and from rows to numbers: one place for each family.

Heavy modules are imported when a step is opened.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evalkit.digest import arrays_sha256, digest
from evalkit.engine.device import describe_device, pick_device
from evalkit.engine.judges import ANY_BUNDLE, NAME_A_BUNDLE
from evalkit.engine.plan import ModelStep
from evalkit.engine.probes import Probe, Subject, probe_tables
from evalkit.engine.procedures.distribution import Measured
from evalkit.engine.progress import Reporter
from evalkit.engine.request import Request
from evalkit.errors import UsageError
from evalkit.features.store import FeatureTable
from evalkit.metrics.rows import Rows
from evalkit.protocols.spec import (
    EquivarianceOptions,
    LikelihoodOptions,
    PathLengthOptions,
    ProtocolSpec,
    SeparabilityOptions,
)
from evalkit.sources.base import ImageSource


class OpenStep(NamedTuple):
    """A step of draws, ready to be filled.

    Attributes:
        step: What was planned.
        probe: What makes its rows.
        tables: Where they are kept, by layer.
        weights_file: The file of the network that judges the images, or "".
        device: Where that runs, or the model where nothing judges, in words.
        seconds: Time of one row, where a group of them was computed to know the model by its answers.
    """

    step: ModelStep
    probe: Probe
    tables: Mapping[str, FeatureTable]
    weights_file: str
    device: str
    seconds: float | None

    @property
    def label(self) -> str:
        """How progress names it."""
        return f"model: {', '.join(spec.name for spec in self.step.specs)}"


def open_step(request: Request, step: ModelStep) -> OpenStep:
    """Loads what the step looks through, and finds its tables.

    Raises:
        UsageError: Labels or settings do not fit the model, or no attribute bundle was named.
        WeightsError: Weights are missing, partial or wrong.
    """
    import torch

    spec = step.specs[0]
    if isinstance(spec.options, LikelihoodOptions):
        return _open_likelihood(request, step)
    subject = Subject(
        model=request.model,
        seed=request.seed,
        labels=request.labels,
        truncation_psi=request.truncation_psi,
        truncation_cutoff=request.truncation_cutoff,
    )
    device = torch.device(pick_device(request.device, request.world))
    probe: Probe
    weights_file = ""
    if isinstance(spec.options, EquivarianceOptions):
        from evalkit.engine.equivariance import EquivarianceProbe
        from evalkit.metrics.equivariance.eq import OPERATIONS

        wanted = {each.layer for each in step.specs}
        device = subject.device
        probe = EquivarianceProbe(subject, spec, tuple(name for name in OPERATIONS if name in wanted))
    elif isinstance(spec.options, PathLengthOptions):
        from evalkit.engine.path_length import PathLengthProbe
        from evalkit.features.lpips import load_distance

        distance = load_distance(
            spec.extractor, device=device, weights_dir=request.weights_dir, overrides=request.weights
        )
        weights_file = distance.weights_file
        probe = PathLengthProbe(subject, spec, distance, num=step.num_rows)
    else:
        from evalkit.engine.separability import SeparabilityProbe
        from evalkit.features.attributes import find_bundle, load_attributes

        bundle = bundle_name(request, spec)
        weights_file = str(find_bundle(bundle, request.weights_dir))
        attributes = load_attributes(bundle, device, request.weights_dir)
        probe = SeparabilityProbe(subject, spec, attributes)
    return _known(request, step, probe, request.samples.fingerprint, weights_file, describe_device(device))


def _open_likelihood(request: Request, step: ModelStep) -> OpenStep:
    import torch

    from evalkit.engine.likelihood import LikelihoodProbe

    model, data = request.model, request.data
    assert isinstance(data, ImageSource)
    probe = LikelihoodProbe(model, step.specs[0], data, num=step.num_rows, seed=request.seed)
    identity = getattr(model, "identity", None)
    # How many images it draws, and from which seed on, does not matter here.
    source = request.samples.fingerprint if identity is None else digest(["likelihood", identity])
    device = torch.device(str(getattr(model, "device", "cpu")))
    # A model that nothing names is looked at all over the data: one that changed may answer alike at first.
    spread = range(0, step.num_rows, max(step.num_rows // probe.group, 1))[: probe.group]
    return _known(request, step, probe, source, "", describe_device(device), spread)


def _known(
    request: Request,
    step: ModelStep,
    probe: Probe,
    source: str,
    weights_file: str,
    device: str,
    spread: range | None = None,
) -> OpenStep:
    seconds = None
    if getattr(request.model, "known_by_answers", True):
        # Only a model that is wholly named by its identity can be trusted not to have changed in what its
        # plain images do not show: how it moves, how it maps. Others are known by their first answers.
        started = time.perf_counter()
        rows = probe(range(probe.group) if spread is None else spread)
        seconds = (time.perf_counter() - started) / probe.group
        source = digest([source, arrays_sha256({name: np.asarray(row) for name, row in rows.items()})])
    tables = probe_tables(probe, source, step.num_rows, request.samples_store)
    return OpenStep(step, probe, tables, weights_file, device, seconds)


def bundle_name(request: Request, spec: ProtocolSpec) -> str | Path:
    """The attribute bundle of ``spec``: its own, or the one the user named.

    Raises:
        UsageError: The user named none.
    """
    if spec.extractor != ANY_BUNDLE:
        return request.weights.get(spec.extractor, spec.extractor)
    if request.attributes is None:
        raise UsageError(f"{spec.name} needs attribute classifiers; {NAME_A_BUNDLE}")
    return request.attributes


def seconds_per_row(ready: OpenStep) -> float:
    """Time of one row, from one group; the first group of a process takes longer, so it errs upwards."""
    if ready.seconds is not None:
        return ready.seconds
    started = time.perf_counter()
    ready.probe(range(ready.probe.group))
    return (time.perf_counter() - started) / ready.probe.group


def measure_rows(
    spec: ProtocolSpec, rows: Mapping[str, Rows], seed: int, probe: Probe, reporter: Reporter
) -> list[Measured]:
    """All numbers of ``spec`` from the rows of its step.

    Args:
        spec: The protocol.
        rows: By layer.
        seed: The run's seed.
        probe: What made the rows.
        reporter: Where progress goes.

    Raises:
        MetricError: The metric is not defined on these rows.
    """
    if isinstance(spec.options, EquivarianceOptions):
        from evalkit.engine.equivariance import EquivarianceProbe
        from evalkit.engine.procedures.equivariance import measure_equivariance

        assert isinstance(probe, EquivarianceProbe)
        return measure_equivariance(spec, rows[spec.layer], seed, probe.notes)
    if isinstance(spec.options, PathLengthOptions):
        from evalkit.engine.procedures.path_length import measure_path_length

        return measure_path_length(spec, rows[spec.layer], seed)
    if isinstance(spec.options, LikelihoodOptions):
        from evalkit.engine.likelihood import LikelihoodProbe
        from evalkit.engine.procedures.likelihood import measure_likelihood

        assert isinstance(probe, LikelihoodProbe)
        return measure_likelihood(spec, rows[spec.layer], seed, probe.likelihood, probe.model_name)
    from evalkit.engine.procedures.separability import measure_separability
    from evalkit.engine.separability import SeparabilityProbe

    assert isinstance(spec.options, SeparabilityOptions)
    assert isinstance(probe, SeparabilityProbe)
    return measure_separability(spec, rows, seed, probe.names, reporter)
