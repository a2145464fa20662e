"""One evaluation of restorations, from pairs of images to filed records; and the baselines beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evalkit.engine.device import describe_device, pick_device
from evalkit.engine.probes import fill, probe_tables
from evalkit.engine.procedures.restoration import RestorationResult, measure_restoration
from evalkit.engine.restoration.probes import (
    ImageProbe,
    LikelihoodProbe,
    SampleProbe,
    layer_of,
    probe_kind,
)
from evalkit.engine.restoration.request import (
    RestorationArguments,
    RestorationRequest,
    baselines_of,
    prepare,
)
from evalkit.engine.restoration.samples import ModelRestorations, Restorations, restorations_of
from evalkit.errors import EvalkitError
from evalkit.features.store import FeatureTable
from evalkit.protocols.restoration_options import ConditionalLikelihoodOptions
from evalkit.protocols.spec import ProtocolSpec
from evalkit.records.manifest import provenance
from evalkit.records.schema import DataUse, Record
from evalkit.records.store import RecordStore, also_filed

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from evalkit.features.perceptual import Perceptual

    Judges = Mapping[str, Perceptual | None]

NO_JUDGE = "none"


class Evaluation(NamedTuple):
    """What an evaluation of restorations found.

    Attributes:
        records: Those of the restorations, in the order of the metrics.
        baselines: Those of each baseline, in the order of `evalkit.adapters.baselines.BASELINES`.
        request: What was asked, resolved.
        restorations: What was judged.
        failures: Why other numbers could not be made.
    """

    records: list[Record]
    baselines: list[list[Record]]
    request: RestorationRequest
    restorations: Restorations
    failures: list[EvalkitError]

    def check(self, output: Path | str | None) -> None:
        """Raises what kept numbers from being made, if anything, and says what is filed in ``output``.

        Under ``torchrun`` process 0 alone does, which meets the same.

        Raises:
            EvalkitError: Of the kind of the first failure.
        """
        if not self.failures or not self.request.world.is_main:
            return  # a helper process that ended in an error would have torchrun end the main one
        said = "; ".join(dict.fromkeys(str(error) for error in self.failures))
        raise type(self.failures[0])(said + also_filed(len(self.records), output))


class Opened(NamedTuple):
    """A probe with the place of its rows.

    Attributes:
        probe: What makes the rows.
        tables: Where they are kept, by layer.
        specs: The protocols it serves.
    """

    probe: SampleProbe | ImageProbe | LikelihoodProbe
    tables: Mapping[str, FeatureTable]
    specs: tuple[ProtocolSpec, ...]


def evaluate_restoration(
    *,
    output: Path | str | None = Path("results"),
    baselines: bool = True,
    **arguments: Unpack[RestorationArguments],
) -> list[Record]:
    """Holds restorations against their originals under named protocols and files one record a number.

    Args:
        output: Results folder; None files nothing.
        baselines: Whether nearest, bicubic and Lanczos enlargement of the same images are measured too, so
            that every table has them.
        **arguments: Those of `evalkit.engine.restoration.request.prepare`: ``hr``, ``scale`` and ``metrics``
            are required, and ``sr`` or ``sr_model``.

    Returns:
        The records, those of the baselines last. One that does not apply has no value and says why. Under
        ``torchrun`` the list is empty but on process 0.

    Raises:
        EvalkitError: Something the user can mend. Whatever was finished before is kept and filed.
    """
    found = run_restoration(prepare(**arguments), output, baselines=baselines)
    found.check(output)
    return [*found.records, *(record for each in found.baselines for record in each)]


def run_restoration(
    request: RestorationRequest,
    output: Path | str | None,
    *,
    baselines: bool,
    judges: Judges | None = None,
) -> Evaluation:
    """`evaluate_restoration` of a request that is resolved; what failed is told and not raised.

    Args:
        request: What is asked.
        output: Results folder; None files nothing.
        baselines: Whether the baselines are measured too.
        judges: The networks that the protocols look through, where they are loaded already.

    Raises:
        EvalkitError: Nothing at all can be measured, or nothing can be written.
    """
    filed = None if output is None else RecordStore(Path(output))
    if filed is not None and request.world.is_main:
        filed.check_writable()
    request.store.check_writable()
    failures: list[EvalkitError] = []
    if judges is None:
        judges, failures = load_judges(request)
    if failures and not any(spec.extractor in judges for spec in request.measured):
        raise failures[0]
    restorations = restorations_of(request)
    records = _measure(request, restorations, judges, filed, failures)
    beside = [
        _measure(asked, restorations_of(asked), judges, filed, failures)
        for asked in (baselines_of(request) if baselines else ())
    ]
    return Evaluation(records, beside, request, restorations, failures)


def load_judges(request: RestorationRequest) -> tuple[Judges, list[EvalkitError]]:
    """The networks that the request's protocols look through, by name, and what lacks.

    They are loaded before any work, so that what lacks is said at once. Protocols that look through nothing
    have None.
    """
    from evalkit.features.perceptual import load_perceptual

    judges: dict[str, Perceptual | None] = {NO_JUDGE: None}
    failures: list[EvalkitError] = []
    for name in dict.fromkeys(spec.extractor for spec in request.measured):
        if name in judges:
            continue
        try:
            judges[name] = load_perceptual(
                name, device=pick_device(request.device, request.world),
                weights_dir=request.weights_dir, overrides=request.weights,
            )  # fmt: skip
        except EvalkitError as error:
            failures.append(error)
    return judges, failures


def _measure(
    request: RestorationRequest,
    restorations: Restorations,
    judges: Judges,
    filed: RecordStore | None,
    failures: list[EvalkitError],
) -> list[Record]:
    seconds: dict[str, float] = {}
    lost = False
    if isinstance(restorations, ModelRestorations) and needs_restorations(request):
        try:
            seconds["restoring"] = restorations.make()
        except EvalkitError as error:
            failures.append(error)
            lost = True
    opened: dict[str, Opened] = {}
    waiting = [
        each
        for each in open_probes(request, restorations, judges)
        if not (lost and each.probe.judges_restorations)
    ]
    while waiting:
        ready = waiting.pop(0)
        try:
            seconds[ready.probe.name] = _fill(request, ready) + seconds.get(ready.probe.name, 0.0)
        except EvalkitError as error:
            if len(ready.specs) > 1:  # one of them failed; the others may not
                waiting += [_open(request, restorations, judges, [spec]) for spec in ready.specs]
            else:
                failures.append(error)
        else:
            opened |= dict.fromkeys(ready.tables, ready)
    if not request.world.is_main:
        return []
    records = []
    for spec in request.protocols:
        why = request.inapplicable.get(spec.name)
        if why is None and layer_of(spec) not in opened:
            continue  # it failed above
        if why is None:
            record = _record(request, restorations, spec, opened[layer_of(spec)], seconds)
        else:
            record = Record(
                metric=spec.name, value=None, reason=f"not applicable: {why}",
                **_circumstances(request, restorations, spec, None, {}),
            )  # fmt: skip
        if filed is not None:
            filed.append(record)
        records.append(record)
    return records


def needs_restorations(request: RestorationRequest) -> bool:
    """Whether any of the protocols looks at restorations, and not at the model's likelihood alone."""
    return any(probe_kind(spec).judges_restorations for spec in request.measured)


