"""Equivariance to look at: where a moved input and a moved picture differ, and texture that sticks to pixels.

Error maps show the first images that the protocols ``eqt_int``, ``eqt_frac`` and ``eqr`` of the same seed
look at, under the same moves. Slices follow Karras et al. 2021, figure 1: a fixed vertical line of pixels,
side by side over a walk. What hangs on the content moves with it; texture that hangs on the pixels gives
straight horizontal streaks, and stays sharp in the average over the walk. Two walks are made: a small circle
in w about one latent, which any model with latents allows, and shifts of the input downwards, under which the
line of an equivariant model moves along itself, so that all streaks slant alike.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evalkit.adapters.capabilities import need
from evalkit.adapters.resolve import ReferenceModels, open_model
from evalkit.adapters.samples import Labels, check_truncation
from evalkit.engine.charts import new_figure, save_png
from evalkit.engine.device import pick_device
from evalkit.engine.distributed import world
from evalkit.engine.equivariance import EquivarianceProbe
from evalkit.engine.probes import Subject, draw_seeds
from evalkit.engine.progress import Reporter, Silent
from evalkit.errors import MetricError, UsageError
from evalkit.files import check_writable
from evalkit.metrics.equivariance.eq import OPERATIONS, Move, Operation, psnr
from evalkit.protocols.catalog import PROTOCOLS
from evalkit.protocols.spec import EquivarianceOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float32]

MOST_IMAGES = 16
FRAMES = 96
RADIUS = 0.2  # of the circle, as a share of the way to another style
SHIFT = 0.25  # of the height, in either direction
_BATCH = 8
_NAMES = {"int": "whole pixels", "frac": "fractions", "rot": "rotation"}


class ErrorMap(NamedTuple):
    """One image under one move.

    Attributes:
        operation: ``int``, ``frac`` or ``rot``.
        title: The move and the PSNR of this image, in words.
        image: The model's image, ``(h, w, c)`` in [0, 1], as all that follow.
        made: That of the moved input; of a rotation with the frequencies that both pixel grids can hold.
        expected: The moved image, 0 outside.
        error: Absolute difference in the mean over channels, ``(h, w)``, as a share of black to white; not a
            number where nothing is compared.
    """

    operation: Operation
    title: str
    image: FloatArray
    made: FloatArray
    expected: FloatArray
    error: FloatArray


class Walk(NamedTuple):
    """A walk, and one line of pixels along it.

    Attributes:
        image: Where it starts, ``(h, w, c)`` in [0, 1].
        average: Mean of all its images, likewise.
        slice: The line over the walk, ``(h, frames, c)``: time runs to the right.
        column: Which line it is.
    """

    image: FloatArray
    average: FloatArray
    slice: FloatArray
    column: int


class Pictures(NamedTuple):
    """What was drawn.

    Attributes:
        paths: The PNGs.
        sentences: What was left out, and why.
    """

    paths: tuple[Path, ...]
    sentences: tuple[str, ...]


def pictures(
    model: Any,  # noqa: ANN401 - a spelling, or a model object
    output: Path | str,
    *,
    num: int = 4,
    seed: int = 0,
    labels: Labels = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    z_dim: int | None = None,
    value_range: str = "signed",
    num_classes: int = 0,
    device: str = "auto",
    reference_models: ReferenceModels | None = None,
    reporter: Reporter | None = None,
) -> Pictures:
    """Draws ``equivariance.png`` (error maps) and ``sticking.png`` (slices) into a folder.

    A model whose input cannot be transformed gets the slice of the walk in w alone, and a sentence says so.

    Args:
        model: A spelling of `evalkit.adapters.resolve.open_model`, or a model; it has latents.
        output: The folder.
        num: Images with error maps, 1 to 16.
        seed: Of all draws.
        labels: A class, or ``uniform``; for conditional models.
        truncation_psi: Pull towards the average w; 1 is none, as the protocols have it.
        truncation_cutoff: How many layers are pulled; None leaves it to the model.
        z_dim: Width of the latents of a model from outside.
        value_range: Range of its images: ``signed`` or ``unit``.
        num_classes: Its number of classes.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        reference_models: What opens this project's own models by name.
        reporter: Where progress goes.

    Raises:
        UsageError: A number cannot be, or the model has no latents, or labels or truncation do not fit it.
        MetricError: An image is not finite under a transform.
        EvalkitError: The model cannot be opened, or the folder cannot be written.
    """
    if isinstance(num, bool) or not isinstance(num, int) or not 1 <= num <= MOST_IMAGES:
        raise UsageError(f"{num!r} images cannot be drawn with error maps; ask for 1 to {MOST_IMAGES}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise UsageError(f"the seed is {seed!r}; give a whole number from 0 to 2^63 - 1")
    folder = Path(output)
    check_writable(folder, "preparing to write into")
    opened = open_model(
        model, reference_models, z_dim=z_dim, value_range=value_range, num_classes=num_classes,
        device=pick_device(device, world()),
    )  # fmt: skip
    need(opened, "HasLatents", "a slice of a walk in w")
    check_truncation(opened, truncation_psi, truncation_cutoff)
    subject = Subject(
        model=opened, seed=seed, labels=labels, truncation_psi=truncation_psi,
        truncation_cutoff=truncation_cutoff,
    )  # fmt: skip
    said = reporter or Silent()
    said.say(f"a walk of {FRAMES} images in w")
    walks = {"a small circle in w": style_walk(subject)}
    paths, sentences = [folder / "sticking.png"], []
    try:
        need(opened, "Transformable", "an error map")
    except UsageError as error:
        sentences.append(f"no error maps and no slice of shifts: {error}")
    else:
        said.say(f"a walk of {FRAMES} images of shifted inputs")
        walks["its input shifts down"] = shift_walk(subject)
        said.say(f"error maps of {num} {'image' if num == 1 else 'images'}")
        paths.insert(0, folder / "equivariance.png")
        save_png(_draw_maps(opened.name, error_maps(subject, num)), paths[0])
    save_png(_draw_walks(opened.name, walks), paths[-1])
    return Pictures(tuple(paths), tuple(sentences))


def error_maps(subject: Subject, num: int) -> list[ErrorMap]:
    """Maps of the first ``num`` images that the protocols of equivariance look at, operation by operation.

    Raises:
        UsageError: The model's input cannot be transformed, or labels do not fit it.
        MetricError: An image is not finite under a transform.
    """
    spec = PROTOCOLS["eqt_int"]
    assert isinstance(spec.options, EquivarianceOptions)
    probe = EquivarianceProbe(subject, spec, OPERATIONS)
    maps = []
    for start in range(0, num, probe.group):
        group = range(start, start + probe.group)
        with torch.no_grad():
            originals = _pixels(subject.model.synthesise(_styles(subject, "equivariance", group)))
            for operation, move, found, _ in probe.compared(group):
                known = found.mask[0, 0] > 0
                errors = (found.made - found.expected).abs().mean(dim=1) / 2
                shown = errors.masked_fill(~known, math.nan).float().cpu().numpy()
                made, expected = _pixels(found.made), _pixels(found.expected)
                for i, (error, counted) in enumerate(found.sums()[: num - start]):
                    if not math.isfinite(error):
                        raise MetricError(
                            f"{_NAMES[operation]} ({operation}): image {start + i} holds NaN or infinite "
                            "values under a transform; the generator failed there: check its weights and how "
                            "it takes the transform"
                        )
                    title = f"{_words(operation, move, originals.shape[1:3])}: {_decibels(error, counted)}"
                    maps.append(ErrorMap(operation, title, originals[i], made[i], expected[i], shown[i]))
    return sorted(maps, key=lambda each: OPERATIONS.index(each.operation))


def style_walk(subject: Subject, *, frames: int = FRAMES, radius: float = RADIUS) -> Walk:
    """A circle in w about the first latent: ``w + radius (cos t (a - w) + sin t (b - w))``, t once around.

    Args:
        subject: The model and how to ask it; a and b are the styles of two more latents.
        frames: Images of the walk.
        radius: As a share of the way to a and b.
    """
    with torch.no_grad():
        styles = _styles(subject, "walk", range(3))
        w, a, b = styles[:1], styles[1:2], styles[2:]
        turns = [2 * math.pi * frame / frames for frame in range(frames)]
        path = torch.cat([w + radius * (math.cos(t) * (a - w) + math.sin(t) * (b - w)) for t in turns])
        parts = [subject.model.synthesise(part) for part in torch.split(path, _BATCH)]
        return _walk(subject.model.synthesise(w), torch.cat([part.cpu() for part in parts]))


def shift_walk(subject: Subject, *, frames: int = FRAMES, shift: float = SHIFT) -> Walk:
    """The image of the first latent while its input moves down: ``-shift`` to ``shift`` of the height."""
    with torch.no_grad():
        w = _styles(subject, "walk", range(1))
        parts = []
        for share in np.linspace(-shift, shift, frames):
            transform = torch.eye(3)
            transform[1, 2] = -float(share)  # the inverse of what happens to the picture
            parts.append(subject.model.synthesise(w, transform=transform).cpu())
        return _walk(subject.model.synthesise(w), torch.cat(parts))


def _styles(subject: Subject, stream: str, indices: range) -> Tensor:
    seeds = draw_seeds(subject.seed, stream, indices)
    return subject.styles(subject.model.latents(seeds), subject.classes(seeds))


def _walk(image: Tensor, frames: Tensor) -> Walk:
    column = frames.shape[3] // 2
    line = frames[:, :, :, column].permute(1, 2, 0)[None]  # (1, c, h, frames)
    return Walk(_pixels(image)[0], _pixels(frames.mean(dim=0)[None])[0], _pixels(line)[0], column)


def _pixels(images: Tensor) -> FloatArray:
    # (n, c, h, w) in about [-1, 1] as (n, h, w, c) in [0, 1].
    shown: FloatArray = ((images.float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return shown


def _words(operation: Operation, move: Move, size: tuple[int, ...]) -> str:
    if operation == "rot":
        return f"{math.degrees(move.angle):+.1f}°"
    right, down = move.tx * size[1], move.ty * size[0]
    if operation == "int":
        return f"{round(right):+d}, {round(down):+d} px"
    return f"{right:+.2f}, {down:+.2f} px"


def _decibels(error: float, counted: float) -> str:
    if counted <= 0:
        return "too small to compare"
    return "equal to the last bit" if error <= 0 else f"{psnr(error, counted):.1f} dB"


def _draw_maps(name: str, maps: list[ErrorMap]) -> Figure:
    figure = new_figure(7.4, 1.75 * len(maps) + 0.5)
    figure.suptitle(name.replace("$", r"\$"), fontsize=11)
    panels = figure.subplots(len(maps), 4, squeeze=False)
    largest = max((float(np.nanmax(each.error)) for each in maps if np.isfinite(each.error).any()), default=0)
    for row, each in zip(panels, maps, strict=True):
        for axes, values in zip(row, (each.image, each.made, each.expected), strict=False):
            axes.imshow(values.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        shown = row[3].imshow(each.error, cmap="magma", vmin=0, vmax=largest or 1, interpolation="nearest")
        row[3].set_facecolor("#bbbbbb")
        figure.colorbar(shown, ax=row[3], shrink=0.8).ax.tick_params(labelsize=6)
        row[0].set_ylabel(_NAMES[each.operation], fontsize=8)
        row[1].set_title(each.title, fontsize=8)
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
    for axes, heading in zip(
        panels[0], ("image", "of the moved input", "image, moved", "|error|"), strict=True
    ):
        axes.set_title(f"{heading}\n{axes.get_title()}", fontsize=8)
    return figure


def _draw_walks(name: str, walks: dict[str, Walk]) -> Figure:
    figure = new_figure(10, 2.9 * len(walks) + 0.4)
    figure.suptitle(name.replace("$", r"\$"), fontsize=11)
    panels = figure.subplots(len(walks), 3, squeeze=False, width_ratios=[1, 1, 2])
    for row, (what, walk) in zip(panels, walks.items(), strict=True):
        parts = (
            ("image and line", walk.image),
            ("average", walk.average),
            ("the line over the walk", walk.slice),
        )
        for axes, (title, values) in zip(row, parts, strict=True):
            axes.imshow(values.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
            axes.set_title(title, fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].axvline(walk.column, color="#d1495b", linewidth=1)
        row[0].set_ylabel(what, fontsize=9)
        row[2].set_xlabel("along the walk", fontsize=8)
    return figure
