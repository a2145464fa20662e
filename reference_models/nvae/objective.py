"""NVAE's loss: its bound with a balanced KL, and norms of convolutions and batch norms.

Paper: Vahdat & Kautz 2020 (arXiv:2007.03898), sections 3.1 and 3.2 (balanced KL, spectral regularisation).
Official: NVlabs/NVAE@9fc1a28, train.py, utils.py and model.py. Differs: nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_models.layers.draws import Draws
from reference_models.nvae.config import BINARY_PIXELS, NetworkConfig
from reference_models.nvae.distributions import reduce_bits
from reference_models.nvae.operations import BatchNorm, NormedConv, PlainConv

_FIRST_ITERATIONS, _ITERATIONS = 40, 4
_EPS = 1e-3
_OFFSET = 0.01


class Balanced(NamedTuple):
    """The KL of a batch as it is minimised.

    Attributes:
        kl: ``(n,)`` nats.
        coefficients: Of the groups, ``(groups,)``; their mean is 1.
        means: Mean of each group, ``(groups,)`` nats.
    """

    kl: Tensor
    coefficients: Tensor
    means: Tensor


def balanced_kl(kl: Tensor, beta: float, alpha: Tensor) -> Balanced:
    """``beta sum_g w_g KL_g``, where groups with more to say weigh more; all alike once beta is 1.

    ``w_g`` is proportional to ``(mean |KL_g| + 0.01) total / alpha_g``, has mean 1 and no gradient.

    Args:
        kl: ``(n, groups)`` nats.
        beta: Of the warm-up.
        alpha: ``(groups,)``, see `reference_models.nvae.schedules.balance`.
    """
    means = kl.detach().mean(0)
    if beta >= 1:
        return Balanced(kl.sum(1), torch.ones_like(means), means)
    shifted = kl.detach().abs().mean(0) + _OFFSET
    weights = shifted * shifted.sum() / alpha
    weights = weights / weights.mean()
    return Balanced(beta * (kl * weights).sum(1), weights, means)


def convolutions(network: nn.Module) -> Iterator[tuple[str, NormedConv | PlainConv]]:
    """All convolutions of a network with their names, in order."""
    for name, module in network.named_modules():
        if isinstance(module, NormedConv | PlainConv):
            yield name, module


def matrix(module: NormedConv | PlainConv) -> Tensor:
    """What a convolution multiplies by, normalised and masked as it is, ``(out, rest)``."""
    weight: Tensor = module.normalised() if isinstance(module, NormedConv) else module.weight
    return weight.flatten(1)


class SpectralNorms(nn.Module):
    """Largest singular values of all convolutions of a network, by power iteration.

    Vectors are kept, so that iteration goes on from call to call. Layers whose matrices have the same shape
    are iterated together.

    Attributes:
        names: Names of layers by ``ROWSxCOLUMNS``, in order.
        started: Whether the first call, which iterates longer, has been.
    """

    started: Tensor

    def __init__(self, network: nn.Module, *, seed: int = 0) -> None:
        """Draws the first left vectors, by a seed of their own."""
        super().__init__()
        layers: dict[str, list[tuple[str, NormedConv | PlainConv]]] = {}
        for name, module in convolutions(network):
            rows, columns = matrix(module).shape
            layers.setdefault(f"{rows}x{columns}", []).append((name, module))
        self.names = {shape: [name for name, _ in each] for shape, each in layers.items()}
        # Layers belong to the network: kept out of this module's parts and of its state.
        self._layers = {shape: [module for _, module in each] for shape, each in layers.items()}
        rng = torch.Generator().manual_seed(seed)
        for shape, modules in self._layers.items():
            rows, columns = map(int, shape.split("x"))
            self.register_buffer(f"u_{shape}", torch.randn(len(modules), rows, generator=rng))
            self.register_buffer(f"v_{shape}", torch.zeros(len(modules), columns))
        self.register_buffer("started", torch.zeros((), dtype=torch.int64))

    def start(self, vectors: Mapping[str, Tensor]) -> None:
        """Takes left vectors ``(layers, rows)`` by shape in place of drawn ones."""
        for shape, value in vectors.items():
            self.get_buffer(f"u_{shape}").copy_(value)

    def forward(self) -> Tensor:
        """The sum of all values; goes a few iterations further first.

        Returns:
            A scalar, whose gradient goes through the weights alone.
        """
        iterations = _ITERATIONS if self.started else _FIRST_ITERATIONS
        sums = []
        for shape, modules in self._layers.items():
            weights = torch.stack([matrix(module) for module in modules])
            u, v = self.get_buffer(f"u_{shape}"), self.get_buffer(f"v_{shape}")
            with torch.no_grad():
                for _ in range(iterations):
                    v = F.normalize(torch.einsum("lr,lrc->lc", u, weights), dim=1, eps=_EPS)
                    u = F.normalize(torch.einsum("lrc,lc->lr", weights, v), dim=1, eps=_EPS)
                self.get_buffer(f"u_{shape}").copy_(u)
                self.get_buffer(f"v_{shape}").copy_(v)
            sums.append(torch.einsum("lr,lrc,lc->", u, weights, v))
        self.started.fill_(1)
        return torch.stack(sums).sum()


def batch_norm_penalty(network: nn.Module) -> Tensor:
    """Sum over batch norms of the largest magnitude of a scale; 0 where there is none."""
    found = [module.weight.abs().max() for module in network.modules() if isinstance(module, BatchNorm)]
    return torch.stack(found).sum() if found else next(network.parameters()).new_zeros(())


def inputs(images: Tensor, config: NetworkConfig, draws: Draws) -> Tensor:
    """Images as the network takes them.

    Args:
        images: uint8 ``(n, c, h, w)``; binary ones may lack the rows and columns that are not counted.
        config: Of the network.
        draws: A uniform number a pixel where pixels are binary, which makes it 1 in proportion to its level;
            as in the release, at every look at an image.

    Returns:
        ``(n, c, img_resolution, img_resolution)`` in [0, 1], of as many bits as the network takes.
    """
    x = images.float() / 255
    if not config.binary:
        return reduce_bits(x, config.num_x_bits)
    x = (draws.uniform(x.shape[1:]) < x).float()
    before = BINARY_PIXELS.start if x.shape[-1] == config.data_side < config.img_resolution else 0
    after = config.img_resolution - before - x.shape[-1]
    return F.pad(x, (before, after, before, after))
