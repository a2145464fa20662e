"""The convolution every network here is built from: BatchNorm folded, channels-last, the same bits on any thread count.

``torch.nn.functional.conv2d`` picks between a matrix product and oneDNN by batch size and number of threads, and
the two round differently: the same image would get other last bits on one thread than on two. On a CPU the
oneDNN convolution is therefore called by its own name, whose sums do not depend on threads, on an image's place
in a batch, or on its neighbours. It is also the faster of the two.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional



class Convolution:
    """One convolution with a bias, ready to run.

    Attributes:
        weight: ``(out, in, height, width)`` in channels-last layout.
        bias: ``(out,)``.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        *,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Brings float tensors of any layout to the device, type and layout they are used in."""
        self.weight = weight.to(device, dtype).contiguous(memory_format=torch.channels_last)
        self.bias = bias.to(device, dtype)
        self._stride = (stride, stride)
        self._padding = padding
        self._direct = device.type == "cpu" and torch.backends.mkldnn.is_available()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of a channels-last batch."""
        if self._direct:
            return torch.mkldnn_convolution(
                x, self.weight, self.bias, self._padding, self._stride, (1, 1), 1
            )
        return functional.conv2d(x, self.weight, self.bias, self._stride, self._padding)


def fold_batch_norm(
    tensors: Mapping[str, torch.Tensor], name: str, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the convolution that equals ``name.conv`` followed by ``name.bn`` in evaluation mode.

    In double precision, so that folding adds no rounding beyond that of storing the result in float32.
    """
    scale = tensors[f"{name}.bn.weight"].double()
    scale = scale / torch.sqrt(tensors[f"{name}.bn.running_var"].double() + epsilon)
    weight = tensors[f"{name}.conv.weight"].double() * scale.view(-1, 1, 1, 1)
    bias = tensors[f"{name}.bn.bias"].double() - tensors[f"{name}.bn.running_mean"].double() * scale
    return weight.float(), bias.float()
