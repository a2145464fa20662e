"""What is judged and what it is held against, opened: samples, or the model that makes them; real images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.adapters.resolve import ReferenceModels, open_model
from evalkit.adapters.samples import AnswersOnly, Labels, ModelSource, with_sampling
from evalkit.engine.device import pick_device
from evalkit.engine.distributed import world
from evalkit.errors import UsageError
from evalkit.sources.base import ImageSource
from evalkit.sources.resolve import resolve
from evalkit.sources.statistics import ReferenceStatistics

# Samples of a model where nothing says how many: one a real image, but no more than papers take.
MOST_BY_DEFAULT = 50_000

# Everything `evalkit.sources.resolve` takes: a path, a name, an array, a data set, a callable, a source.
Images = Any


class Inputs(NamedTuple):
    """Images of both sides, opened.

    Attributes:
        samples: The images to judge; those of ``model`` where there is one.
        data: Real images, or their statistics; None where none were named.
        model: The opened model, or None.
        labels: Where its classes come from.
    """

    samples: ImageSource
    data: ImageSource | ReferenceStatistics | None
    model: Any
    labels: Labels


def open_inputs(
    *,
    samples: Images = None,
    model: Any = None,  # noqa: ANN401 - a spelling, or an object with the capability Samples
    data: Images = None,
    num: int | None = None,
    usual_num: int | None = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    labels: int | str | None = None,
    z_dim: int | None = None,
    value_range: str = "signed",
    num_classes: int = 0,
    sampling: Mapping[str, Any] | None = None,
    reference_models: ReferenceModels | None = None,
    limit: int | None = None,
    data_limit: int | None = None,
    subset_seed: int | None = None,
    seed: int = 0,
    skip_broken: bool = False,
    root: Path | None = None,
    download: bool = False,
    device: str = "auto",
) -> Inputs:
    """Opens samples, or a model as a source of them, and real images. Nothing is computed.

    ``usual_num`` is how many samples a model or callable makes where ``num`` is None: one a real image,
    50,000 at most, where that is None too. All other arguments are those of `evalkit.engine.request.prepare`.

    Raises:
        EvalkitError: They cannot be opened, or do not go together; the message says why.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise UsageError(f"the seed is {seed!r}; give a whole number from 0 to 2^63 - 1")
    if subset_seed is not None and limit is None and data_limit is None:
        raise UsageError(
            f"--subset-seed {subset_seed} draws a limited number of images and no limit was given; add "
            "--limit or --data-limit, or leave the seed out to use all images"
        )
    if (samples is None) == (model is None):
        given = "neither" if samples is None else "both"
        raise UsageError(
            f"{given} of --samples (images) and --model (what makes them) was given; give one of them"
        )
    shared: dict[str, Any] = {"skip_broken": skip_broken, "root": root, "download": download}
    real = (
        None
        if data is None
        else resolve(
            data, limit=data_limit, subset_seed=None if data_limit is None else subset_seed, **shared
        )
    )
    opened: Any = None
    classes: Labels = None
    if model is not None:
        opened = open_model(
            model, reference_models, z_dim=z_dim, value_range=value_range, num_classes=num_classes,
            device=pick_device(device, world()), real=real if isinstance(real, ImageSource) else None,
            root=root, download=download,
        )  # fmt: skip
        opened = with_sampling(opened, sampling or {})
        known = real.labels if labels is None and isinstance(real, ImageSource) else None
        classes = labels if known is None else known
        if hasattr(opened, "sample"):
            samples = ModelSource(
                opened, _count(opened.name, num, usual_num, limit, real), seed, labels=classes,
                truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff,
            )  # fmt: skip
        else:
            _refuse_drawing_options(opened.name, truncation_psi, truncation_cutoff, labels, num, limit)
            samples = AnswersOnly(opened)
        num = None
    else:
        _refuse_model_options(
            truncation_psi, truncation_cutoff, labels, z_dim, num_classes, value_range, sampling
        )
    fake = resolve(
        samples,
        limit=limit,
        subset_seed=None if limit is None else subset_seed,
        num=num,
        usual_num=usual_num,
        seed=seed,
        **shared,
    )
    if isinstance(fake, ReferenceStatistics):
        raise UsageError(
            f"{fake.spec} holds statistics, and --samples must be images; statistics can stand for the real "
            f"side (--data)"
        )
    return Inputs(fake, real, opened, classes)


def _refuse_model_options(
    psi: float,
    cutoff: int | None,
    labels: int | str | None,
    z_dim: int | None,
    num_classes: int,
    value_range: str,
    sampling: Mapping[str, Any] | None,
) -> None:
    # Left out in silence, they would be believed to have had an effect.
    given = {
        "--truncation": psi != 1, "--truncation-cutoff": cutoff is not None, "--labels": labels is not None,
        "--z-dim": z_dim is not None, "--num-classes": bool(num_classes),
        "--range": value_range != "signed", "--sampling": bool(sampling),
    }  # fmt: skip
    if named := [name for name, there in given.items() if there]:
        raise UsageError(
            f"{', '.join(named)} belongs to a model, and --samples are images; name it with --model"
        )


def _refuse_drawing_options(
    name: str, psi: float, cutoff: int | None, labels: int | str | None, num: int | None, limit: int | None
) -> None:
    given = {
        "--truncation": psi != 1, "--truncation-cutoff": cutoff is not None, "--labels": labels is not None,
        "--num": num is not None, "--limit": limit is not None,
    }  # fmt: skip
    if named := [option for option, there in given.items() if there]:
        raise UsageError(
            f"{', '.join(named)} says how images are drawn, and {name} draws none; leave it out "
            "(--data-limit takes fewer real images)"
        )


def _count(
    name: str,
    num: int | None,
    wanted: int | None,
    limit: int | None,
    real: ImageSource | ReferenceStatistics | None,
) -> int:
    """How many samples a model makes: what is asked for, what protocols ask for, or one a real image."""
    for count in (num, wanted, limit):
        if count is not None:
            return count
    if isinstance(real, ImageSource):
        return min(len(real), MOST_BY_DEFAULT)
    raise UsageError(f"{name} makes as many images as it is asked for; say how many with --num")
