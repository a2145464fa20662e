"""What is asked of a restoration, in full: pairs, restorations or what makes them, protocols."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from evalkit.adapters.baselines import BASELINES, Baseline
from evalkit.adapters.resolve import ReferenceModels, open_restorer
from evalkit.engine.device import pick_device
from evalkit.engine.distributed import World, world
from evalkit.engine.inputs import Images
from evalkit.engine.progress import Reporter, Silent
from evalkit.engine.request import training_of
from evalkit.errors import UsageError
from evalkit.features.store import FeatureStore
from evalkit.features.weights import check_overrides
from evalkit.files import cache_root
from evalkit.protocols import catalog
from evalkit.protocols.restoration_options import (
    ConditionalLikelihoodOptions,
    RestorationOptions,
    TogetherOptions,
)
from evalkit.protocols.spec import ProtocolSpec
from evalkit.records.schema import Training
from evalkit.sources.pairs import Pairs, open_pairs

MOST_SAMPLES = 1000
USUAL_SAMPLES = 10  # of a model, where a metric looks at several together


class RestorationArguments(TypedDict, total=False):
    """The arguments of `prepare` and `evaluate_restoration`, for type checkers; `prepare` explains each."""

    hr: Images
    lr: Images
    sr: Images
    sr_model: Any
    scale: int
    metrics: Sequence[str] | str
    samples: int | None
    temperature: float | None
    name: str | None
    data_name: str | None
    value_range: str
    reference_models: ReferenceModels | None
    data_limit: int | None
    seed: int
    skip_broken: bool
    root: Path | None
    download: bool
    device: str
    weights_dir: Path | str | None
    weights: Mapping[str, Path | str] | None
    cache_dir: Path | str | None
    reporter: Reporter | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RestorationRequest:
    """What was asked for, resolved.

    Attributes:
        protocols: All that were asked for, in order.
        inapplicable: Of those that cannot be measured here, why, by name.
        pairs: Originals, their low-resolution images and, where they were given, restorations.
        model: What makes the restorations; None where they were given.
        num_samples: Restorations of each image.
        temperature: Of the model's samples; None where it has none.
        name: Of the restorations in tables.
        data_name: Of the originals in tables.
        seed: Of all draws.
        device: Where networks run.
        weights_dir: Folder of weight files.
        weights: Files for single networks, by name.
        store: Where rows are kept.
        restored: Folder where a model's restorations are kept.
        training: How long the model was trained, where it says so.
        reporter: Where progress goes.
        world: This process among those that share the work.
    """

    protocols: tuple[ProtocolSpec, ...]
    inapplicable: Mapping[str, str]
    pairs: Pairs
    model: Any
    num_samples: int
    temperature: float | None
    name: str
    data_name: str
    seed: int
    device: str
    weights_dir: Path | None
    weights: Mapping[str, Path]
    store: FeatureStore
    restored: Path
    training: Training | None
    reporter: Reporter
    world: World

    @property
    def measured(self) -> tuple[ProtocolSpec, ...]:
        """The protocols that apply."""
        return tuple(spec for spec in self.protocols if spec.name not in self.inapplicable)

    @property
    def deterministic(self) -> bool:
        """Whether all samples of an image are one and the same, so that one is enough to know them all."""
        return self.model is not None and not self.model.stochastic


def prepare(
    *,
    hr: Images,
    metrics: Sequence[str] | str,
    scale: int,
    lr: Images = None,
    sr: Images = None,
    sr_model: Any = None,  # noqa: ANN401 - a spelling, or an object with the capability Restores
    samples: int | None = None,
    temperature: float | None = None,
    name: str | None = None,
    data_name: str | None = None,
    value_range: str = "unit",
    reference_models: ReferenceModels | None = None,
    data_limit: int | None = None,
    seed: int = 0,
    skip_broken: bool = False,
    root: Path | None = None,
    download: bool = False,
    device: str = "auto",
    weights_dir: Path | str | None = None,
    weights: Mapping[str, Path | str] | None = None,
    cache_dir: Path | str | None = None,
    reporter: Reporter | None = None,
) -> RestorationRequest:
    """Resolves and checks a request without computing anything; says how images were read and paired.

    Args:
        hr: The originals: a folder, archive, array … (`evalkit.sources.resolve.resolve`).
        metrics: Names of protocols of restoration or groups of them, as a list or with commas.
        scale: By how much a restoration is larger than its low-resolution image.
        lr: Low-resolution images, found by name (`evalkit.sources.pairs.open_pairs`); made from the originals
            by MATLAB's bicubic ``imresize`` where None.
        sr: Restorations, found by name.
        sr_model: What makes them instead: a spelling of `evalkit.adapters.resolve.open_restorer`, or an
            object.
        samples: Restorations of each image; as many as there are of given ones, and of a model 10 where a
            metric looks at several together, else 1, where None.
        temperature: Of a model's samples; its usual one where None.
        name: Name of the restorations in tables; what was typed where None.
        data_name: Name of the originals in tables; the scale is added.
        value_range: Range of a model from outside: ``unit`` for [0, 1], ``signed`` for [-1, 1].
        reference_models: What opens this project's own models by name, and official checkpoints.
        data_limit: Use so many of the originals.
        seed: Of all draws.
        skip_broken: Leave unreadable originals out.
        root: Folder of torchvision data sets.
        download: Allow a data set to be downloaded.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        weights_dir: Folder of weight files.
        weights: Files to use for single networks, by name.
        cache_dir: Where rows and a model's restorations are kept.
        reporter: Where progress goes; nowhere where None.

    Raises:
        EvalkitError: The request cannot be run; the message says why.
    """
    check_overrides({key: Path(file) for key, file in (weights or {}).items()})
    names = metrics.split(",") if isinstance(metrics, str) else list(metrics)
    protocols = tuple(catalog.select(names))
    for spec in protocols:
        if not isinstance(spec.options, RestorationOptions):
            raise UsageError(
                f"{spec.name} is no metric of restorations and their originals; ask for it with --samples or "
                "--model and --data, and here for sr, psnr_y, ssim_y, lpips_alex, lr_psnr … "
                "(`evalkit list protocols`)"
            )
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise UsageError(f"the seed is {seed!r}; give a whole number from 0 to 2^63 - 1")
    if (sr is None) == (sr_model is None):
        given = "neither" if sr is None else "both"
        raise UsageError(
            f"{given} of --sr (restorations) and --sr-model (what makes them) was given; give one of them"
        )
    whole = isinstance(samples, int) and not isinstance(samples, bool)
    if samples is not None and not (whole and 1 <= samples <= MOST_SAMPLES):
        raise UsageError(
            f"--samples is {samples!r}; give how many restorations of each image, from 1 to {MOST_SAMPLES:,}"
        )
    where: dict[str, Any] = {"skip_broken": skip_broken, "root": root, "download": download}
    model = None
    if sr_model is not None:
        model = open_restorer(
            sr_model, reference_models, scale=scale, value_range=value_range,
            device=pick_device(device, world()),
        )  # fmt: skip
    elif temperature is not None or value_range != "unit":
        option = "--range" if temperature is None else f"--temperature {temperature:g}"
        raise UsageError(
            f"{option} belongs to a model, and --sr are images that are there; name it with --sr-model"
        )
    pairs = open_pairs(
        hr, scale=scale, lr=lr, sr=sr, samples=None if sr is None else samples, limit=data_limit, **where
    )
    told = reporter or Silent()
    for note in pairs.notes:
        told.say(note)
    several = any(isinstance(spec.options, TogetherOptions) for spec in protocols)
    num = pairs.num_samples if model is None else samples or (USUAL_SAMPLES if several else 1)
    kept = cache_root(None if cache_dir is None else Path(cache_dir))
    heat = None if model is None else _temperature(model, temperature)
    label = name or (pairs.sr_spec if model is None else str(model.name))
    return RestorationRequest(
        protocols=protocols,
        inapplicable={spec.name: why for spec in protocols if (why := _lacking(spec, model, num))},
        pairs=pairs,
        model=model,
        num_samples=num,
        temperature=heat,
        name=label if heat is None or name else f"{label} at temperature {heat:g}",
        data_name=f"{data_name or pairs.spec} x{pairs.scale}",
        seed=seed,
        device=device,
        weights_dir=None if weights_dir is None else Path(weights_dir),
        weights={key: Path(file) for key, file in (weights or {}).items()},
        store=FeatureStore(kept / "features"),
        restored=kept / "restored",
        training=training_of(model),
        reporter=told,
        world=world(),
    )


def _temperature(model: Any, given: float | None) -> float | None:  # noqa: ANN401
    usual = model.temperature
    if given is None:
        return None if usual is None else float(usual)
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given < math.inf:
        raise UsageError(f"the temperature is {given!r}; give a finite number from 0 on, such as 0.9")
    if usual is None:
        raise UsageError(f"{model.name} has no temperature; leave --temperature {given:g} out")
    return float(given)


def _lacking(spec: ProtocolSpec, model: Any, num: int) -> str | None:  # noqa: ANN401
    # Why a protocol has no number here; None where it has one.
    if isinstance(spec.options, TogetherOptions) and num < 2:
        return f"this looks at several restorations of an image together, and there is {num} of each"
    if isinstance(spec.options, ConditionalLikelihoodOptions) and not hasattr(model, "conditional_nats"):
        what = "restorations alone have none" if model is None else f"{model.name} has none"
        return f"this needs a model with a likelihood of originals given their low-resolution images; {what}"
    return None


def baselines_of(request: RestorationRequest) -> list[RestorationRequest]:
    """The same request of every baseline (`evalkit.adapters.baselines.BASELINES`) but itself.

    Protocols that do not apply to a baseline are left out.
    """
    own = None if request.model is None else request.model.name
    return [_with_baseline(request, name) for name in BASELINES if name != own]


def _with_baseline(request: RestorationRequest, name: str) -> RestorationRequest:
    model = Baseline(name, request.pairs.scale)
    lacking = {spec.name for spec in request.protocols if _lacking(spec, model, request.num_samples)}
    return dataclasses.replace(
        request,
        protocols=tuple(spec for spec in request.protocols if spec.name not in lacking),
        inapplicable={},
        model=model,
        temperature=None,
        name=name,
        training=None,
    )


def at_temperature(request: RestorationRequest, temperature: float, name: str) -> RestorationRequest:
    """The same request at another temperature, filed under ``name`` with the temperature added.

    Raises:
        UsageError: The model has none, or it cannot be.
    """
    heat = _temperature(request.model, temperature)
    return dataclasses.replace(request, temperature=heat, name=f"{name} at temperature {heat:g}")
