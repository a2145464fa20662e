"""VGG16 (Simonyan and Zisserman 2015) for improved precision and recall, with torchvision's tensor names.

Official: toshas/torch-fidelity@5e211a9 torch_fidelity/feature_extractor_vgg16.py: TF1 bilinear to 224x224,
then (x / 255 - mean) / std of ImageNet, second fully connected layer, 4,096 features before (fc2) or after
(fc2_relu) the rectifier. NVlabs/stylegan3@c233a91 metrics/precision_recall.py measures the same layer of the
same network, shipped as a TorchScript file that carries its own resize.

Deviates: convolutions are computed channels-last; features differ from the official module's by rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch.nn import functional

from evalkit.features.base import Extractor, Shapes
from evalkit.features.convolution import Convolution
from evalkit.imaging.resizes import RESIZES

# ImageNet, in grey levels.
MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)
STD = (255 * 0.229, 255 * 0.224, 255 * 0.225)

# Widths of the 3x3 convolutions; a 2x2 maximum pool ends each row.
GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
SIDE = 7  # of the maps that the first fully connected layer sees
HIDDEN = 4096
OUTPUTS = 1000
CLASSIFIER = {
    "classifier.0.weight": (HIDDEN, GROUPS[-1][-1] * SIDE * SIDE),
    "classifier.0.bias": (HIDDEN,),
    "classifier.3.weight": (HIDDEN, HIDDEN),
    "classifier.3.bias": (HIDDEN,),
}


@functools.cache
def _shapes() -> Shapes:
    shapes: dict[str, tuple[int, ...]] = {}
    inputs, index = 3, 0
    for group in GROUPS:
        for width in group:
            shapes[f"features.{index}.weight"] = (width, inputs, 3, 3)
            shapes[f"features.{index}.bias"] = (width,)
            inputs, index = width, index + 2  # the rectifier takes a number
        index += 1  # so does the pool
    return {**shapes, **CLASSIFIER}


def convolution_groups(
    tensors: Mapping[str, torch.Tensor], device: torch.device, dtype: torch.dtype
) -> list[list[Convolution]]:
    """The convolutions of every row of `GROUPS`, laid out for a device; a rectifier follows each of them."""
    groups: list[list[Convolution]] = []
    index = 0
    for widths in GROUPS:
        group = []
        for _ in widths:
            weight, bias = tensors[f"features.{index}.weight"], tensors[f"features.{index}.bias"]
            group.append(Convolution(weight, bias, padding=(1, 1), device=device, dtype=dtype))
            index += 2
        groups.append(group)
        index += 1
    return groups


class VGG16(Extractor):
    """VGG16 up to its second fully connected layer."""

    @classmethod
    def shapes(cls, layer: str) -> Shapes:
        """Names and shapes of the tensors in use, the same for both layers."""
        return _shapes()

    @classmethod
    def is_ignored(cls, name: str) -> bool:
        """The last layer scores the classes of ImageNet and is not used here."""
        return name.startswith("classifier.6.") or super().is_ignored(name)

    def build(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Lays the weights out for the device."""
        self._dtype = getattr(torch, self.precision)
        self._mean = torch.tensor(MEAN, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(STD, device=self.device).view(1, 3, 1, 1)
        self._groups = convolution_groups(tensors, self.device, self._dtype)
        self._connected = [
            (
                tensors[f"{name}.weight"].to(self.device, self._dtype),
                tensors[f"{name}.bias"].to(self.device, self._dtype),
            )
            for name in ("classifier.0", "classifier.3")
        ]

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resizes uint8 images to 224x224 and standardises their channels."""
        return RESIZES[self.resize](pixels, (224, 224)).sub_(self._mean).div_(self._std)

    def network(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features of one preprocessed batch of `micro_batch` images."""
        x = batch.to(self._dtype)
        for group in self._groups:
            for convolution in group:
                x = functional.relu_(convolution(x))
            x = functional.max_pool2d(x, 2)
        (first, second), x = self._connected, x.flatten(1)
        x = functional.linear(functional.relu_(functional.linear(x, *first)), *second)
        found = {"fc2": x.float()}
        found["fc2_relu"] = functional.relu(found["fc2"])
        return {layer: found[layer] for layer in self.layers}
