"""The convolution every network here is built from: channels-last, the same bits on any number of threads.

``torch.nn.functional.conv2d`` picks between a matrix product and oneDNN by batch size and number of threads,
and the two round differently: the same image would get other last bits on one thread than on two. On a CPU
the oneDNN convolution is therefore called by its own name, whose sums do not depend on threads, on an
image's place in a batch, or on its neighbours. It is also the faster of the two.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional


@functools.cache
def _onednn_takes(dtype: torch.dtype) -> bool:
    # Found by trying: processors without instructions for bfloat16 refuse it, and nothing public tells.
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    one = torch.ones(1, 1, 1, 1, dtype=dtype)
    try:
        torch.mkldnn_convolution(one, one, one.view(1), (0, 0), (1, 1), (1, 1), 1)
    except RuntimeError:
        return False
    return True


class Convolution(nn.Conv2d):
    """One convolution with a bias, ready to run: its weights are laid out channels-last on their device."""

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
        """Brings a ``(out, in, height, width)`` weight and its bias to the device, type and layout of use."""
        outputs, inputs, height, width = weight.shape
        # On "meta" the weights that are about to be replaced cost no memory and draw no random numbers.
        super().__init__(inputs, outputs, (height, width), (stride, stride), padding, device="meta")
        laid_out = weight.detach().to(device, dtype).contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(laid_out, requires_grad=False)
        self.bias = nn.Parameter(bias.detach().to(device, dtype), requires_grad=False)
        self._padding = padding
        self._stride = (stride, stride)
        self._direct = device.type == "cpu" and _onednn_takes(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of a channels-last batch."""
        if self._direct:
            return torch.mkldnn_convolution(x, self.weight, self.bias, self._padding, self._stride, (1, 1), 1)
        return functional.conv2d(x, self.weight, self.bias, self._stride, self._padding)


def fold_batch_norm(
    tensors: Mapping[str, torch.Tensor], name: str, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the convolution that equals ``name.conv`` and then ``name.bn`` in evaluation mode.

    In double precision, so that folding adds no rounding beyond that of storing the result in float32.
    """
    scale = tensors[f"{name}.bn.weight"].double()
    scale = scale / torch.sqrt(tensors[f"{name}.bn.running_var"].double() + epsilon)
    weight = tensors[f"{name}.conv.weight"].double() * scale.view(-1, 1, 1, 1)
    bias = tensors[f"{name}.bn.bias"].double() - tensors[f"{name}.bn.running_mean"].double() * scale
    return weight.float(), bias.float()
