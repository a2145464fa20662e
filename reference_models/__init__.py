"""Reference models: the published networks, number for number, and the official checkpoints they read.

    import reference_models
    model = reference_models.build("stylegan3", preset="tiny")
    model = reference_models.load_checkpoint("stylegan2-ffhq-1024x1024.pkl")
    images = model.sample(np.arange(64), truncation_psi=0.7)

Knows images and sources; knows no metric, record or table. Importing it imports no torch: a name brings what
it
needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reference_models.catalog import MODELS as MODELS
    from reference_models.catalog import build as build
    from reference_models.catalog import model_rows as model_rows
    from reference_models.loading import export_state_dict as export_state_dict
    from reference_models.loading import load_checkpoint as load_checkpoint
    from reference_models.loading import open_model as open_model
    from reference_models.loading import save_checkpoint as save_checkpoint

_HOMES = {
    "MODELS": "reference_models.catalog",
    "build": "reference_models.catalog",
    "export_state_dict": "reference_models.loading",
    "load_checkpoint": "reference_models.loading",
    "model_rows": "reference_models.catalog",
    "open_model": "reference_models.loading",
    "save_checkpoint": "reference_models.loading",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(
            f"module 'reference_models' has no attribute {name!r}; it has {', '.join(_HOMES)}"
        )
    return getattr(importlib.import_module(_HOMES[name]), name)
