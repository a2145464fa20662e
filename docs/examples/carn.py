"""A super-resolution network that nobody here wrote, described by the shapes of its parameters and its paper.

The weights are CARN-M's of nmhkahn/CARN-pytorch (MIT licence), checkpoint/carn_m.pth: a state dict, numbers
without a network. The network is that of Ahn, Kang and Sohn, "Fast, accurate, and lightweight
super-resolution with cascading residual network" (ECCV 2018), sections 3.2 and 3.3: three blocks, each of
which uses one efficient residual block three times (a recursive network: ``b1.b1`` is there once), and 1x1
convolutions over all that came before, within a block and over the blocks. The shapes say the rest: groups of
4 where a 3x3 convolution of 64 channels has weights for 16, and an enlargement by 4 in two steps of pixel
shuffling.

Found in the working folder, or where $CARN_WEIGHTS says::

    evalkit run --sr-model docs/examples/carn.py:carn_m --hr set5 --lr set5_LRx4 --scale 4 --metrics psnr_y
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from evalkit.errors import SourceError

WEIGHTS = "carn_m.pth"
SOURCE = "https://github.com/nmhkahn/CARN-pytorch (checkpoint/carn_m.pth)"
WIDTH, GROUPS = 64, 4


class Body(nn.Module):
    """Layers under the name that the state dict has for them."""

    def __init__(self, *layers: nn.Module) -> None:
        """Takes the layers in order."""
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Through all of them."""
        out: Tensor = self.body(x)
        return out


def grouped(channels: int) -> nn.Conv2d:
    """A 3x3 convolution in groups."""
    return nn.Conv2d(WIDTH, channels, 3, padding=1, groups=GROUPS)


class Residual(Body):
    """The efficient residual block: two grouped convolutions, and a 1x1 that mixes the groups."""

    def __init__(self) -> None:
        """Lays it out."""
        super().__init__(grouped(WIDTH), nn.ReLU(), grouped(WIDTH), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The input added, and a last ReLU."""
        return torch.relu(self.body(x) + x)


class Cascade(nn.Module):
    """Three steps; after each, a 1x1 convolution over the input and the results of all steps so far."""

    def __init__(self) -> None:
        """Lays out the convolutions; the steps differ."""
        super().__init__()
        for step in (1, 2, 3):
            setattr(self, f"c{step}", Body(nn.Conv2d(WIDTH * (step + 1), WIDTH, 1), nn.ReLU()))

    def cascade(self, x: Tensor, steps: list[nn.Module]) -> Tensor:
        """The last result."""
        seen, out = x, x
        for step, mix in zip(steps, (self.c1, self.c2, self.c3), strict=True):
            seen = torch.cat([seen, step(out)], dim=1)
            out = mix(seen)
        return out


class Block(Cascade):
    """A cascade whose three steps are one block, used three times."""

    def __init__(self) -> None:
        """Lays it out."""
        super().__init__()
        self.b1 = Residual()

    def forward(self, x: Tensor) -> Tensor:
        """The last result."""
        return self.cascade(x, [self.b1, self.b1, self.b1])


class Shift(nn.Module):
    """A 1x1 convolution that adds or takes off the mean colour."""

    def __init__(self) -> None:
        """Lays it out; the mean is among the weights."""
        super().__init__()
        self.shifter = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The image with another mean."""
        out: Tensor = self.shifter(x)
        return out


class Upsample(nn.Module):
    """One enlargement for each scale the network was trained for; 4 is used."""

    def __init__(self) -> None:
        """Lays all of them out, since the weights have all."""
        super().__init__()
        self.up2 = Body(grouped(WIDTH * 4), nn.ReLU(), nn.PixelShuffle(2))
        self.up3 = Body(grouped(WIDTH * 9), nn.ReLU(), nn.PixelShuffle(3))
        self.up4 = Body(
            grouped(WIDTH * 4),
            nn.ReLU(),
            nn.PixelShuffle(2),
            grouped(WIDTH * 4),
            nn.ReLU(),
            nn.PixelShuffle(2),
        )


class CarnM(Cascade):
    """Images ``(n, 3, h, w)`` in [0, 1] to images four times as high and wide."""

    scale = 4

    def __init__(self) -> None:
        """Lays the network out; the names of parts are those of the state dict."""
        super().__init__()
        self.sub_mean, self.add_mean = Shift(), Shift()
        self.entry = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.b1, self.b2, self.b3 = Block(), Block(), Block()
        self.upsample = Upsample()
        self.exit = nn.Conv2d(WIDTH, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """The enlarged images."""
        features = self.cascade(self.entry(self.sub_mean(x)), [self.b1, self.b2, self.b3])
        out: Tensor = self.add_mean(self.exit(self.upsample.up4(features)))
        return out


def carn_m() -> CarnM:
    """The network with its weights.

    Raises:
        SourceError: The weights are not there.
    """
    path = Path(os.environ.get("CARN_WEIGHTS", WEIGHTS))
    if not path.is_file():
        raise SourceError(f"no weights at {path}; get them from {SOURCE}, or set $CARN_WEIGHTS to the file")
    network = CarnM()
    # weights_only: a state dict is a pickle, and a pickle could run code.
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network
