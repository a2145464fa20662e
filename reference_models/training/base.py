"""What every task holds, whatever it trains: networks by name, a recipe, a precision and its loss scale."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from reference_models.convert.configs import config_to_json
from reference_models.training.optimisers import LossScaler
from reference_models.training.precision import PrecisionPolicy


class BaseTask(ABC):
    """The part of `reference_models.training.task.Task` that is the same for all.

    Attributes:
        model: Name in the catalogue.
        networks: By name.
        recipe: The numbers of the training.
        img_resolution: Side of the images.
        img_channels: 3, or 1 for grey.
        c_dim: Classes.
    """

    model: str
    networks: Mapping[str, nn.Module]

    def __init__(self, sampled: Any, recipe: Any) -> None:  # noqa: ANN401 - of each model
        """Takes the network that is sampled from, for its sizes, and the recipe."""
        self.recipe = recipe
        self.img_resolution: int = sampled.img_resolution
        self.img_channels: int = sampled.img_channels
        self.c_dim: int = sampled.c_dim
        self.set_precision(PrecisionPolicy("float32"))

    @abstractmethod
    def parts(self) -> Mapping[str, Any]:
        """Configs of the networks, by what presets call them."""

    def config(self) -> Mapping[str, Any]:
        """Configs of the networks, and the recipe."""
        found = {name: config_to_json(config) for name, config in self.parts().items()}
        return {**found, "recipe": config_to_json(self.recipe)}

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
