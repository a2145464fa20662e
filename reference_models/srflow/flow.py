"""SRFlow's flow: levels of squeezing, transition steps, conditional flow steps and splits.

Paper: Lugmayr et al. 2020 (arXiv:2006.14200), section 4.2 and figure 2. Official: andreas128/SRFlow@5a007ad,
models/modules/FlowUpsamplerNet.py and FlowStep.py. All layers lie in one list, and parameter names are the
official ones. Differs: the condition may be absent; there is then no injector, and no unused convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from reference_models.layers.flow import (
    ActNorm,
    AffineCoupling,
    AffineInjector,
    FlowLayer,
    InvertibleConv1x1,
    Split,
    SplitOff,
    Squeeze,
)
from reference_models.srflow.config import NetworkConfig

# Outputs of a convolution that is part of every checkpoint and of no computation.
_UNUSED_OUTPUTS = 96


class ConditionalAffine(FlowLayer):
    """The injector, where there is a condition, and the coupling."""

    def __init__(self, channels: int, config: NetworkConfig) -> None:
        """Draws weights."""
        super().__init__()
        features, hidden, eps = config.cond_channels, config.hidden, config.affine_eps
        self.fAffine = AffineCoupling(channels, features, hidden=hidden, eps=eps)
        self.fFeatures = (
            AffineInjector(channels, features, hidden=hidden, eps=eps) if config.conditional else None
        )

    def forward(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`."""
        return _through(self._parts(), z, cond)

    def reverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`."""
        return _back(self._parts(), z, cond)

    def _parts(self) -> list[FlowLayer]:
        return [self.fAffine] if self.fFeatures is None else [self.fFeatures, self.fAffine]


class FlowStep(FlowLayer):
    """Normalisation and 1x1 convolution; then injector and coupling, but in a transition step."""

    def __init__(self, channels: int, config: NetworkConfig, *, transition: bool) -> None:
        """Draws weights."""
        super().__init__()
        self.actnorm = ActNorm(channels)
        self.invconv = InvertibleConv1x1(channels, lu=config.lu)
        self.affine = None if transition else ConditionalAffine(channels, config)

    def forward(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`."""
        return _through(self._parts(), z, cond)

    def reverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`."""
        return _back(self._parts(), z, cond)

    def _parts(self) -> list[FlowLayer]:
        parts: list[FlowLayer] = [self.actnorm, self.invconv]
        return parts if self.affine is None else [*parts, self.affine]


def _through(layers: Sequence[FlowLayer], z: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
    total = z.new_zeros(len(z))
    for layer in layers:
        z, logdet = layer(z, cond)
        total = total + logdet
    return z, total


def _back(layers: Sequence[FlowLayer], z: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
    total = z.new_zeros(len(z))
    for layer in reversed(layers):
        z, logdet = layer.reverse(z, cond)
        total = total + logdet
    return z, total


class Flow(nn.Module):
    """Large images to latents and back."""

    def __init__(self, config: NetworkConfig) -> None:
        """Draws weights."""
        super().__init__()
        self.layers = nn.ModuleList()
        self._levels: list[int] = []
        channels = config.img_channels
        for level in range(1, config.L + 1):
            channels *= 4
            self._add(level, Squeeze())
            for _ in range(config.n_noaff):
                self._add(level, FlowStep(channels, config, transition=True))
            for _ in range(config.K):
                self._add(level, FlowStep(channels, config, transition=False))
            if config.splits_after(level):
                split = Split(channels)
                self._add(level, split)
                channels -= split.leaving
        if config.conditional:
            self.f = nn.Sequential(nn.Conv2d(config.cond_channels, _UNUSED_OUTPUTS, 3, padding=1))

    def forward(self, x: Tensor, conds: Sequence[Tensor] | None) -> tuple[list[Tensor], Tensor]:
        """Latents of images.

        Args:
            x: ``(n, c, h, w)``.
            conds: Conditions of the levels, from the largest down, each ``(n, …)`` or ``(1, …)``; None where
                there are none.

        Returns:
            Latents, first the standardised ones of the splits in order, then the last; and ``(n,)`` nats: the
            logarithms of volume change, and the log densities of what the splits took.
        """
        total, taken = x.new_zeros(len(x)), []
        for layer, cond in self._with_conditions(conds):
            if isinstance(layer, Split):
                split: SplitOff = layer(x)
                x, logdet = split.z, split.logdet
                taken.append(split.eps)
            else:
                x, logdet = layer(x, cond)
            total = total + logdet
        return [*taken, x], total

    def reverse(self, latents: Sequence[Tensor], conds: Sequence[Tensor] | None) -> tuple[Tensor, Tensor]:
        """Images of latents.

        Args:
            latents: As a forward pass returns them.
            conds: See there.

        Returns:
            Images, and minus what a forward pass adds up for them.
        """
        *taken, x = latents
        total = x.new_zeros(len(x))
        for layer, cond in reversed(list(self._with_conditions(conds))):
            if isinstance(layer, Split):
                x, logdet = layer.reverse(x, taken.pop())
            else:
                assert isinstance(layer, FlowLayer)
                x, logdet = layer.reverse(x, cond)
            total = total + logdet
        return x, total

    def _add(self, level: int, layer: nn.Module) -> None:
        self.layers.append(layer)
        self._levels.append(level)

    def _with_conditions(self, conds: Sequence[Tensor] | None) -> Iterator[tuple[nn.Module, Tensor | None]]:
        for layer, level in zip(self.layers, self._levels, strict=True):
            yield layer, None if conds is None else conds[level - 1]
