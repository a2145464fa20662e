"""DISTS (Ding et al. 2020, section 3): likeness of images in texture and in structure, on VGG16.

The image itself and VGG16's rectified maps before each of its five pools are compared channel by channel,
each as a whole: ``(2 m_a m_b + c) / (m_a^2 + m_b^2 + c)`` of their means is their likeness in texture, ``(2
s_ab + c) / (s_a^2 + s_b^2 + c)`` of their covariance and variances that in structure, ``c = 1e-6``. The
distance is 1 minus the sum of all, weighted by ``alpha`` and ``beta``, which add up to 1 together. Maximum
pools are replaced by L2 pools: the root of the squares blurred by a 3x3 Hann window, every second pixel of
it. Images are brought to [0, 1], and standardised as for ImageNet before the network sees them. They are not
resized, although the authors' program shrinks them to a short side of 256 pixels.

The learned weights are the authors' (``DISTS_weights-f5e65c96.pth``) as the package torchmetrics carries
them; only that file is read, and its sha256 is checked (docs/adr/0007). VGG16 runs by this project's own
layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.nn import functional

from evalkit.features.base import fitting_tensors
from evalkit.features.lpips_nets import VGG16
from evalkit.features.tensors import read_tensors

WEIGHTS_FILE = "functional/image/dists_models/weights.pt"
WEIGHTS_SHA256 = "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"
_WIDTHS = [3, *VGG16.widths]
_SMALL = 1e-6
_ROOT_FLOOR = 1e-12  # in roots of the pools, so that they have a slope at 0
_LEVELS = 255.0


class L2VGG16(VGG16):
    """VGG16 with L2 pools."""

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """The root of the blurred squares, at half the size."""
        line = torch.tensor([0.25, 0.5, 0.25], device=x.device)
        channels = x.shape[1]
        window = torch.outer(line, line).expand(channels, 1, 3, 3)
        blurred = functional.conv2d(x.square(), window, stride=2, padding=1, groups=channels)
        return (blurred + _ROOT_FLOOR).sqrt()


class Dists:
    """The distance of pairs of images, on one device."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], device: torch.device) -> None:
        """Lays out VGG16's tensors, ``alpha`` and ``beta`` for the device."""
        self._net = L2VGG16(tensors, device)
        alpha, beta = (tensors[name].double().flatten() for name in ("alpha", "beta"))
        total = alpha.sum() + beta.sum()
        self._alpha = torch.split((alpha / total).to(device), _WIDTHS)
        self._beta = torch.split((beta / total).to(device), _WIDTHS)

    def maps(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The image ``(1, 3, h, w)`` of levels 0 to 255, brought to [0, 1], and its maps."""
        return [image / _LEVELS, *self._net(image)]

    def compare(self, first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
        """The distance of two images by their `maps`: exactly 0 of equal ones."""
        total = torch.zeros((), dtype=torch.float64, device=first[0].device)
        for a, b, alpha, beta in zip(first, second, self._alpha, self._beta, strict=True):
            mean_a, mean_b = _mean(a), _mean(b)
            a, b = a - mean_a.float(), b - mean_b.float()
            texture = (2 * mean_a * mean_b + _SMALL) / (mean_a.square() + mean_b.square() + _SMALL)
            structure = (2 * _mean(a * b) + _SMALL) / (_mean(a * a) + _mean(b * b) + _SMALL)
            total += (alpha * (1 - texture).flatten() + beta * (1 - structure).flatten()).sum()
        return float(total)


def _mean(maps: torch.Tensor) -> torch.Tensor:
    # Of (1, c, h, w), over positions: float64 (1, c, 1, 1).
    return maps.mean(dim=(2, 3), keepdim=True, dtype=torch.float64)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """``alpha`` and ``beta`` of the authors' file.

    Raises:
        WeightsError: It holds something else.
    """
    shapes = dict.fromkeys(("alpha", "beta"), (1, sum(_WIDTHS), 1, 1))
    advice = "install it again: pip install --force-reinstall torchmetrics"
    return fitting_tensors(read_tensors(path), shapes, f"{path} does not fit dists", advice)
