"""VDVAE: a bottom-up encoder, and a top-down decoder of many groups of latents.

Paper: Child 2021 (arXiv:2011.10650), section 3. Official: openai/vdvae@ea35b49, vae.py. Parameter names are
the official ones, so that published state dicts load with ``strict=True``. Differs: images are
``(n, c, h, w)`` on every side, and random numbers come from the caller.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from reference_models.layers import dmol
from reference_models.layers.draws import Draws
from reference_models.vdvae.blocks import Block, DecBlock, Latent, pad_channels, plain_conv, uses_3x3
from reference_models.vdvae.config import NetworkConfig


class Output(NamedTuple):
    """What a pass over images gives.

    Attributes:
        params: Of the mixture, ``(n, 10 K or 3 K, h, w)``, see `reference_models.layers.dmol`.
        latents: Groups, from the top down.
    """

    params: Tensor
    latents: list[Latent]


class Encoder(nn.Module):
    """Images to features of every resolution."""

    def __init__(self, config: NetworkConfig) -> None:
        """Draws weights."""
        super().__init__()
        entries = config.encoder_entries
        self.in_conv = plain_conv(config.img_channels, config.width_at(config.img_resolution), 3)
        self.enc_blocks = nn.ModuleList()
        self._widths = []
        for side, rate in entries:
            width = config.width_at(side)
            block = Block(
                width,
                config.middle_width_at(side),
                width,
                down_rate=rate,
                residual=True,
                use_3x3=uses_3x3(side),
            )
            _scale(block.c4, len(entries))
            self.enc_blocks.append(block)
            self._widths.append(config.width_at(side // (rate or 1)))

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """The last features of each resolution, by its side.

        Args:
            x: Scaled images ``(n, c, h, w)``.
        """
        x = self.in_conv(x)
        found = {x.shape[2]: x}
        for block, width in zip(self.enc_blocks, self._widths, strict=True):
            x = pad_channels(block(x), width)
            found[x.shape[2]] = x
        return found


class _OutNet(nn.Module):
    # Features to parameters of the mixture.

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.out_conv = plain_conv(width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        params: Tensor = self.out_conv(x)
        return params


class Decoder(nn.Module):
    """Latents to parameters of the mixture, group by group."""

    def __init__(self, config: NetworkConfig) -> None:
        """Draws weights."""
        super().__init__()
        entries = config.decoder_entries
        self.dec_blocks = nn.ModuleList()
        for side, mixed in entries:
            block = DecBlock(
                side,
                mixed,
                width=config.width_at(side),
                middle_width=config.middle_width_at(side),
                zdim=config.zdim,
            )
            _scale(block.z_proj, len(entries))
            _scale(block.resnet.c4, len(entries))
            self.dec_blocks.append(block)
        self.bias_xs = nn.ParameterList(
            nn.Parameter(torch.zeros(1, config.width_at(side), side, side)) for side in config.bias_sides
        )
        width = config.width_at(config.img_resolution)
        self.gain = nn.Parameter(torch.ones(1, width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.out_net = _OutNet(width, dmol.num_parameters(config.img_channels, config.num_mixtures))
        self._side = config.img_resolution

    def infer(self, activations: Mapping[int, Tensor], eps: Sequence[Tensor]) -> Output:
        """Goes down with latents of the posterior.

        Args:
            activations: Of the encoder.
            eps: Standard normal, a tensor a block.
        """
        xs = self._begin(len(eps[0]))
        latents = []
        for block, of_block in zip(self._blocks(), eps, strict=True):
            x, latent = block.infer(self._input(block, xs, of_block), activations[block.side], of_block)
            xs[block.side] = x
            latents.append(latent)
        return Output(self._finish(xs), latents)

    def generate(
        self, eps: Sequence[Tensor], temperatures: Sequence[float], given: Sequence[Tensor]
    ) -> Tensor:
        """Goes down with latents of the prior.

        Args:
            eps: Standard normal, a tensor a block for which no latents are given.
            temperatures: One a block.
            given: Latents of the first blocks.

        Returns:
            Parameters of the mixture.
        """
        drawn: list[tuple[Tensor | None, Tensor | None]] = [(None, z) for z in given]
        drawn += [(of_block, None) for of_block in eps]
        first = (*given, *eps)[0]
        xs = self._begin(len(first))
        for block, temperature, (of_block, z) in zip(self._blocks(), temperatures, drawn, strict=True):
            xs[block.side] = block.generate(self._input(block, xs, first), of_block, temperature, z)
        return self._finish(xs)

    def _blocks(self) -> Iterable[DecBlock]:
        return cast("Iterable[DecBlock]", self.dec_blocks)

    def _begin(self, num: int) -> dict[int, Tensor]:
        return {bias.shape[2]: bias.expand(num, -1, -1, -1) for bias in self.bias_xs}

    def _input(self, block: DecBlock, xs: Mapping[int, Tensor], like: Tensor) -> Tensor:
        x = xs.get(block.side)
        if x is None:
            x = like.new_zeros(len(like), block.width, block.side, block.side)
        return block.mixed_in(x, None if block.mixed is None else xs[block.mixed])

    def _finish(self, xs: Mapping[int, Tensor]) -> Tensor:
        params: Tensor = self.out_net(xs[self._side] * self.gain + self.bias)
        return params


class Network(nn.Module):
    """The whole model.

    Attributes:
        config: Its sizes.
        img_resolution: Side of the images.
        img_channels: 3, or 1 for grey.
        c_dim: 0; it learns no labels.
    """

    def __init__(self, config: NetworkConfig) -> None:
        """Draws weights: of convolutions as PyTorch does, those at the ends of residual branches smaller."""
        super().__init__()
        self.config = config
        self.img_resolution, self.img_channels, self.c_dim = config.img_resolution, config.img_channels, 0
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def draw(self, draws: Draws, *, skip: int = 0) -> list[Tensor]:
        """Standard normal numbers of the blocks' latents, from the top down.

        Args:
            draws: Where they come from.
            skip: Blocks at the top that need none, since their latents are given.
        """
        return [
            draws.normal((self.config.zdim, side, side)) for side, _ in self.config.decoder_entries[skip:]
        ]

    def forward(self, x: Tensor, eps: Sequence[Tensor]) -> Output:
        """Images as the model explains them, with latents of the posterior.

        Args:
            x: Images as `objective.inputs` scales them, ``(n, c, h, w)``.
            eps: Of `draw`.
        """
        return self.decoder.infer(self.encoder(x), eps)

    def generate(
        self,
        eps: Sequence[Tensor],
        *,
        temperature: float | Sequence[float] = 1.0,
        given: Sequence[Tensor] = (),
    ) -> Tensor:
        """Parameters of the mixture, with latents of the prior.

        Args:
            eps: Of `draw`, for the blocks whose latents are not given.
            temperature: Factor of the priors' sigmas, from 0 up; one for all, or one a block.
            given: Latents of the first blocks, as a pass over images found them; the rest is drawn.

        Raises:
            ValueError: Not one temperature a block.
        """
        num = len(self.decoder.dec_blocks)
        temperatures = [temperature] * num if isinstance(temperature, int | float) else list(temperature)
        if len(temperatures) != num:
            raise ValueError(f"{len(temperatures)} temperatures for {num} blocks; give one, or one a block")
        return self.decoder.generate(eps, temperatures, given)

    def draw_images(self, draws: Draws, params: Tensor) -> Tensor:
        """Images of a mixture, ``(n, c, h, w)`` in [-1, 1].

        Args:
            draws: Uniform numbers, first those that pick components, then those of values.
            params: Of `generate`.
        """
        side = (self.img_resolution, self.img_resolution)
        select = dmol.inside(draws.uniform((self.config.num_mixtures, *side)))
        value = dmol.inside(draws.uniform((self.img_channels, *side)))
        return dmol.sample(params, select, value)


def _scale(conv: nn.Conv2d, entries: int) -> None:
    # Sums of many residual branches begin with the size of one.
    with torch.no_grad():
        conv.weight.mul_(math.sqrt(1 / entries))
