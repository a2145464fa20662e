"""One evaluation from images to filed records."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.adapters.capabilities import HasLikelihood
from evalkit.adapters.likelihood import likelihood_of
from evalkit.adapters.samples import AnswersOnly
from evalkit.digest import digest
from evalkit.engine.cost import Costs, estimate_costs, model_step_cost
from evalkit.engine.device import describe_device, pick_device
from evalkit.engine.likelihood import LikelihoodProbe, view_of
from evalkit.engine.model_steps import OpenStep, measure_rows, open_step
from evalkit.engine.plan import Measurement, Role, Step
from evalkit.engine.probes import fill
from evalkit.engine.procedures.distribution import Measured, measure
from evalkit.engine.request import Arguments, Request, prepare
from evalkit.errors import EvalkitError, ProtocolError
from evalkit.features.base import Extractor
from evalkit.features.extract import extract, feature_key
from evalkit.features.store import FeatureStore, FeatureTable
from evalkit.protocols.spec import LikelihoodOptions, ProtocolSpec
from evalkit.records.manifest import provenance
from evalkit.records.schema import DataUse, Record
from evalkit.records.store import RecordStore, also_filed
from evalkit.sources.base import ImageSource
from evalkit.sources.statistics import ReferenceStatistics

if TYPE_CHECKING:
    from typing_extensions import Unpack

Tables = dict[tuple[Role, str, str, str], dict[str, FeatureTable]]


class _Looked(NamedTuple):
    # What a protocol looked through, for its record.
    weights_sha256: str
    weights_file: str
    device: str
    facts: Mapping[str, Any] = {}  # further ones of the extractor
    view: str = ""  # as what the real images were taken, where not as they are


def plan(**arguments: Unpack[Arguments]) -> Costs:
    """What `evaluate` would do with the same arguments, and what it would cost. Nothing is computed or filed.

    Raises:
        EvalkitError: The request cannot be run; the message says why.
    """
    request = prepare(**arguments)
    return estimate_costs(
        request.plan, lambda step: _open(request, step), lambda step: open_step(request, step)
    )


def evaluate(*, output: Path | str | None = Path("results"), **arguments: Unpack[Arguments]) -> list[Record]:
    """Measures images under named protocols and files one record a number.

    Args:
        output: Results folder; None files nothing.
        **arguments: Those of `evalkit.engine.request.prepare`; ``metrics`` and either ``samples`` or
            ``model`` are required, and ``data`` wherever a metric compares with real images.

    Returns:
        The records, in the order of ``metrics``; a metric that does not apply to the model has one without a
        value that says why. Under ``torchrun`` the list is empty but on process 0.

    Raises:
        EvalkitError: Something the user can mend. Whatever was finished before is kept and filed.
    """
    request = prepare(**arguments)
    filed = None if output is None else RecordStore(Path(output))
    if filed is not None and request.world.is_main:
        filed.check_writable()
    request.store.check_writable()
    request.samples_store.check_writable()
    _announce(request)
    failures: list[EvalkitError] = []
    # What the model is looked at through is loaded before any work, so that what lacks is said at once.
    opened = _open_model_steps(request, failures)
    if failures and not opened and not request.plan.steps:
        raise failures[0]
    tables: Tables = {}
    extractors: dict[tuple[Role, str, str, str], Extractor] = {}
    seconds: dict[str, float] = {}
    for step in request.plan.steps:
        key = (step.role, step.extractor, step.resize, step.precision)
        extractors[key], tables[key] = _open(request, step)
        seconds[f"{step.role} {step.extractor} {step.resize}"] = _extract(
            request, step, extractors[key], tables[key]
        )
    for ready in {ready.label: ready for ready in opened.values()}.values():
        try:
            seconds[ready.label] = _fill(request, ready)
        except EvalkitError as error:
            failures.append(error)
            opened = {name: other for name, other in opened.items() if other is not ready}
    if not request.world.is_main:
        return []
    records: list[Record] = []
    reasons = {spec.name: why for spec, why in request.plan.inapplicable}
    planned = {item.spec.name: item for item in request.plan.measurements}
    for spec in request.plan.protocols:
        try:
            if spec.name in reasons:
                made = _inapplicable(request, spec, reasons[spec.name])
            elif spec.capability is not None:
                if spec.name not in opened:
                    continue  # it failed above
                made = _measure_model(request, planned[spec.name], opened[spec.name], seconds)
            else:
                made = _measure(request, planned[spec.name], tables, extractors, seconds)
        except EvalkitError as error:
            failures.append(error)
            continue
        for record in made:
            if filed is not None:
                filed.append(record)
        records += made
    if failures:
        said = "; ".join(str(error) for error in failures)
        raise type(failures[0])(said + also_filed(len(records), output))
    return records


def _open_model_steps(request: Request, failures: list[EvalkitError]) -> dict[str, OpenStep]:
    opened: dict[str, OpenStep] = {}
    for step in request.plan.model_steps:
        try:
            ready = open_step(request, step)
        except EvalkitError as error:
            failures.append(error)
        else:
            opened |= {spec.name: ready for spec in step.specs}
    return opened


def _announce(request: Request) -> None:
    for role, given in (("samples", request.samples), ("data", request.data)):
        if isinstance(given, AnswersOnly):
            request.reporter.say(f"{role}: {given.spec} draws none")
        elif isinstance(given, ImageSource):
            left_out = f", {len(given.broken)} unreadable ones left out" if given.broken else ""
            request.reporter.say(
                f"{role}: {len(given):,} images in {given.spec}{left_out}; reading their content hash"
            )
        elif given is not None:
            behind = "" if given.num is None else f" of {given.num:,} images"
            request.reporter.say(f"{role}: statistics{behind} in {given.spec}")


def _open(request: Request, step: Step) -> tuple[Extractor, dict[str, FeatureTable]]:
    from evalkit.features.catalog import load_extractor

    source = request.samples if step.role == "samples" else request.data
    assert isinstance(source, ImageSource)
    extractor = load_extractor(
        step.extractor,
        layers=step.layers,
        resize=step.resize,
        precision=step.precision,
        device=pick_device(request.device, request.world),
        weights_dir=request.weights_dir,
        overrides=request.weights,
    )
    tables = {
        layer: _store(request, step.role).table(feature_key(source, extractor, layer), step.num_images)
        for layer in step.layers
    }
    return extractor, tables


def _extract(request: Request, step: Step, extractor: Extractor, tables: dict[str, FeatureTable]) -> float:
    source = request.samples if step.role == "samples" else request.data
    assert isinstance(source, ImageSource)
    label = f"{step.role}: {step.extractor} on {describe_device(extractor.device)}"
    with request.reporter.track(label) as progress:
        done = extract(
            source, extractor, tables, _store(request, step.role),
            batch_size=request.batch_size, rank=request.world.rank, world_size=request.world.size,
            progress=progress,
        )  # fmt: skip
    if done.damaged:
        request.reporter.say(f"{done.damaged} stored feature shards were damaged; they were computed again")
    if done.reused:
        request.reporter.say(f"{step.role}: features of {done.reused:,} images were on file")
    facts = _store(request, step.role).facts(source.fingerprint, step.num_images)
    if len(facts.sizes) > 1:
        request.reporter.say(
            f"{step.role}: {len(facts.sizes)} different image sizes, each resized by the protocol "
            f"({step.resize})"
        )
    for note in facts.notes:
        request.reporter.say(f"{step.role}: {note}")
    return done.seconds


def _fill(request: Request, ready: OpenStep) -> float:
    if request.world.is_main:
        cost = model_step_cost(ready)
        if cost.num_rows > cost.num_stored:
            request.reporter.say(cost.sentence)
    with request.reporter.track(ready.label, unit="rows") as progress:
        done = fill(
            ready.probe, ready.tables, request.samples_store,
            rank=request.world.rank, world_size=request.world.size, progress=progress,
        )  # fmt: skip
    if done.damaged:
        request.reporter.say(f"{done.damaged} stored shards were damaged; they were computed again")
    if done.reused:
        request.reporter.say(f"{ready.label}: {done.reused:,} rows were on file")
    return done.seconds


def _measure_model(
    request: Request, item: Measurement, ready: OpenStep, seconds: Mapping[str, float]
) -> list[Record]:
    spec = item.spec
    request.reporter.say(f"computing {spec.name} on {item.num_rows:,} rows")
    started = time.perf_counter()
    rows = {
        layer: request.samples_store.table(table.key, item.num_rows) for layer, table in ready.tables.items()
    }
    measured = measure_rows(spec, rows, request.seed, ready.probe, request.reporter)
    timings = {**seconds, spec.name: time.perf_counter() - started}
    looked = _Looked(ready.probe.weights_sha256, ready.weights_file, ready.device)
    if isinstance(ready.probe, LikelihoodProbe):
        looked = looked._replace(facts=ready.probe.facts, view=ready.probe.view)
    return [_record(request, item, looked, part, timings) for part in measured]


def _inapplicable(request: Request, spec: ProtocolSpec, why: str) -> list[Record]:
    # A reason, and no number: a zero would be read as one.
    import torch

    looked = _Looked("", "", describe_device(torch.device(pick_device(request.device, request.world))))
    if (
        isinstance(request.model, HasLikelihood)
        and isinstance(request.data, ImageSource)
        and isinstance(spec.options, LikelihoodOptions)
    ):
        looked = looked._replace(view=view_of(likelihood_of(request.model), request.data.load([0])[0]))
    item = Measurement(spec=spec, num_fake=spec.num_fake or len(request.samples), num_real=None)
    return [
        Record(
            metric=metric, value=None, reason=f"not applicable: {why}",
            **_circumstances(request, item, looked, {}),
        )
        for metric in spec.values
    ]  # fmt: skip


def _measure(
    request: Request,
    item: Measurement,
    tables: Tables,
    extractors: Mapping[tuple[Role, str, str, str], Extractor],
    seconds: Mapping[str, float],
) -> list[Record]:
    spec = item.spec
    fake_key: tuple[Role, str, str, str] = ("samples", spec.extractor, spec.resize, spec.precision)
    real_key: tuple[Role, str, str, str] = ("data", spec.extractor, spec.resize, spec.precision)
    extractor = extractors[fake_key]
    fake = request.samples_store.table(tables[fake_key][spec.layer].key, item.num_fake)
    real: FeatureTable | ReferenceStatistics | None = None
    if isinstance(request.data, ReferenceStatistics):
        real = request.data if spec.needs_data else None
        _check_weights(spec, request.data, extractor)
    elif spec.needs_data:
        assert item.num_real is not None
        real = request.store.table(tables[real_key][spec.layer].key, item.num_real)
    request.reporter.say(f"computing {spec.name} on {item.num_fake:,} samples")
    started = time.perf_counter()
    measured = measure(spec, fake, real, request.seed)
    timings = {**seconds, spec.name: time.perf_counter() - started}
    looked = _Looked(
        extractor.layer_sha256[spec.layer], extractor.weights_file, describe_device(extractor.device)
    )
    return [_record(request, item, looked, part, timings) for part in measured]


def _record(
    request: Request, item: Measurement, looked: _Looked, part: Measured, timings: Mapping[str, float]
) -> Record:
    estimate = part.estimate
    return Record(
        metric=part.metric,
        value=estimate.value,
        standard_error=estimate.standard_error,
        ci95=estimate.interval,
        ci_method=estimate.method,
        bias=estimate.bias,
        extras=dict(part.extras),
        notes=estimate.notes,
        seed=part.seed if part.seed is not None else estimate.seed,
        **_circumstances(request, item, looked, timings),
    )


def _circumstances(
    request: Request, item: Measurement, looked: _Looked, timings: Mapping[str, float]
) -> dict[str, Any]:
    # Fields of a record that do not depend on the number.
    spec = item.spec
    return {
        "higher_is_better": spec.higher_is_better,
        "protocol": spec.to_dict(),
        "extractor": {
            "name": spec.extractor,
            "layer": spec.layer,
            "weights_sha256": looked.weights_sha256,
            **looked.facts,
        },
        "samples": dataclasses.replace(
            _data_use(request, "samples", request.name, item.num_fake), training=request.training
        ),
        "data": None
        if request.data is None
        else _seen(_data_use(request, "data", request.data_name, item.num_real), looked.view),
        "provenance": provenance(device=looked.device, timings=timings, weights_file=looked.weights_file),
    }


def _seen(use: DataUse, view: str) -> DataUse:
    # Images in another form are other data: their numbers stand on a board of their own.
    if not view:
        return use
    return dataclasses.replace(
        use,
        name=f"{use.name} ({view})",
        fingerprint=digest([use.fingerprint, view]),
        notes=(*use.notes, f"taken as {view}, which holds the same information"),
    )


def _store(request: Request, role: Role) -> FeatureStore:
    return request.samples_store if role == "samples" else request.store


def _data_use(request: Request, role: Role, name: str, num: int | None) -> DataUse:
    given = request.samples if role == "samples" else request.data
    assert given is not None
    if isinstance(given, ReferenceStatistics):
        return DataUse(
            name=name, spec=given.spec, fingerprint=given.fingerprint, num=given.num, notes=given.notes
        )
    facts = _store(request, role).facts(given.fingerprint, num or 0)
    return DataUse(
        name=name,
        spec=given.spec,
        fingerprint=given.fingerprint,
        num=num,
        num_broken=len(given.broken),
        # What the source says of itself holds though no image of it passed a network.
        notes=tuple(sorted({*facts.notes, *given.notes})),
    )


def _check_weights(spec: ProtocolSpec, reference: ReferenceStatistics, extractor: Extractor) -> None:
    made_with = reference.header.get("weights_sha256")
    here = extractor.layer_sha256[spec.layer]
    if made_with is not None and made_with != here:
        raise ProtocolError(
            f"{reference.spec} was made with other weights of {spec.extractor} ({str(made_with)[:12]}…, this "
            f"run has {here[:12]}…); build it again with the weights of this run"
        )
