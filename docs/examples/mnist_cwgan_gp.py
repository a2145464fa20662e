"""A trained generator that nobody here wrote, described by the shapes of its parameters.

The weights are HayatoHongo/MNIST-Conditional-WGAN-gp@aeb6f20, generator.pth (MIT licence): a state dict,
numbers without a network. Its names and shapes say most of what the network is: ten labels embedded in ten
numbers; a dense layer from 10 + 10 inputs to 128 channels of 7x7; two doublings with 3x3 convolutions to 128
and 64 channels, each with batch normalisation; a last convolution to one channel. Shapes do not say what has
no parameters. The running statistics of the normalisations do: statistics of a batch agree with the stored
ones (within 2 %) for latents before labels, normally distributed latents, nearest-neighbour doubling, ReLU,
and an epsilon of 0.8 in the second and third normalisation, and for nothing else that was tried.

The weights are looked for in the working folder, or where $MNIST_CWGAN_GP says; docs/evaluate-your-model.md
has the commands.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from evalkit.errors import SourceError

WEIGHTS = "mnist_cwgan_gp_generator.pth"
SOURCE = "https://github.com/HayatoHongo/MNIST-Conditional-WGAN-gp (generator.pth)"


class Generator(nn.Module):
    """Latents ``(n, 10)`` and labels ``(n,)`` to grey images ``(n, 1, 28, 28)`` in [-1, 1].

    Attributes:
        z_dim: What evalkit asks for the width of the latents.
        num_classes: What evalkit asks for the number of classes.
    """

    z_dim = 10
    num_classes = 10

    def __init__(self) -> None:
        """Lays the network out; the names of parts are those of the state dict."""
        super().__init__()
        self.label_emb = nn.Embedding(10, 10)
        self.l1 = nn.Sequential(nn.Linear(self.z_dim + 10, 128 * 7 * 7))
        self.conv_blocks = nn.Sequential(
            nn.BatchNorm2d(128),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.BatchNorm2d(128, eps=0.8),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 64, 3, padding=1),
            nn.BatchNorm2d(64, eps=0.8),
            nn.ReLU(),
            nn.Conv2d(64, 1, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images of latents and labels."""
        hidden = self.l1(torch.cat([z, self.label_emb(labels)], dim=1))
        images: Tensor = self.conv_blocks(hidden.reshape(-1, 128, 7, 7))
        return images


def factory() -> Generator:
    """The network with its weights.

    Raises:
        SourceError: The weights are not there.
    """
    path = Path(os.environ.get("MNIST_CWGAN_GP", WEIGHTS))
    if not path.is_file():
        raise SourceError(f"no weights at {path}; get them from {SOURCE}, or set $MNIST_CWGAN_GP to the file")
    generator = Generator()
    # weights_only: a state dict is a pickle, and a pickle could run code.
    generator.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return generator
