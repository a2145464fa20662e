"""What a training leaves for its user beside checkpoints: networks to sample from, and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evalkit.imaging.quantise import to_uint8
from evalkit.imaging.resize_matlab import downscale
from reference_models.catalog import wrap
from reference_models.convert import files
from reference_models.convert.configs import config_to_json
from reference_models.training import pictures
from reference_models.training.config import RunConfig
from reference_models.training.data import TrainingData
from reference_models.training.folder import RunFolder
from reference_models.training.task import Task


def model_of(task: Task, run: RunConfig, data: TrainingData, images: int) -> Any:  # noqa: ANN401
    """The network to sample from as evaluations ask it, with how long it was trained.

    Raises:
        CheckpointError: It holds NaN or an infinity.
    """
    network = task.networks["G_ema"]
    model = wrap(task.model, network, label=f"{task.model}-{run.preset}", enlarge=data.enlarge)
    model.training = {
        "kimg": images / 1000,
        "checkpoint_sha256": files.tensors_sha256(network.state_dict()),
    }
    return model


def save_network(path: Path, task: Task, run: RunConfig, data: TrainingData, images: int) -> Path:
    """Writes the network to sample from as safetensors beside JSON, which `evalkit run --model` takes.

    Returns:
        The safetensors file.

    Raises:
        CheckpointError: It holds NaN or an infinity.
        StoreError: The disk is full, or the place cannot be written.
    """
    network: Any = task.networks["G_ema"]
    extra: dict[str, Any] = {
        "kimg": images / 1000,
        "preset": run.preset,
        "overrides": run.as_json()["overrides"],
        "data": {"spec": data.spec, "fingerprint": data.fingerprint, "fit": run.fit, "mirror": run.mirror},
        "seed": run.seed,
        "precision": run.precision,
    }
    if data.enlarge != 1:
        extra["enlarge"] = data.enlarge
    return files.save_checkpoint(
        path, task.model, config_to_json(network.config), network.state_dict(), extra
    )


def draw_fakes(folder: RunFolder, task: Task, run: RunConfig, data: TrainingData, images: int) -> None:
    """Draws samples of the seeds 0, 1, … after so many images; classes go round.

    A model that restores is shown at work on images of the data instead, see `restorations`.
    """
    model = model_of(task, run, data, images)
    if hasattr(model, "restore"):
        across = max(columns(run.grid), 3)
        originals = _some_of(task, run, data, max(run.grid // across, 1))
        made = restorations(model, originals, across - 2)
        pictures.save_grid(folder.fakes(images), made, across)
        return
    labels = np.arange(run.grid, dtype=np.int64) % task.c_dim if task.c_dim else None
    made = model.sample(np.arange(run.grid, dtype=np.int64), labels).cpu()
    pictures.save_grid(folder.fakes(images), made, columns(run.grid))


def draw_reals(folder: RunFolder, task: Task, run: RunConfig, data: TrainingData) -> None:
    """Draws some images of the data, drawn by the seed of the run, as training sees them."""
    large = _some_of(task, run, data, run.grid)
    large = large.repeat_interleave(data.enlarge, dim=2).repeat_interleave(data.enlarge, dim=3)
    pictures.save_grid(folder.reals, large, columns(len(large)))


def restorations(model: Any, originals: Tensor, num: int) -> Tensor:  # noqa: ANN401 - it restores
    """For every image a row: it made small, as large squares; samples of it at the usual temperature; itself.

    Args:
        model: What restores (`evalkit.adapters.capabilities.Restores`).
        originals: uint8 ``(rows, 3, h, w)``.
        num: Samples of each, of the seeds 0, 1, ….

    Returns:
        uint8 ``(rows * (num + 2), 3, h, w)``; pixels that are not finite are black.
    """
    cells = []
    for original in originals:
        small = torch.from_numpy(downscale(original.numpy(), model.scale))
        blocks = small.repeat_interleave(model.scale, dim=1).repeat_interleave(model.scale, dim=2)
        made = model.restore(small, seeds=np.arange(num, dtype=np.int64)).cpu()
        # A flow that has learned little may overflow, which should not end its training.
        levels = to_uint8(made.nan_to_num(0, 0, 0), "unit")
        cells += [blocks[None], levels, original[None]]
    return torch.cat(cells)


def _some_of(task: Task, run: RunConfig, data: TrainingData, most: int) -> Tensor:
    # The first of as many images as a grid has, drawn by the seed of the run: uint8 (n, 3, h, w).
    chosen = np.random.default_rng(run.seed).choice(data.num, min(run.grid, data.num), replace=False)
    images = data.images(chosen[:most], channels=task.img_channels)
    return images.repeat(1, 3, 1, 1) if images.shape[1] == 1 else images


def draw_curves(folder: RunFolder, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws losses, scores and metrics over the images seen."""
    if rows:
        pictures.save_curves(folder.curves, list(rows))


def columns(count: int) -> int:
    """Columns of a picture of so many images: about a square."""
    return math.ceil(math.sqrt(count))
