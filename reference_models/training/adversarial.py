"""What every training of a generator against a discriminator holds: G, D, and the average of G.

How they are trained is each model's (``trainer.py``). Paper: Goodfellow et al. 2014 (arXiv:1406.2661); the
average of G: Karras et al. 2018 (arXiv:1710.10196), section A.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from reference_models.training.base import BaseTask


class AdversarialTask(BaseTask):
    """The part of `reference_models.training.task.Task` that does not depend on how the networks are trained.

    Attributes:
        G_class: Class of G, which takes the generator config of a preset.
        D_class: Class of D, which takes its discriminator config.
        networks: ``G``, ``D`` and ``G_ema``.
    """

    G_class: type[nn.Module]
    D_class: type[nn.Module]

    def __init__(self, generator: Any, discriminator: Any, recipe: Any) -> None:  # noqa: ANN401 - of each model
        """Takes networks of random weights; the average begins as the generator."""
        super().__init__(generator, recipe)
        self.G, self.D = generator.requires_grad_(False), discriminator.requires_grad_(False)
        self.G_ema = copy.deepcopy(generator).eval()
        self.networks: Mapping[str, nn.Module] = {"G": self.G, "D": self.D, "G_ema": self.G_ema}

    def parts(self) -> Mapping[str, Any]:
        """Configs of G and D."""
        return {"generator": self.G.config, "discriminator": self.D.config}
