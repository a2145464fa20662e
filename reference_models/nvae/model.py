"""NVAE's network: a bottom-up encoder, and a top-down decoder that asks for one group of latents at a time.

Paper: Vahdat & Kautz 2020 (arXiv:2007.03898), sections 3 and 3.1, figures 2 and 3. Official:
NVlabs/NVAE@9fc1a28, model.py. Parameters have the official names. Differs: images of one channel may have a
mixture; a pass takes its random numbers, and the decoder what chooses latents, so that priors can be put in
place of the network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reference_models.layers.draws import Draws
from reference_models.nvae import distributions
from reference_models.nvae.cells import Cell, DecoderCombiner, EncoderCombiner
from reference_models.nvae.config import ARCHITECTURES, NetworkConfig
from reference_models.nvae.distributions import Normal, normal_of
from reference_models.nvae.flow import PairedCell
from reference_models.nvae.operations import NormedConv

Choose = Callable[[int, Tensor, Normal], Tensor]


class GroupDraw(NamedTuple):
    """One group of latents, drawn from its posterior.

    Attributes:
        context: The decoder's feature that the prior was made of; of the first group the learned constant.
            ``(n, c, h, w)``.
        prior: Of the latents, given those above.
        posterior: Of the latents before the flows.
        z: The latents, after the flows, ``(n, latents, h, w)``.
        log_q: Log density of z under the posterior, flows included, ``(n,)`` nats.
        log_p: Log density of z under the prior, ``(n,)`` nats.
        kl: Of every element, ``(n, latents, h, w)`` nats: exact without flows, ``log q - log p`` of this draw
            with them.
    """

    context: Tensor
    prior: Normal
    posterior: Normal
    z: Tensor
    log_q: Tensor
    log_p: Tensor
    kl: Tensor


class Inference(NamedTuple):
    """What a network says of images.

    Attributes:
        groups: From the top down.
        logits: Parameters of the decoder, ``(n, parameters, h, w)``.
        log_likelihood: ``ln p(x | z)``, ``(n,)`` nats, of the pixels that are counted.
    """

    groups: list[GroupDraw]
    logits: Tensor
    log_likelihood: Tensor

    @property
    def kl(self) -> Tensor:
        """``(n, groups)`` nats."""
        return torch.stack([group.kl.sum((1, 2, 3)) for group in self.groups], dim=1)

    @property
    def log_q(self) -> Tensor:
        """``(n,)`` nats, of all groups."""
        return torch.stack([group.log_q for group in self.groups]).sum(0)

    @property
    def log_p(self) -> Tensor:
        """``(n,)`` nats, of all groups."""
        return torch.stack([group.log_p for group in self.groups]).sum(0)

    @property
    def nelbo(self) -> Tensor:
        """Negative evidence lower bound, ``(n,)`` nats."""
        return self.kl.sum(1) - self.log_likelihood

    @property
    def log_weight(self) -> Tensor:
        """``ln p(x, z) - ln q(z | x)``, ``(n,)`` nats."""
        return self.log_likelihood + self.log_p - self.log_q


class Network(nn.Module):
    """NVAE.

    Attributes:
        config: Its sizes.
        latent_shapes: Channels, height and width of every group, from the top down.
        img_resolution: Side of the images.
        img_channels: Their channels.
        c_dim: 0: it learns no labels.
    """

    c_dim = 0

    def __init__(self, config: NetworkConfig) -> None:
        """Draws random weights."""
        super().__init__()
        self.config = config
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.latent_shapes = config.latent_shapes
        self._cells = ARCHITECTURES[config.arch_instance]
        scales = config.num_latent_scales
        top = 2 ** (config.num_preprocess_blocks + scales - 1)
        side, latents = config.smallest_side, config.num_latent_per_group
        # Widths of the groups, from the top down, and of the top.
        widths = [
            top >> scale
            for scale, groups in enumerate(reversed(config.groups_per_scale))
            for _ in range(groups)
        ]
        enc, dec = config.num_channels_enc, config.num_channels_dec
        self.prior_ftr0 = nn.Parameter(torch.rand(dec * top, side, side))
        self.stem = NormedConv(config.img_channels, enc, 3)
        self.pre_process = self._pre_process()
        self.enc_tower = self._enc_tower()
        self.enc0 = nn.Sequential(nn.ELU(), NormedConv(enc * top, enc * top, 1), nn.ELU())
        self.enc_sampler = nn.ModuleList(NormedConv(enc * width, 2 * latents, 3) for width in widths)
        self.dec_sampler = nn.ModuleList(
            nn.Sequential(nn.ELU(), NormedConv(dec * width, 2 * latents, 1)) for width in widths[1:]
        )
        self.nf_cells = nn.ModuleList(PairedCell(latents) for _ in range(len(widths) * config.num_nf))
        self.stem_decoder = NormedConv(latents, dec * top, 1) if config.vanilla else None
        self.dec_tower = self._dec_tower(top)
        self.post_process = self._post_process()
        self.image_conditional = nn.Sequential(
            nn.ELU(), NormedConv(dec, distributions.num_parameters(config), 3)
        )

    def _cell(self, in_channels: int, out_channels: int, kind: str) -> Cell:
        return Cell(in_channels, out_channels, kind, self._cells[kind], use_se=self.config.use_se)

    def _pre_process(self) -> nn.ModuleList:
        config, cells, width = self.config, nn.ModuleList(), self.config.num_channels_enc
        for _ in range(config.num_preprocess_blocks):
            for _ in range(config.num_preprocess_cells - 1):
                cells.append(self._cell(width, width, "normal_pre"))
            cells.append(self._cell(width, 2 * width, "down_pre"))
            width *= 2
        return cells

    def _enc_tower(self) -> nn.ModuleList:
        config, tower = self.config, nn.ModuleList()
        if config.vanilla:
            return tower
        multiple, last = 2**config.num_preprocess_blocks, len(config.groups_per_scale) - 1
        for scale, groups in enumerate(config.groups_per_scale):
            width, decoded = config.num_channels_enc * multiple, config.num_channels_dec * multiple
            for group in range(groups):
                for _ in range(config.num_cell_per_cond_enc):
                    tower.append(self._cell(width, width, "normal_enc"))
                if (scale, group) != (last, groups - 1):
                    tower.append(EncoderCombiner(width, decoded))
            if scale < last:
                tower.append(self._cell(width, 2 * width, "down_enc"))
                multiple *= 2
        return tower

    def _dec_tower(self, multiple: int) -> nn.ModuleList:
        config, tower = self.config, nn.ModuleList()
        if config.vanilla:
            return tower
        width, last = config.num_channels_dec * multiple, config.num_latent_scales - 1
        for scale, groups in enumerate(reversed(config.groups_per_scale)):
            for group in range(groups):
                if (scale, group) != (0, 0):
                    for _ in range(config.num_cell_per_cond_dec):
                        tower.append(self._cell(width, width, "normal_dec"))
                tower.append(DecoderCombiner(width, config.num_latent_per_group))
            if scale < last:
                tower.append(self._cell(width, width // 2, "up_dec"))
                width //= 2
        return tower

    def _post_process(self) -> nn.ModuleList:
        config, cells = self.config, nn.ModuleList()
        width = config.num_channels_dec * 2**config.num_postprocess_blocks
        for _ in range(config.num_postprocess_blocks):
            cells.append(self._cell(width, width // 2, "up_post"))
            width //= 2
            for _ in range(config.num_postprocess_cells - 1):
                cells.append(self._cell(width, width, "normal_post"))
        return cells

    # ------------------------------------------------------------------------------------------ top down

    def top_down(self, choose: Choose, num: int, *, temperature: float = 1.0) -> Tensor:
        """Decodes latents that are chosen group by group.

        Args:
            choose: ``choose(group, context, prior) -> z`` is called once a group, from the top (0) down.
                ``context`` ``(num, c, h, w)`` is the feature that the prior of the group was made of, the
                learned constant for group 0; z is ``(num, *latent_shapes[group])``.
            num: Images.
            temperature: Of all priors; multiplies their sigma.

        Returns:
            Parameters of the decoder, ``(num, parameters, h, w)``.
        """
        s = self.prior_ftr0.expand(num, -1, -1, -1)
        nothing = s.new_zeros(num, *self.latent_shapes[0])
        prior = Normal(nothing, nothing, temperature)
        if self.stem_decoder is not None:
            s = self.stem_decoder(choose(0, s, prior))
        group = 0
        for each in self.dec_tower:
            if not isinstance(each, DecoderCombiner):
                s = each(s)
                continue
            if group:
                prior = normal_of(self.dec_sampler[group - 1](s), temperature)
            s = each(s, choose(group, s, prior))
            group += 1
        for each in self.post_process:
            s = each(s)
        logits: Tensor = self.image_conditional(s)
        return logits

    def sample(self, draws: Draws, num: int, *, temperature: float = 1.0) -> Tensor:
        """Decodes latents of the network's own prior.

        Args:
            draws: Normal numbers of every group, from the top down.
            num: Images.
            temperature: Multiplies the sigma of every group.

        Returns:
            Parameters of the decoder, ``(num, parameters, h, w)``.
        """

        def choose(group: int, context: Tensor, prior: Normal) -> Tensor:
            del context
            return prior.sample(draws.normal(self.latent_shapes[group]))

        return self.top_down(choose, num, temperature=temperature)

    # ----------------------------------------------------------------------------------------- bottom up

    def infer(self, images: Tensor, draws: Draws) -> Inference:
        """Draws latents of images from their posterior, and says how likely all of it is.

        Args:
            images: ``(n, c, h, w)`` in [0, 1], of as many bits as the network takes.
            draws: Normal numbers of every group, from the top down.
        """
        found: Inference = self(images, [draws.normal(shape) for shape in self.latent_shapes])
        return found

    def forward(self, images: Tensor, eps: Sequence[Tensor]) -> Inference:
        """`infer` with the numbers drawn: ``eps`` are ``(n, *latent_shapes[group])``, from the top down."""
        top, features = self._encode(images)
        groups: list[GroupDraw] = []

        def choose(group: int, context: Tensor, prior: Normal) -> Tensor:
            if group:
                combine, encoded = features.pop()
                encoded = combine(encoded, context)
            else:
                encoded = top
            groups.append(self._posterior(group, encoded, context, prior, eps[group]))
            return groups[-1].z

        logits = self.top_down(choose, len(images))
        return Inference(groups, logits, distributions.log_likelihood(self.config, logits, images))

    def _encode(self, images: Tensor) -> tuple[Tensor, list[tuple[nn.Module, Tensor]]]:
        # The feature of the first group, and how features of the others are to be combined, the last first.
        s = self.stem(2 * images - 1)
        for each in self.pre_process:
            s = each(s)
        features: list[tuple[nn.Module, Tensor]] = []
        for each in self.enc_tower:
            if isinstance(each, EncoderCombiner):
                features.append((each, s))
            else:
                s = each(s)
        return self.enc0(s), features

    def _posterior(
        self, group: int, encoded: Tensor, context: Tensor, prior: Normal, eps: Tensor
    ) -> GroupDraw:
        mean, log_sigma = self.enc_sampler[group](encoded).chunk(2, dim=1)
        if self.config.res_dist:  # before the soft clamp; the first prior is all zeros
            mean, log_sigma = prior.unclamped[0] + mean, prior.unclamped[1] + log_sigma
        posterior = Normal(mean, log_sigma)
        z = posterior.sample(eps)
        log_q = posterior.log_density(z)
        flows = self.config.num_nf
        for flow in self.nf_cells[group * flows : (group + 1) * flows]:
            z = flow(z)
        log_p = prior.log_density(z)
        kl = log_q - log_p if flows else posterior.kl(prior)
        return GroupDraw(context, prior, posterior, z, log_q.sum((1, 2, 3)), log_p.sum((1, 2, 3)), kl)
