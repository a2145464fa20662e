"""What a training leaves for its user beside checkpoints: networks to sample from, and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
    """Draws samples of the seeds 0, 1, … after so many images; classes go round."""
    model = model_of(task, run, data, images)
    labels = np.arange(run.grid, dtype=np.int64) % task.c_dim if task.c_dim else None
    made = model.sample(np.arange(run.grid, dtype=np.int64), labels).cpu()
    pictures.save_grid(folder.fakes(images), made, columns(run.grid))


def draw_reals(folder: RunFolder, task: Task, run: RunConfig, data: TrainingData) -> None:
    """Draws some images of the data, drawn by the seed of the run, as training sees them."""
    count = min(run.grid, data.num)
    chosen = np.random.default_rng(run.seed).choice(data.num, count, replace=False)
    images = data.images(chosen, channels=task.img_channels)
    if images.shape[1] == 1:
        images = images.repeat(1, 3, 1, 1)
    large = images.repeat_interleave(data.enlarge, dim=2).repeat_interleave(data.enlarge, dim=3)
    pictures.save_grid(folder.reals, large, columns(count))


def draw_curves(folder: RunFolder, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws losses, scores and metrics over the images seen."""
    if rows:
        pictures.save_curves(folder.curves, list(rows))


def columns(count: int) -> int:
    """Columns of a picture of so many images: about a square."""
    return math.ceil(math.sqrt(count))
