"""The bundled extractor ``mini``: evalkit's own small CIFAR-10 classifier; it needs no download.

Any image is resized to 32x32 by Pillow's antialiased bilinear (not rounded), brought to (x / 255 - mean) /
std of CIFAR-10, and passes `evalkit.features.mini_net.MiniNet`. Layers: ``features``, the 256 averaged
activations before the classifier, and ``logits``, its ten scores. Distances on it are named ``fd_mini`` and
the like: they are comparable with each other and with no published FID.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch

from evalkit.features import mini_net
from evalkit.features.base import Extractor, Shapes
from evalkit.features.convolution import Convolution
from evalkit.imaging.resizes import RESIZES


@functools.cache
def _shapes() -> Shapes:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in mini_net.MiniNet().state_dict().items()}


def lay_out(
    tensors: Mapping[str, torch.Tensor], device: torch.device, dtype: torch.dtype
) -> mini_net.MiniNet:
    """The folded network with these tensors, its convolutions in the form that is used for inference.

    Args:
        tensors: By the names of a folded `mini_net.MiniNet`; without the classifier's, scores mean nothing.
        device: Where it runs.
        dtype: Type of weights and activations.
    """
    state = {name: tensors.get(name, torch.zeros(shape)) for name, shape in _shapes().items()}
    with torch.device("meta"):
        net = mini_net.MiniNet()
    net.load_state_dict(state, assign=True)
    net = net.to(device, dtype)
    for unit in net.modules():
        if isinstance(unit, mini_net.ConvUnit):
            conv = unit.conv
            assert conv.bias is not None
            unit.conv = Convolution(
                conv.weight, conv.bias, stride=conv.stride[0], padding=(conv.kernel_size[0] // 2,) * 2,
                device=device, dtype=dtype,
            )  # fmt: skip
    return net.eval()


class Mini(Extractor):
    """The bundled classifier."""

    @classmethod
    def shapes(cls, layer: str) -> Shapes:
        """Names and shapes of the tensors that ``layer`` uses."""
        features = layer == "features"
        return {
            name: shape
            for name, shape in _shapes().items()
            if not (features and name.startswith("classifier."))
        }

    def build(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Fills the network and puts its convolutions into the form that is used for inference."""
        self._dtype = getattr(torch, self.precision)
        self._net = lay_out(tensors, self.device, self._dtype)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resizes uint8 images to 32x32 and standardises their channels."""
        side = mini_net.INPUT_SIZE
        return mini_net.normalise(RESIZES[self.resize](pixels, (side, side)))

    def network(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features of one preprocessed batch of `micro_batch` images."""
        found: dict[str, torch.Tensor] = self._net(batch.to(self._dtype))
        return {layer: found[layer] for layer in self.layers}
