"""What every training of a generator against a discriminator holds: G, D, the average of G, a precision.

How they are trained is each model's (``trainer.py``). Paper: Goodfellow et al. 2014 (arXiv:1406.2661); the
average of G: Karras et al. 2018 (arXiv:1710.10196), section A.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from reference_models.convert.configs import config_to_json
from reference_models.training.optimisers import LossScaler
from reference_models.training.precision import PrecisionPolicy


class AdversarialTask:
    """The part of `reference_models.training.task.Task` that does not depend on how the networks are trained.

    Attributes:
        model: Name in the catalogue.
        G_class: Class of G, which takes the generator config of a preset.
        D_class: Class of D, which takes its discriminator config.
        networks: ``G``, ``D`` and ``G_ema``.
        recipe: The numbers of the training.
    """

    model: str
    G_class: type[nn.Module]
    D_class: type[nn.Module]

    def __init__(self, generator: Any, discriminator: Any, recipe: Any) -> None:  # noqa: ANN401 - of each model
        """Takes networks of random weights; the average begins as the generator."""
        self.recipe = recipe
        self.img_resolution: int = generator.img_resolution
        self.img_channels: int = generator.img_channels
        self.c_dim: int = generator.c_dim
        self.G, self.D = generator.requires_grad_(False), discriminator.requires_grad_(False)
        self.G_ema = copy.deepcopy(generator).eval()
        self.networks: Mapping[str, nn.Module] = {"G": self.G, "D": self.D, "G_ema": self.G_ema}
        self.set_precision(PrecisionPolicy("float32"))

    def config(self) -> Mapping[str, Any]:
        """Configs of the networks, and the recipe."""
        return {
            "generator": config_to_json(self.G.config),
            "discriminator": config_to_json(self.D.config),
            "recipe": config_to_json(self.recipe),
        }

    def to(self, device: torch.device) -> None:
        """Moves the networks."""
        for network in self.networks.values():
            network.to(device)

    def set_precision(self, policy: PrecisionPolicy) -> None:
        """Sets the type of first-order passes."""
        self.precision = policy
        self.scaler = LossScaler(enabled=policy.scales_loss)

    def numbers(self) -> Mapping[str, float]:
        """The loss scale, by names of its own; a model adds what else it has."""
        return prefixed("scaler/", self.scaler.numbers())

    def restore_numbers(self, numbers: Mapping[str, float]) -> None:
        """Takes back what `numbers` returned."""
        self.scaler.restore_numbers(below("scaler/", numbers))


def prefixed(prefix: str, numbers: Mapping[str, float]) -> dict[str, float]:
    """Numbers with a prefix before every name."""
    return {f"{prefix}{name}": value for name, value in numbers.items()}


def below(prefix: str, numbers: Mapping[str, float]) -> dict[str, float]:
    """The numbers whose names have a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in numbers.items() if name.startswith(prefix)}
