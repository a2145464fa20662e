"""Tasks small enough for a test to train, with every part of an iteration that has a state."""

from __future__ import annotations

from reference_models.catalog import make_task
from reference_models.training.task import Task

# ADA, lazy regularisation of both networks and path lengths, in networks of some thousand weights.
STYLEGAN2 = {
    "generator.channel_max": 8,
    "generator.w_dim": 16,
    "generator.z_dim": 16,
    "discriminator.channel_max": 8,
    "batch": 8,
    "style_mixing_prob": 0.9,
    "pl_weight": 2.0,
    "D_reg_interval": 3,
    "G_reg_interval": 2,
    "augment": "bgc",
    "augment_p": 0.2,
    "ada_kimg": 0.5,
}


def small_task(seed: int = 0, c_dim: int = 0, **more: object) -> Task:
    """StyleGAN2 on images of 8x8."""
    overrides = {**STYLEGAN2, **more}
    return make_task("stylegan2", "tiny", img_resolution=8, c_dim=c_dim, seed=seed, overrides=overrides)


def set_words() -> list[str]:
    """The overrides of `small_task` as words of the command line."""
    return [word for name, value in STYLEGAN2.items() for word in ("--set", f"{name}={value}")]
