"""Tensors of a VAE with a noise contrastive prior, for other programs: no official file exists.

Paper: Aneja et al. 2021 (arXiv:2010.02917), without official code. Names are this package's: those of the VAE
after ``vae.``, of an NVAE the official ones, and ``classifiers.GROUP.``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from reference_models.convert.state import checked_state, shapes_of
from reference_models.ncp_vae.config import NetworkConfig
from reference_models.ncp_vae.model import Network


def to_official(state: Mapping[str, object], config: NetworkConfig) -> dict[str, Tensor]:
    """A state dict of this package, checked.

    Raises:
        CheckpointError: Tensors are missing, left over, of another shape, or not finite; it names them.
    """
    with torch.device("meta"):
        wanted = shapes_of(Network(config))
    return checked_state(state, wanted, "a VAE with a noise contrastive prior")
