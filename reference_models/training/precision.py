"""The type that first-order passes compute in: float32, or a half type for what tolerates it.

Mixed precision after Micikevicius et al. 2018 (arXiv:1710.03740): weights, gradients and the optimiser stay
float32, convolutions and products run in the half type. Passes that a gradient penalty is taken of stay
float32: their second derivatives overflow float16 and lose their digits in bfloat16.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch

from evalkit.errors import UsageError
from reference_models.layers.checks import check_choice

PRECISIONS = ("float32", "bf16", "fp16")
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class PrecisionPolicy:
    """One of `PRECISIONS`.

    Attributes:
        name: ``float32``, ``bf16`` or ``fp16``.

    Raises:
        UsageError: Another name.
    """

    name: str = "float32"

    def __post_init__(self) -> None:
        check_choice("training", "precision", self.name, PRECISIONS)

    @property
    def scales_loss(self) -> bool:
        """Whether gradients would vanish without scaling the loss: float16 has five bits of exponent."""
        return self.name == "fp16"

    def first_order(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        """Where the half type is used on ``device``.

        Raises:
            UsageError: float16 was asked for on a CPU, whose convolutions do not have it.
        """
        if self.name == "float32":
            return contextlib.nullcontext()
        if self.name == "fp16" and device.type == "cpu":
            raise UsageError("fp16 trains on GPUs alone; give --precision bf16 or float32 for the CPU")
        return torch.autocast(device.type, dtype=_TYPES[self.name])
