"""What cells of NVAE compute: weight-normalised convolutions, batch norms, residual and inverted operations.

Paper: Vahdat & Kautz 2020 (arXiv:2007.03898), section 3.1 and appendix A. Official: NVlabs/NVAE@9fc1a28,
neural_operations.py and thirdparty/. Parameters have the official names. Deviations: the first pass that
initialises ``res_elu`` by its data happens in training alone, so that no evaluation depends on what was asked
first; the second name of weights that are not normalised (``weight_normalized``) and the passes that batch
norms count (``num_batches_tracked``), which nothing reads, are the converter's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from evalkit.errors import UsageError
from reference_models.nvae.config import OPERATION

_EPS_NORM, _EPS_INIT, _EPS_DATA, _SPREAD = 1e-5, 1e-2, 1e-5, 5.0
_MOMENTUM = 0.05


def _norms(weight: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)
    return norms


class NormedConv(nn.Conv2d):
    """Convolution with ``W = exp(log_weight_norm) weight / (|weight| + 1e-5)``, norms an output channel.

    Attributes:
        log_weight_norm: ``(out, 1, 1, 1)``.
        mask: Of the weight, for causal convolutions; None lets all through. Not part of the state.
        by_data: Whether the next pass of training sets ``log_weight_norm`` and ``bias`` from what it sees, so
            that outputs have mean 0 and a standard deviation of a fifth.
    """

    mask: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        padding: int | None = None,
        mask: Tensor | None = None,
        by_data: bool = False,
    ) -> None:
        """Takes sizes; ``padding`` None keeps the side, but for the stride."""
        same = dilation * (kernel - 1) // 2
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=same if padding is None else padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.register_buffer("mask", mask, persistent=False)
        self.by_data = by_data
        self.log_weight_norm = nn.Parameter(self.weight.new_zeros(out_channels, 1, 1, 1))
        if not self.weight.is_meta:  # which has no numbers, and would take its time over them
            with torch.no_grad():
                self.log_weight_norm.copy_(torch.log(_norms(self._masked()) + _EPS_INIT))

    def _masked(self) -> Tensor:
        weight: Tensor = self.weight
        return weight if self.mask is None else weight * self.mask

    def _unit(self) -> Tensor:
        weight = self._masked()
        return weight / (_norms(weight) + _EPS_NORM)

    def normalised(self) -> Tensor:
        """The weight that is convolved with."""
        return torch.exp(self.log_weight_norm) * self._unit()

    def forward(self, x: Tensor) -> Tensor:
        """Convolves ``(n, in, h, w)``."""
        if self.by_data and self.training:
            self._set_by_data(x)
        out: Tensor = self._conv_forward(x, self.normalised(), self.bias)
        return out

    @torch.no_grad()
    def _set_by_data(self, x: Tensor) -> None:
        out = self._conv_forward(x, self._unit(), None)
        mean, scale = out.mean((0, 2, 3)), _SPREAD * out.transpose(0, 1).flatten(1).std(1)
        assert self.bias is not None
        self.bias.copy_(-mean / (scale + _EPS_DATA))
        self.log_weight_norm.copy_(-torch.log(scale.reshape(-1, 1, 1, 1) + _EPS_DATA))
        self.by_data = False

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as torch has it
        super()._load_from_state_dict(*args, **kwargs)
        self.by_data = False  # stored values come from a pass that has been


class PlainConv(nn.Conv2d):
    """Convolution of an inverted residual: not normalised, without bias."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
        )


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation, whose statistics of training are those of all processes.

    Running statistics move by a fixed share, so that nothing counts passes.

    Attributes:
        synchronised: Whether other processes take part in passes of training.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5, momentum=_MOMENTUM)
        self.synchronised = False
        self.num_batches_tracked = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalises ``(n, c, h, w)``."""
        if not (self.training and self.synchronised):
            return super().forward(x)
        mean = _over_processes(x.float().mean((0, 2, 3)))
        centred = x.float() - mean[:, None, None]
        variance = _over_processes(centred.square().mean((0, 2, 3)))
        self._follow(mean.detach(), variance.detach(), x.numel() // x.shape[1])
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        count *= torch.distributed.get_world_size()
        self.running_mean.lerp_(mean, _MOMENTUM)
        self.running_var.lerp_(variance * count / (count - 1), _MOMENTUM)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as torch has it
        # Not torch's own, which asks for the count of passes.
        nn.Module._load_from_state_dict(self, *args, **kwargs)


def _mean(value: Tensor) -> Tensor:
    total = value.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


class _OverProcesses(torch.autograd.Function):
    # The mean over processes, of equal shares. What it costs one of them goes back to all.
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ANN401 - as torch has it
        return _mean(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ANN401 - as torch has it
        return _mean(grads[0])


def _over_processes(value: Tensor) -> Tensor:
    found: Tensor = _OverProcesses.apply(value)
    return found


class BatchNormSwish(BatchNorm):
    """Batch normalisation, then ``x sigmoid(x)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalises and activates ``(n, c, h, w)``."""
        return F.silu(super().forward(x))


class WrappedNorm(nn.Module):
    """A batch normalisation under the name ``bn``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises ``(n, c, h, w)``."""
        normalised: Tensor = self.bn(x)
        return normalised


class Nearest(nn.Module):
    """Every pixel becomes a square of two by two."""

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges ``(n, c, h, w)``."""
        return F.interpolate(x, scale_factor=2, mode="nearest")


