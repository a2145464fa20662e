"""The Fourier input and the filtered layers of StyleGAN3.

Paper: Karras et al. 2021 (arXiv:2106.12423), section 3 and the appendices on filters and details. Official:
NVlabs/stylegan3@c233a91, training/networks_stylegan3.py. Names of parameters and buffers are the official
ones. Deviations: float32 throughout; running means are updated on request alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from evalkit.errors import UsageError
from reference_models.layers.equalised import FullyConnected
from reference_models.ops import design_lowpass_filter, filtered_lrelu, modulated_conv2d_equivariant
from reference_models.stylegan3.plan import InputPlan, LayerPlan


class SynthesisInput(nn.Module):
    """Sines of random frequencies and phases, moved and turned by a learned function of w.

    Attributes:
        weight: Mixes the sines, ``(c, c)``.
        affine: w to (cos, sin, x, y) before normalisation.
        transform: Inverse transform of the picture, ``(3, 3)``: a shift by (tx, ty), in fractions of the
            picture, right and down, has (-tx, -ty) in its last column.
        freqs: ``(c, 2)``, in cycles per picture.
        phases: ``(c,)``, in turns.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, plan: InputPlan) -> None:
        """Draws the frequencies uniformly from a disc."""
        super().__init__()
        self.plan = plan
        g = torch.randn(plan.channels, 2)
        squared = g.square().sum(dim=1, keepdim=True)
        # exp(-r^2 / 2) of a normal pair is uniform in (0, 1): as a squared radius, it fills the disc evenly.
        freqs = g * (squared.rsqrt() * torch.exp(-squared / 4) * plan.bandwidth)
        self.weight = nn.Parameter(torch.randn(plan.channels, plan.channels))
        self.affine = FullyConnected(w_dim, 4, weight_init=0.0, bias_init=(1.0, 0.0, 0.0, 0.0))
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand(plan.channels) - 0.5)

    def forward(self, w: Tensor, transform: Tensor | None = None) -> Tensor:
        """Makes the input features.

        Args:
            w: ``(n, w_dim)``.
            transform: Replaces the stored one: ``(3, 3)``, or ``(n, 3, 3)``.

        Returns:
            ``(n, c, height, width)``.

        Raises:
            UsageError: The transform has another shape.
        """
        frame = self._frame(w, self.transform if transform is None else transform)
        phases = self.phases + (self.freqs @ frame[:, :2, 2:]).squeeze(2)  # (n, c)
        freqs = self.freqs @ frame[:, :2, :2]  # (n, c, 2)
        rate, bandwidth = self.plan.rate, self.plan.bandwidth
        # Frequencies that the transform lifts out of the band fade away, so that nothing aliases.
        amplitudes = (1 - (freqs.norm(dim=2) - bandwidth) / (rate / 2 - bandwidth)).clamp(0, 1)
        width, height = self.plan.size
        x, y = (
            ((torch.arange(side, dtype=w.dtype, device=w.device) + 0.5) / side - 0.5) * (side / rate)
            for side in (width, height)
        )
        turns = (
            freqs[:, None, None, :, 0] * x[None, None, :, None]
            + freqs[:, None, None, :, 1] * y[None, :, None, None]
            + phases[:, None, None, :]
        )
        waves = torch.sin(turns * (2 * math.pi)) * amplitudes[:, None, None, :]  # (n, height, width, c)
        mixed: Tensor = waves @ (self.weight / math.sqrt(self.plan.channels)).t()
        return mixed.permute(0, 3, 1, 2)

    def _frame(self, w: Tensor, transform: Tensor) -> Tensor:
        # (n, 3, 3): rotation, then translation, both learned, then the transform from outside.
        if tuple(transform.shape) not in ((3, 3), (len(w), 3, 3)):
            raise UsageError(
                f"a transform of the input has shape (3, 3), or ({len(w)}, 3, 3) for one a sample; given is "
                f"{tuple(transform.shape)}"
            )
        t = self.affine(w)
        c, s, x, y = (t / t[:, :2].norm(dim=1, keepdim=True)).unbind(dim=1)
        zero, one = torch.zeros_like(c), torch.ones_like(c)
        rotation = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=1).view(-1, 3, 3)
        translation = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).view(-1, 3, 3)
        return rotation @ translation @ transform.to(t)


class SynthesisLayer(nn.Module):
    """A modulated convolution and a leaky rectifier between an upsampling and a downsampling filter.

    Attributes:
        affine: w to a style, one scale an input channel.
        weight: ``(out, in, k, k)``.
        bias: ``(out,)``.
        magnitude_ema: Running mean of the squared input, a scalar.
        up_filter: Taps ``(up_taps,)``; None where there is no filter.
        down_filter: ``(down_taps,)``, radial ``(down_taps, down_taps)``; None where there is none.
    """

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(
        self,
        w_dim: int,
        plan: LayerPlan,
        *,
        conv_clamp: float | None = 256,
        magnitude_ema_beta: float = 0.999,
    ) -> None:
        """Makes the parameters and designs the filters."""
        super().__init__()
        self.plan, self.conv_clamp, self.magnitude_ema_beta = plan, conv_clamp, magnitude_ema_beta
        k = plan.conv_kernel
        self.affine = FullyConnected(w_dim, plan.in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(plan.out_channels, plan.in_channels, k, k))
        self.bias = nn.Parameter(torch.zeros(plan.out_channels))
        self.style_gain = 1.0 / math.sqrt(plan.in_channels * k * k) if plan.is_torgb else 1.0
        self.register_buffer("magnitude_ema", torch.ones(()))
        self.register_buffer(
            "up_filter",
            design_lowpass_filter(plan.up_taps, plan.in_cutoff, plan.in_half_width * 2, plan.tmp_rate),
        )
        self.register_buffer(
            "down_filter",
            design_lowpass_filter(
                plan.down_taps, plan.out_cutoff, plan.out_half_width * 2, plan.tmp_rate, radial=plan.is_radial
            ),
        )

    def forward(self, x: Tensor, w: Tensor, *, update_emas: bool = False) -> Tensor:
        """Runs the layer.

        Args:
            x: ``(n, in, h, w)``, of the planned size.
            w: ``(n, w_dim)``.
            update_emas: Whether the running mean takes in ``x``, and is used with it.

        Returns:
            ``(n, out, h', w')``.
        """
        plan = self.plan
        if update_emas:
            self.magnitude_ema.copy_(
                x.detach()
                .to(self.magnitude_ema.dtype)
                .square()
                .mean()
                .lerp(self.magnitude_ema, self.magnitude_ema_beta)
            )
        styles = self.affine(w)
        if plan.is_torgb:
            styles = styles * self.style_gain
        x = modulated_conv2d_equivariant(
            x,
            self.weight,
            styles,
            demodulate=not plan.is_torgb,
            padding=plan.conv_kernel - 1,
            input_gain=self.magnitude_ema.rsqrt(),
        )
        return filtered_lrelu(
            x,
            self.up_filter,
            self.down_filter,
            self.bias,
            up=plan.up,
            down=plan.down,
            padding=plan.padding,
            gain=1.0 if plan.is_torgb else math.sqrt(2.0),
            slope=1.0 if plan.is_torgb else 0.2,
            clamp=self.conv_clamp,
        )
