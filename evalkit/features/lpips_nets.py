"""The networks under LPIPS: where each gives its maps, with the tensor names of torchvision's state dicts.

Zhang et al. 2018, section 3, and version 0.1 of the package lpips (richzhang/PerceptualSimilarity@082bb24):
AlexNet (Krizhevsky 2014, "one weird trick") after each of its five rectifiers; VGG16 before each of its five
pools; SqueezeNet 1.1 (Iandola et al. 2016) after its first rectifier, before its second and third pool, and
after each of its last four fire modules. The metric's own scaling of [-1, 1], by (-.030, -.088, -.188) and
(.458, .448, .450), is that of ImageNet which torchvision's networks expect.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch.nn import functional

from evalkit.features import vgg16
from evalkit.features.base import Shapes
from evalkit.features.convolution import Convolution

Tensors = Mapping[str, torch.Tensor]

# AlexNet's convolutions: place in torchvision's list, inputs, outputs, side, stride, padding. A 3x3 maximum
# pool of stride 2 precedes the second and the third.
_ALEX = (
    (0, 3, 64, 11, 4, 2), (3, 64, 192, 5, 1, 2), (6, 192, 384, 3, 1, 1), (8, 384, 256, 3, 1, 1),
    (10, 256, 256, 3, 1, 1),
)  # fmt: skip
_ALEX_POOLED = (3, 6)
# SqueezeNet's fire modules: place, inputs, width of the squeeze, width of each of both expansions.
_FIRES = (
    (3, 64, 16, 64), (4, 128, 16, 64), (6, 128, 32, 128), (7, 256, 32, 128), (9, 256, 48, 192),
    (10, 384, 48, 192), (11, 384, 64, 256), (12, 512, 64, 256),
)  # fmt: skip
_SQUEEZE_POOLED = (3, 6, 9)  # fires after a pool
_SQUEEZE_TAPS = (4, 7, 9, 10, 11, 12)  # fires whose maps count


class Backbone(ABC):
    """A network that turns images into maps at several depths.

    Attributes:
        widths: Channels of the maps, by depth.
    """

    widths: ClassVar[tuple[int, ...]]

    @classmethod
    @abstractmethod
    def shapes(cls) -> Shapes:
        """Names and shapes of the tensors in use."""

    def __init__(self, tensors: Tensors, device: torch.device) -> None:
        """Lays the weights out for the device."""
        self._device = device
        self._mean = torch.tensor(vgg16.MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(vgg16.STD, device=device).view(1, 3, 1, 1)
        self.build(tensors)

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Rectified maps ``(n, c, h, w)`` of images on the scale 0 to 255, shallowest first."""
        return self.maps((images - self._mean) / self._std)

    @abstractmethod
    def build(self, tensors: Tensors) -> None:
        """Makes the layers."""

    @abstractmethod
    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps of standardised images."""

    def _convolution(self, tensors: Tensors, name: str, *, stride: int = 1, padding: int = 0) -> Convolution:
        return Convolution(
            tensors[f"{name}.weight"], tensors[f"{name}.bias"], stride=stride, padding=(padding, padding),
            device=self._device, dtype=torch.float32,
        )  # fmt: skip


class AlexNet(Backbone):
    """Five convolutions, and a map after each."""

    widths = tuple(outputs for _, _, outputs, *_ in _ALEX)

    @classmethod
    def shapes(cls) -> Shapes:
        """Names and shapes of the tensors in use."""
        found: dict[str, tuple[int, ...]] = {}
        for place, inputs, outputs, side, _, _ in _ALEX:
            found |= _pair(f"features.{place}", outputs, inputs, side)
        return found

    def build(self, tensors: Tensors) -> None:
        """Makes the layers."""
        self._layers = {
            place: self._convolution(tensors, f"features.{place}", stride=stride, padding=padding)
            for place, _, _, _, stride, padding in _ALEX
        }

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps of standardised images."""
        found = []
        for place, convolution in self._layers.items():
            if place in _ALEX_POOLED:
                x = functional.max_pool2d(x, 3, 2)
            x = functional.relu(convolution(x))
            found.append(x)
        return found


class VGG16(Backbone):
    """Thirteen convolutions, and a map before each pool."""

    widths = tuple(group[-1] for group in vgg16.GROUPS)

    @classmethod
    def shapes(cls) -> Shapes:
        """Names and shapes of the tensors in use."""
        every = vgg16.VGG16.shapes("fc2")
        return {name: shape for name, shape in every.items() if name.startswith("features.")}

    def build(self, tensors: Tensors) -> None:
        """Makes the layers."""
        self._groups = vgg16.convolution_groups(tensors, self._device, torch.float32)

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps of standardised images."""
        found = []
        for place, group in enumerate(self._groups):
            if place:
                x = self.pool(x)
            for convolution in group:
                x = functional.relu(convolution(x))
            found.append(x)
        return found

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """What stands between the maps."""
        return functional.max_pool2d(x, 2)


class SqueezeNet(Backbone):
    """A convolution and eight fire modules, and seven maps."""

    widths = (64, *(2 * wide for place, _, _, wide in _FIRES if place in _SQUEEZE_TAPS))

    @classmethod
    def shapes(cls) -> Shapes:
        """Names and shapes of the tensors in use."""
        found = _pair("features.0", 64, 3, 3)
        for place, inputs, narrow, wide in _FIRES:
            found |= _pair(f"features.{place}.squeeze", narrow, inputs, 1)
            found |= _pair(f"features.{place}.expand1x1", wide, narrow, 1)
            found |= _pair(f"features.{place}.expand3x3", wide, narrow, 3)
        return found

    def build(self, tensors: Tensors) -> None:
        """Makes the layers."""
        self._first = self._convolution(tensors, "features.0", stride=2)
        self._fires = {
            place: [
                self._convolution(tensors, f"features.{place}.{part}", padding=padding)
                for part, padding in (("squeeze", 0), ("expand1x1", 0), ("expand3x3", 1))
            ]
            for place, *_ in _FIRES
        }

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps of standardised images."""
        x = functional.relu(self._first(x))
        found = [x]
        for place, (squeeze, one, three) in self._fires.items():
            if place in _SQUEEZE_POOLED:
                x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
            x = functional.relu(squeeze(x))
            x = functional.relu(torch.cat([one(x), three(x)], dim=1))
            if place in _SQUEEZE_TAPS:
                found.append(x)
        return found


def _pair(name: str, outputs: int, inputs: int, side: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs, side, side), f"{name}.bias": (outputs,)}


BACKBONES: Mapping[str, type[Backbone]] = {
    "lpips-alex": AlexNet,
    "lpips-vgg16": VGG16,
    "lpips-squeeze": SqueezeNet,
}
