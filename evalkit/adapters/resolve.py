"""From what a user types after ``--model`` or ``--sr-model`` to the model: this project's, or somebody's own.

Reference models live in a package that nothing here may import: whoever puts the program together hands it in
(`ReferenceModels`). Everything else is opened by `evalkit.adapters.external`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from evalkit.adapters.capabilities import HasLikelihood, Restores, need
from evalkit.adapters.closed_form import CLOSED_FORMS, open_closed_form
from evalkit.errors import UsageError, nearest
from evalkit.sources.base import ImageSource


class ReferenceModels(Protocol):
    """What opens models that this project wrote, and the checkpoints they read."""

    def open_model(self, spec: str, *, device: str = "cpu") -> Any | None:  # noqa: ANN401
        """The model behind a name or a checkpoint's path; None where it is neither."""

    def model_rows(self) -> list[dict[str, Any]]:
        """A row a model, for listings."""


def open_model(
    spec: Any,  # noqa: ANN401 - a model object passes through
    reference_models: ReferenceModels | None,
    *,
    z_dim: int | None = None,
    value_range: str = "signed",
    num_classes: int = 0,
    device: str = "cpu",
    real: ImageSource | None = None,
    root: Path | None = None,
    download: bool = False,
) -> Any:  # noqa: ANN401 - models are known by shape (`evalkit.adapters.capabilities`)
    """The model behind ``spec``, ready to sample on ``device``.

    Args:
        spec: ``NAME:PRESET-random``, a checkpoint, ``package.module:factory``, a TorchScript, torch.export or
            ONNX file, a model in closed form (`evalkit.adapters.closed_form.CLOSED_FORMS`); or a model
            object, which is returned as it is.
        reference_models: What opens this project's own models.
        z_dim: Width of the latents of a model from outside.
        value_range: Range of its images, ``signed`` for [-1, 1] or ``unit`` for [0, 1].
        num_classes: Number of classes of a conditional model from outside.
        device: Where it runs.
        real: The images that it will be held against, where there are some.
        root: Where data sets that a model in closed form is fitted to lie.
        download: Whether they may be downloaded.

    Raises:
        UsageError: The spelling is none of these.
        CheckpointError: The file cannot be read safely, or is no model.
    """
    if not isinstance(spec, (str, Path)):
        if isinstance(spec, HasLikelihood):
            return spec  # whether it can be asked for images too is looked at when it is
        if hasattr(spec, "nats") and not hasattr(spec, "sample"):
            raise UsageError(
                f"{type(spec).__name__} has nats, and a model that says how likely images are needs name and "
                "likelihood beside it; give it both, or make one of the function by evalkit.likelihood"
            )
        lacking = [
            name for name in ("sample", "name", "resolution", "num_classes") if not hasattr(spec, name)
        ]
        if lacking:
            raise UsageError(
                f"{type(spec).__name__} is no model that can be asked for images: it lacks "
                f"{', '.join(lacking)}; give module:factory, a model of reference_models, or a function as "
                "evalkit.adapt (of latents) or evalkit.likelihood (of images) makes a model of it"
            )
        return spec
    spec = str(spec)
    if spec.partition(":")[0].partition("@")[0] in CLOSED_FORMS:
        _refuse_options(spec, z_dim, value_range, num_classes)
        return open_closed_form(spec, real=real, root=root, download=download)
    if reference_models is not None:
        found = reference_models.open_model(spec, device=device)
        if found is not None:
            _refuse_options(spec, z_dim, value_range, num_classes)
            return found
    from evalkit.adapters.external import is_external, load_external

    if reference_models is None and not is_external(spec):
        raise UsageError(
            f"{spec}: from Python, reference models and official checkpoints are given as objects: "
            "model=reference_models.load_checkpoint(path), or model=reference_models.build(name)"
        )
    return load_external(spec, z_dim=z_dim, value_range=value_range, num_classes=num_classes, device=device)


def open_restorer(
    spec: Any,  # noqa: ANN401 - an object passes through
    reference_models: ReferenceModels | None,
    *,
    scale: int,
    value_range: str = "unit",
    device: str = "cpu",
) -> Restores:
    """What restores images behind ``spec``, ready on ``device``.

    Args:
        spec: A baseline (`evalkit.adapters.baselines.BASELINES`), ``NAME:PRESET-random`` or a checkpoint of a
            reference model, ``package.module:factory``, ``file.py:factory``, a TorchScript, torch.export or
            ONNX file; or an object: one that restores is returned as it is, any other function of a
            low-resolution image is adapted.
        reference_models: What opens this project's own models.
        scale: How many times as high and as wide as its input a restoration is.
        value_range: Of a model from outside: ``unit`` for floats in [0, 1], ``signed`` for [-1, 1].
        device: Where it runs.

    Raises:
        UsageError: The spelling is none of these, the model restores nothing, or is of another scale.
        CheckpointError: The file cannot be read safely, or is no model.
    """
    from evalkit.adapters.baselines import BASELINES, Baseline, check_scale
    from evalkit.adapters.restorers import adapt_restorer, load_restorer

    check_scale(scale)
    found: Any = None
    if not isinstance(spec, (str, Path)):
        if callable(spec) and not isinstance(spec, Restores):
            return adapt_restorer(spec, scale=scale, value_range=value_range, device=device)
        found = spec
    elif str(spec) in BASELINES:
        found = Baseline(str(spec), scale)
    elif reference_models is not None:
        found = reference_models.open_model(str(spec), device=device)
    if found is None:
        from evalkit.adapters.external import is_external

        if Path(spec).is_dir():
            raise UsageError(f"{spec} is a folder; restorations that are there are given with --sr")
        if not is_external(str(spec)):
            raise UsageError(
                f"{str(spec)!r} names nothing that restores images (nearest: "
                f"{nearest(str(spec), BASELINES)}); "
                f"accepted are {', '.join(BASELINES)}, file.py:factory, package.module:factory, programs "
                "(.pt, .pth, .pt2, .onnx), checkpoints, and reference models by name (`evalkit list models`)"
            )
        found = load_restorer(str(spec), scale=scale, value_range=value_range, device=device)
    elif value_range != "unit":
        raise UsageError(f"{spec} says itself what its images are; leave --range out")
    need(found, "Restores", "restoration")
    if found.scale != scale:
        raise UsageError(
            f"{found.name} enlarges {found.scale} times, and the scale is {scale}; give --scale {found.scale}"
        )
    restorer: Restores = found
    return restorer


def _refuse_options(spec: str, z_dim: int | None, value_range: str, num_classes: int) -> None:
    if z_dim is not None or value_range != "signed" or num_classes:
        raise UsageError(
            f"{spec} says itself what its latents, images and classes are; leave --z-dim, --range and "
            "--num-classes out"
        )
