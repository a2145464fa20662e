"""Images and draws for tests of augmentation."""

from __future__ import annotations

import torch
from torch import Tensor

from reference_models.training.augmentation import draws as tables
from reference_models.training.augmentation.draws import Draws, draw


def smooth(count: int, side: int, *, channels: int = 3, cutoff: float = 0.125, seed: int = 0) -> Tensor:
    """Images without frequencies above ``cutoff`` cycles a pixel that fade to 0 at their edges, float64."""
    rng = torch.Generator().manual_seed(seed)
    white = torch.randn(count, channels, side, side, generator=rng, dtype=torch.float64)
    f = torch.fft.fftfreq(side, dtype=torch.float64)
    kept = f[:, None].square() + f.square() < cutoff**2
    window = torch.hann_window(side, periodic=False, dtype=torch.float64)
    images = torch.fft.ifft2(torch.fft.fft2(white) * kept).real * window[:, None] * window
    return images / images.abs().amax()


def noisy(count: int, side: int, *, channels: int = 3, seed: int = 0) -> Tensor:
    """White noise in [-1, 1], float32."""
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, side, side, generator=rng) * 2 - 1


def drawn(count: int, seed: int = 0) -> Draws:
    """Draws of a seed."""
    return draw(count, torch.Generator().manual_seed(seed))


def pinned(count: int, **values: float) -> Draws:
    """Draws that apply everything and with which it does nothing, but for the values given by name."""
    still = {"rotate_pre": 0.5, "rotate_post": 0.5, "hue": 0.5, "xint_x": 0.5, "xint_y": 0.5}
    made = Draws(
        torch.zeros(count, len(tables._UNIFORM), dtype=torch.float64),
        torch.zeros(count, len(tables._NORMAL), dtype=torch.float64),
    )
    for name, value in {**still, **values}.items():
        for table, columns in ((made.uniforms, tables._UNIFORM), (made.normals, tables._NORMAL)):
            if name in columns:
                table[:, columns.index(name)] = value
    return made


def rows(draws: Draws, which: list[int]) -> Draws:
    """The draws of some images of a batch."""
    return Draws(draws.uniforms[which], draws.normals[which])
