"""The network behind the bundled extractor ``mini``: a small residual classifier of 32x32 images.

It exists so that every protocol can be run, tested and demonstrated without any download: its weights ship
with the package (``data/mini-v1.safetensors``, written by `evalkit.features.train_mini`). Numbers computed on
its features are comparable with each other and with nothing that has been published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

NAME = "mini"
VERSION = 1
WEIGHTS_FILE = Path(__file__).parent / "data" / f"{NAME}-v{VERSION}.safetensors"

INPUT_SIZE = 32
FEATURES = 256
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# Channel means and deviations of CIFAR-10's training images on the scale 0..1. Part of the network: the
# weights were trained behind them, so they may change only together with the weights.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)

STEM_WIDTH = 32
STAGES = ((64, 2), (96, 2))


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Brings RGB values on the scale 0..255 to what the network expects, ``(x / 255 - mean) / std``.

    Args:
        images: ``(n, 3, h, w)``, uint8 or floating point.

    Returns:
        float32 of the same shape.
    """
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    return (images.float() / 255.0 - mean) / std


class ConvUnit(nn.Module):
    """A convolution with its BatchNorm, or the one convolution with a bias that the two amount to.

    Attributes:
        conv: The convolution; it has a bias only in the folded form.
        norm: BatchNorm while training, the identity in the folded form.
        relu: Whether the output is rectified.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        relu: bool = True,
        folded: bool = True,
    ) -> None:
        """Builds the unit.

        Args:
            inputs: Input channels.
            outputs: Output channels.
            kernel: Odd side of the kernel; the padding keeps the size at stride 1.
            stride: Stride of the convolution.
            relu: Whether to rectify the output.
            folded: Whether the BatchNorm is folded into the convolution.
        """
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=folded)
        self.norm: nn.Module = nn.Identity() if folded else nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolves, normalises and, where the unit says so, rectifies ``x``."""
        y: torch.Tensor = self.norm(self.conv(x))
        return functional.relu(y) if self.relu else y

    def folded_state(self) -> dict[str, torch.Tensor]:
        """Weight and bias of the one convolution that equals this unit in evaluation mode."""
        if not isinstance(self.norm, nn.BatchNorm2d):
            return {name: value.detach().clone() for name, value in self.conv.state_dict().items()}
        norm = self.norm
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        # In double precision, so that folding itself adds no error worth the name to the rounding of the
        # stored file.
        scale = norm.weight.detach().double() / torch.sqrt(variance.double() + norm.eps)
        weight = self.conv.weight.detach().double() * scale.view(-1, 1, 1, 1)
        bias = norm.bias.detach().double() - mean.double() * scale
        return {"weight": weight.float(), "bias": bias.float()}


class Block(nn.Module):
    """Two 3x3 convolutions around which the input is carried, projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, folded: bool) -> None:
        """Builds the block.

        Args:
            inputs: Input channels.
            outputs: Output channels.
            stride: Stride of the first convolution and of the projection.
            folded: Whether BatchNorm is folded.
        """
        super().__init__()
        self.first = ConvUnit(inputs, outputs, 3, stride=stride, folded=folded)
        self.second = ConvUnit(outputs, outputs, 3, relu=False, folded=folded)
        self.carry: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.carry = ConvUnit(inputs, outputs, 1, stride=stride, relu=False, folded=folded)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The rectified sum of both paths."""
        y: torch.Tensor = self.second(self.first(x)) + self.carry(x)
        return functional.relu(y)


class MiniNet(nn.Module):
    """The classifier: a stem, two residual stages, a 1x1 head, an average over positions, a linear layer.

    The stem works at 32x32, the stages at 16x16 and 8x8. The features are the head's rectified activations
    averaged over the 8x8 positions: 256 non-negative numbers. The rectifier stands between the 96 channels of
    the last stage and the average, so that the features are no linear map of 96 numbers and their covariance
    has full rank.

    Attributes:
        folded: Whether BatchNorm is folded into the convolutions; only this form is stored and loaded.
    """

    def __init__(self, *, folded: bool = True) -> None:
        """Builds the network with untrained weights.

        Args:
            folded: False gives the form to train, with BatchNorm.
        """
        super().__init__()
        self.folded = folded
        self.stem = ConvUnit(3, STEM_WIDTH, 3, folded=folded)
        blocks: list[nn.Module] = []
        inputs = STEM_WIDTH
        for outputs, count in STAGES:
            for index in range(count):
                blocks.append(Block(inputs, outputs, stride=2 if index == 0 else 1, folded=folded))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvUnit(inputs, FEATURES, 1, folded=folded)
        self.classifier = nn.Linear(FEATURES, len(CLASSES))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features and class scores of normalised images.

        Args:
            x: float ``(n, 3, 32, 32)``, already normalised as by `normalise`; either memory format.

        Returns:
            ``features``: float32 ``(n, 256)``, non-negative; ``logits``: float32 ``(n, 10)``.
        """
        maps: torch.Tensor = self.head(self.blocks(self.stem(x)))
        features = maps.float().mean(dim=(2, 3))
        logits: torch.Tensor = self.classifier(features.to(self.classifier.weight.dtype))
        return {"features": features, "logits": logits.float()}

    def folded_state(self) -> dict[str, torch.Tensor]:
        """The state, in float32, of the folded network that equals this one in evaluation mode."""
        state: dict[str, torch.Tensor] = {}
        for name, module in self.named_modules():
            if isinstance(module, ConvUnit):
                state.update({f"{name}.conv.{key}": value for key, value in module.folded_state().items()})
        state.update(
            {f"classifier.{key}": value.detach() for key, value in self.classifier.state_dict().items()}
        )
        return state


def from_state(state: Mapping[str, torch.Tensor]) -> MiniNet:
    """The folded network with the given weights, in float32, in evaluation mode.

    Args:
        state: Tensors by name, of any floating type; the names are those of a folded `MiniNet`.
    """
    net = MiniNet(folded=True)
    net.load_state_dict({name: value.float() for name, value in state.items()})
    return net.eval()


def load(path: Path = WEIGHTS_FILE) -> MiniNet:
    """The network with the weights of a safetensors file, by default the one that ships with the package."""
    from safetensors.torch import load_file

    return from_state(load_file(path))