def open_probes(request: RestorationRequest, restorations: Restorations, judges: Judges) -> list[Opened]:
    """A probe for every network and kind of row that the request needs, with its tables."""
    grouped: dict[tuple[object, str], list[ProtocolSpec]] = {}
    for spec in request.measured:
        if spec.extractor in judges:
            grouped.setdefault((probe_kind(spec), spec.extractor), []).append(spec)
    return [_open(request, restorations, judges, specs) for specs in grouped.values()]


def _open(
    request: RestorationRequest,
    restorations: Restorations,
    judges: Judges,
    specs: Sequence[ProtocolSpec],
) -> Opened:
    probe = probe_kind(specs[0])(request, restorations, specs, judges[specs[0].extractor])
    tables = probe_tables(probe, restorations.fingerprint, probe.num_rows, request.store)
    return Opened(probe, tables, tuple(specs))


def _fill(request: RestorationRequest, ready: Opened) -> float:
    with request.reporter.track(f"{request.name}: {ready.probe.name}", unit="rows") as progress:
        done = fill(
            ready.probe, ready.tables, request.store,
            rank=request.world.rank, world_size=request.world.size, progress=progress,
        )  # fmt: skip
    if done.damaged:
        request.reporter.say(f"{done.damaged} stored shards were damaged; they were computed again")
    return done.seconds


