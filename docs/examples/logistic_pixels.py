"""A likelihood of your own: a function of images that returns nats, with what they are declared beside it.

``evalkit run --model docs/examples/logistic_pixels.py:build --data bundled:digits:test --metrics bpd_exact``
measures it. Each pixel is a logistic of one mean and one width, cut into the 256 levels; no pixel knows
another, so this is what better models are held against.
"""

from __future__ import annotations

import torch
from torch import Tensor

import evalkit

MEAN, WIDTH = 70.0, 60.0


def nats(images: Tensor) -> Tensor:
    """Minus ln p of images uint8 ``(n, 1, 8, 8)``: ``(n,)``."""
    edges = (torch.arange(257, dtype=torch.float64) - 0.5 - MEAN) / WIDTH
    edges[0], edges[-1] = -torch.inf, torch.inf  # the outermost levels take the tails
    levels = torch.sigmoid(edges).diff().log()
    return -levels[images.long()].flatten(1).sum(1)


def build() -> object:
    """The model."""
    return evalkit.likelihood(nats, kind="exact", shape=(1, 8, 8), name="logistic pixels")


if __name__ == "__main__":
    (record,) = evalkit.evaluate(model=build(), data="bundled:digits:test", metrics="bpd_exact", output=None)
    print(f"{record.value:.4f} +- {record.standard_error:.4f} bits/dim ({'; '.join(record.notes)})")
