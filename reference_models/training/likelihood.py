"""What every training of one network by its likelihood holds: the network, and its average, if any.

What an iteration does is each model's (``trainer.py``). Such models learn no labels, and mirror images at
random where their papers do.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from reference_models.training.base import BaseTask


class LikelihoodTask(BaseTask):
    """The part of `reference_models.training.task.Task` that does not depend on how the network is trained.

    Attributes:
        averaged: Whether an average of the parameters is kept and sampled from.
        network: What is trained.
        networks: ``G_ema``, which is sampled from, and before it ``G``, the network, where that is another.
        batch: Images of an iteration, over all processes.
    """

    averaged: ClassVar[bool]
    mirror_doubles = False

    def __init__(self, network: Any, recipe: Any) -> None:  # noqa: ANN401 - of each model
        """Takes a network of random weights; the average begins as the network."""
        super().__init__(network, recipe)
        self.network = network
        self.G_ema: Any = copy.deepcopy(network).requires_grad_(False).eval() if self.averaged else network
        self.networks: Mapping[str, nn.Module] = {"G_ema": self.G_ema}
        if self.averaged:
            self.networks = {"G": network, **self.networks}
        self.batch: int = recipe.batch
        self._compiled: Any = network

    def parts(self) -> Mapping[str, Any]:
        """Config of the network."""
        return {"network": self.network.config}

    def compile(self) -> None:
        """Compiles the passes of the network."""
        self._compiled = torch.compile(self.network)