def _record(
    request: RestorationRequest,
    restorations: Restorations,
    spec: ProtocolSpec,
    ready: Opened,
    seconds: Mapping[str, float],
) -> Record:
    started = time.perf_counter()
    rows = np.asarray(ready.tables[layer_of(spec)][0 : ready.probe.num_rows], dtype=np.float64)
    found: RestorationResult = measure_restoration(
        spec, rows.reshape(len(request.pairs), -1), request.pairs.names,
        num_samples=request.num_samples, seed=request.seed if _draws(request, spec) else None,
    )  # fmt: skip
    timings = {**seconds, spec.name: time.perf_counter() - started}
    common = _circumstances(request, restorations, spec, ready.probe, timings)
    if found.measured is None:
        return Record(metric=spec.name, value=None, reason=found.reason, per_image=found.per_image, **common)
    estimate = found.measured.estimate
    return Record(
        metric=found.measured.metric,
        value=estimate.value,
        standard_error=estimate.standard_error,
        ci95=estimate.interval,
        ci_method=estimate.method,
        extras=dict(found.measured.extras),
        notes=(*estimate.notes, *ready.probe.notes),
        seed=found.measured.seed,
        per_image=found.per_image,
        **common,
    )


def _draws(request: RestorationRequest, spec: ProtocolSpec) -> bool:
    # Whether the seed decides anything: noise of a likelihood, or the samples of a model.
    drawn = request.model is not None and not request.deterministic
    return drawn or isinstance(spec.options, ConditionalLikelihoodOptions)


def _circumstances(
    request: RestorationRequest,
    restorations: Restorations,
    spec: ProtocolSpec,
    probe: SampleProbe | ImageProbe | LikelihoodProbe | None,
    timings: Mapping[str, float],
) -> dict[str, Any]:
    import torch

    pairs = request.pairs
    device = describe_device(torch.device(pick_device(request.device, request.world)))
    weights_file = "" if probe is None else probe.weights_file
    temperature = {} if request.temperature is None else {"temperature": request.temperature}
    return {
        "higher_is_better": spec.higher_is_better,
        "protocol": spec.to_dict(),
        "extractor": {
            "name": spec.extractor,
            "layer": spec.layer,
            "weights_sha256": "" if probe is None else probe.weights_sha256,
            "scale": pairs.scale,
            "samples_per_image": request.num_samples,
            "low_resolution": pairs.lr_from,
            **temperature,
        },
        "samples": DataUse(
            name=request.name,
            spec=pairs.sr_spec if request.model is None else str(request.model.name),
            fingerprint=restorations.fingerprint,
            num=len(pairs) * request.num_samples,
            notes=restorations.notes,
            training=request.training,
        ),
        "data": DataUse(
            name=request.data_name,
            spec=pairs.spec,
            fingerprint=pairs.fingerprint,
            num=len(pairs),
            num_broken=len(pairs.broken),
            notes=pairs.notes,
        ),
        "provenance": provenance(device=device, timings=timings, weights_file=weights_file),
    }
