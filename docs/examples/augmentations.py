"""A picture of what the discriminator sees: digits, augmented more and more strongly by the set ``bgc``.

`python docs/examples/augmentations.py` writes it to docs/images/augmentations.png. All rows have the same
draws: what happens to a digit at one strength happens to it at every larger one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import evalkit
from evalkit.files import atomic_write
from evalkit.sources.base import ImageSource
from reference_models.training.augmentation.pipeline import AugmentPipe

STRENGTHS = (0.0, 0.3, 0.6, 1.0)
COUNT = 14


def main(argv: Sequence[str] | None = None) -> None:
    """Augments digits and draws a row of them for every strength."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=Path("docs/images/augmentations.png"))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)

    source = evalkit.resolve("bundled:digits:train")
    assert isinstance(source, ImageSource)
    digits = torch.as_tensor(np.stack(source.load(range(COUNT)))).float() / 127.5 - 1

    pipe, rows = AugmentPipe(), []
    for p in STRENGTHS:
        augmented = pipe(digits, p=p, generator=torch.Generator().manual_seed(args.seed))
        images = ((augmented + 1) * 127.5).round().clamp(0, 255).byte()
        framed = torch.nn.functional.pad(images, (2, 2, 2, 2), value=128)
        rows.append(np.concatenate(list(framed.permute(0, 2, 3, 1).numpy()), axis=1))
    picture = np.concatenate(rows)

    figure = Figure(figsize=(0.0145 * picture.shape[1] + 0.8, 0.0145 * len(picture)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest")
    side = len(picture) / len(rows)
    axes.set_yticks([side * (row + 0.5) for row in range(len(rows))], [f"p = {p:g}" for p in STRENGTHS])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    with atomic_write(args.output) as file:
        figure.savefig(file, format="png", dpi=100)


if __name__ == "__main__":
    main()
