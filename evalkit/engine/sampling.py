"""Images of a model, to look at or to keep: a grid, a folder of PNGs, or an npz."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.adapters import samples as adapted
from evalkit.adapters.resolve import ReferenceModels, open_model
from evalkit.engine.charts import write_png
from evalkit.engine.device import pick_device
from evalkit.engine.distributed import world
from evalkit.engine.progress import Reporter, Silent
from evalkit.errors import UsageError
from evalkit.files import atomic_write
from evalkit.sources.base import Int64Array, UInt8Array


def sample(
    model: Any,  # noqa: ANN401 - a spelling, or a model object
    seeds: Sequence[int] | Int64Array,
    *,
    labels: adapted.Labels = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    z_dim: int | None = None,
    value_range: str = "signed",
    num_classes: int = 0,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    reference_models: ReferenceModels | None = None,
    reporter: Reporter | None = None,
) -> UInt8Array:
    """Images of ``seeds``: the same for a seed whatever the others are.

    Args:
        model: A spelling of `evalkit.adapters.resolve.open_model`, or a model object.
        seeds: Whole numbers from 0.
        labels: A class, or ``uniform``; for conditional models.
        truncation_psi: Pull towards the average w; 1 is none.
        truncation_cutoff: How many layers are pulled; None leaves it to the model (mostly all).
        z_dim: Width of the latents of a model from outside.
        value_range: Range of its images: ``signed`` or ``unit``.
        num_classes: Its number of classes.
        settings: Of its own sampling, where it has some (``temperature`` of a VAE), by name.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        reference_models: What opens this project's own models by name.
        reporter: Where progress goes.

    Returns:
        uint8 RGB, ``(n, 3, h, w)``.

    Raises:
        EvalkitError: The model cannot be opened, or labels, seeds or truncation do not fit it.
    """
    chosen = np.asarray(seeds, dtype=np.int64)
    if chosen.ndim != 1 or not len(chosen) or chosen.min() < 0:
        raise UsageError("seeds must be one or more whole numbers from 0 on")
    opened = open_model(
        model, reference_models, z_dim=z_dim, value_range=value_range, num_classes=num_classes,
        device=pick_device(device, world()),
    )  # fmt: skip
    opened = adapted.with_sampling(opened, settings or {})
    with (reporter or Silent()).track(f"sampling {opened.name}") as progress:
        made = adapted.sample(
            opened, chosen, labels=labels, truncation_psi=truncation_psi,
            truncation_cutoff=truncation_cutoff, progress=progress,
        )  # fmt: skip
    return np.stack(made)


def check_targets(grid: Path | None, output: Path | None) -> None:
    """Finds a target that cannot be written by its name, before the work.

    Raises:
        UsageError: There is no target, or its ending is another one.
    """
    if grid is None and output is None:
        raise UsageError(
            "nothing would be kept: name a picture with --grid out.png, or a folder with --output"
        )
    if grid is not None and grid.suffix.lower() != ".png":
        raise UsageError(f"--grid {grid}: a grid is drawn as a PNG; end its name in .png")
    if output is not None and output.suffix and output.suffix.lower() != ".npz":
        raise UsageError(f"--output {output}: give a folder, or a file whose name ends in .npz")


def write(images: UInt8Array, seeds: Int64Array, *, grid: Path | None, output: Path | None) -> list[Path]:
    """Writes what was asked for; returns where.

    Raises:
        StoreError: A place cannot be written.
    """
    done = []
    if grid is not None:
        write_png(grid, tiled(images))
        done.append(grid)
    if output is not None and output.suffix.lower() == ".npz":
        with atomic_write(output) as file:
            np.savez(file, images=np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
        done.append(output)
    elif output is not None:
        for seed, image in zip(seeds, images, strict=True):
            write_png(output / f"seed{int(seed):08d}.png", image)
        done.append(output)
    return done


def tiled(images: UInt8Array) -> UInt8Array:
    """Images ``(n, 3, h, w)`` line by line in a grid, as square as can be; black where none is left."""
    num, _, height, width = images.shape
    across = math.ceil(math.sqrt(num))
    lines = -(-num // across)
    grid = np.zeros((lines * across, 3, height, width), np.uint8)
    grid[:num] = images
    rows = grid.reshape(lines, across, 3, height, width).transpose(2, 0, 3, 1, 4)
    return np.ascontiguousarray(rows.reshape(3, lines * height, across * width))
