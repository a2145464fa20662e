"""Small originals on disk, and a model whose restorations are known, for tests of restoration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

SCALE = 4


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image ``(h, w, 3)`` with coarse and with fine structure, away from black and white."""
    rng = np.random.default_rng([height, width, seed])
    coarse = rng.integers(60, 180, (-(-height // 6), -(-width // 6), 3))
    fine = rng.integers(-20, 20, (height, width, 3))
    return (coarse.repeat(6, axis=0).repeat(6, axis=1)[:height, :width] + fine).astype(np.uint8)


def disturbed(image: np.ndarray, seed: int, by: int = 12) -> np.ndarray:
    """The image with levels moved by up to ``by``."""
    moves = np.random.default_rng(seed).integers(-by, by + 1, image.shape)
    return np.clip(image.astype(np.int64) + moves, 0, 255).astype(np.uint8)


def write(folder: Path, images: Mapping[str, np.ndarray]) -> Path:
    """Image files by their paths below ``folder``."""
    for name, image in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


class Drawing:
    """Repeats pixels, and adds noise of each seed's own; remembers what it was asked.

    Attributes:
        asked: The low-resolution image and the number of seeds of every call.
    """

    name, scale, stochastic = "drawing", SCALE, True
    temperature: float | None = 0.5
    identity: str | None = "drawing"

    def __init__(self, **traits: Any) -> None:
        vars(self).update(traits)
        self.asked: list[tuple[np.ndarray, int]] = []

    @property
    def drawn(self) -> int:
        """Restorations that were asked for."""
        return sum(num for _, num in self.asked)

    def restore(self, image: Tensor, *, seeds: np.ndarray, temperature: float | None = None) -> Tensor:
        import torch

        self.asked.append((image.numpy().copy(), len(seeds)))
        large = image.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2) / 255
        if not self.stochastic:
            return large.expand(len(seeds), -1, -1, -1)
        noise = [torch.randn(large.shape, generator=torch.Generator().manual_seed(int(s))) for s in seeds]
        return large + 0.1 * (temperature or 0.0) * torch.stack(noise)
