"""Small StyleGAN2 networks that look trained, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from reference_models.layers.mapping import MappingConfig
from reference_models.stylegan2.config import DiscriminatorConfig, GeneratorConfig

SMALL = GeneratorConfig(
    z_dim=10, w_dim=12, c_dim=3, img_resolution=16, channel_base=128, channel_max=12,
    mapping=MappingConfig(num_layers=2),
)  # fmt: skip
SMALL_D = DiscriminatorConfig(
    c_dim=3, img_resolution=16, channel_base=128, channel_max=12, mapping=MappingConfig(num_layers=2)
)
PLAIN = replace(SMALL, c_dim=0)
PLAIN_D = replace(SMALL_D, c_dim=0)


def seeded(build: type, config: Any, seed: int = 0) -> Any:
    """A network as after training: biases, noise strengths and the mean style are not at their start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(config)
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if name.endswith(("bias", "noise_strength", "w_avg")):
                    value.add_(0.3 * torch.randn(value.shape))
    return network


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(num: int, c_dim: int = 3) -> torch.Tensor:
    return torch.eye(c_dim)[torch.arange(num) % c_dim]


def shapes(network: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in network.state_dict().items()}