class Bilinear(nn.Module):
    """Twice the side, with corners of the picture on corners."""

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges ``(n, c, h, w)``."""
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class Activated(nn.Module):
    """``res_bnswish``, ``res_bnswish5``, ``res_bnelu`` and ``res_elu``: norm, activation, convolution."""

    def __init__(self, name: str, in_channels: int, out_channels: int, scale: int) -> None:
        """Takes the operation, sizes, and -1 to halve the side, 1 to double it, 0 to leave it."""
        super().__init__()
        self.up = scale > 0
        if name.startswith("res_bnswish"):
            self.bn_act = BatchNormSwish(in_channels)
        elif name == "res_bnelu":
            self.bn = WrappedNorm(in_channels)
        self.kind = name
        self.conv_0 = NormedConv(
            in_channels,
            out_channels,
            3,
            stride=2 if scale < 0 else 1,
            dilation=2 if name == "res_bnswish5" else 1,
            by_data=name == "res_elu",
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in, h, w)`` to ``(n, out, ...)``."""
        if self.kind == "res_elu":
            x = F.elu(x)
        elif self.kind == "res_bnelu":
            x = F.elu(self.bn(x))
        else:
            x = self.bn_act(x)
        if self.up:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        out: Tensor = self.conv_0(x)
        return out


class _ConvNormSwish(nn.Module):
    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            PlainConv(in_channels, out_channels, kernel, stride=stride, groups=groups),
            BatchNormSwish(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class Inverted(nn.Module):
    """``mconv_e{x}k{k}g{g}``: widens x-fold, convolves k by k in g groups (a channel each for 0), narrows."""

    def __init__(
        self, in_channels: int, out_channels: int, scale: int, *, expansion: int, kernel: int, groups: int
    ) -> None:
        """Takes sizes, -1 to halve the side, 1 to double it, 0 to leave it, and the numbers of the name."""
        super().__init__()
        hidden = round(expansion * in_channels)
        layers: list[nn.Module] = [Nearest()] if scale > 0 else []
        layers += [
            WrappedNorm(in_channels),
            _ConvNormSwish(in_channels, hidden, 1),
            _ConvNormSwish(hidden, hidden, kernel, stride=2 if scale < 0 else 1, groups=groups or hidden),
            PlainConv(hidden, out_channels, 1),
            WrappedNorm(out_channels),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in, h, w)`` to ``(n, out, ...)``."""
        out: Tensor = self.conv(x)
        return out


def operation(name: str, in_channels: int, out_channels: int, scale: int) -> nn.Module:
    """The operation of a name.

    Args:
        name: ``res_bnswish``, ``res_bnswish5``, ``res_bnelu``, ``res_elu`` or ``mconv_e{x}k{k}g{g}``.
        in_channels: Of what it takes.
        out_channels: Of what it returns.
        scale: -1 halves the side, 1 doubles it, 0 leaves it.

    Raises:
        UsageError: It takes no such widths.
    """
    if (match := OPERATION.fullmatch(name)) is None:
        return Activated(name, in_channels, out_channels, scale)
    expansion, kernel, groups = (int(match[part]) for part in ("expansion", "kernel", "groups"))
    if groups and in_channels * expansion % groups:
        raise UsageError(
            f"NVAE: {name} divides {in_channels * expansion} channels into {groups} groups; give "
            "num_channels_enc and num_channels_dec that are multiples of 8"
        )
    return Inverted(in_channels, out_channels, scale, expansion=expansion, kernel=kernel, groups=groups)
