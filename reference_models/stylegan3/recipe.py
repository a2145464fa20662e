"""How StyleGAN3 is trained, as numbers: one recipe a preset, by the official option names.

Paper: Karras et al. 2021 (arXiv:2106.12423), the appendix on implementation details. Official:
NVlabs/stylegan3@c233a91, train.py and docs/configs.md. Deviation: ``tiny`` and ``tiny-r`` are this project's
own, for two cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reference_models.layers.checks import check_range
from reference_models.stylegan2 import recipe as stylegan2


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe(stylegan2.Recipe):
    """StyleGAN2's without path lengths and mixed styles, behind a blur that fades.

    Attributes:
        blur_init_sigma: Sigma of the blur of all that D sees, at the start; 0 is no blur.
        blur_fade_kimg: Thousands of images until it is gone; None is ``batch * 200 / 32``.
    """

    G_lrate: float = 0.0025
    G_reg_interval: int | None = None
    style_mixing_prob: float = 0.0
    pl_weight: float = 0.0
    blur_init_sigma: float = 0.0
    blur_fade_kimg: float | None = None

    def __post_init__(self) -> None:
        super(Recipe, self).__post_init__()
        check_range("the recipe", "blur_init_sigma", self.blur_init_sigma)
        if self.blur_fade_kimg is not None:
            check_range("the recipe", "blur_fade_kimg", self.blur_fade_kimg)

    @property
    def fade_kimg(self) -> float:
        """Thousands of images until the blur is gone."""
        return self.batch * 200 / 32 if self.blur_fade_kimg is None else self.blur_fade_kimg


def _published(gamma: float, *, radial: bool, **changes: float) -> Recipe:
    return Recipe(r1_gamma=gamma, blur_init_sigma=10.0 if radial else 0.0, **changes)  # type: ignore[arg-type]


def _tiny(*, blur: float) -> Recipe:
    # Minutes on two cores are a few thousand steps: rates are high, batches small.
    return Recipe(
        batch=16,
        G_lrate=0.006,
        D_lrate=0.006,
        r1_gamma=3.0,
        ema_kimg=10.0,
        augment="none",
        blur_init_sigma=blur,
        blur_fade_kimg=5.0,
    )


# R1's weight at a batch of 32, by resolution; that of the paper at 1024.
_GAMMA = {1024: 32.8, 512: 8.0, 256: 2.0}
_HALF = {"batch": 64, "D_lrate": 0.0025}

RECIPES: Mapping[str, Recipe] = {
    "stylegan3-t": _published(_GAMMA[1024], radial=False),
    "stylegan3-r": _published(_GAMMA[1024], radial=True),
    **{
        f"stylegan3-{kind}-{side}": _published(gamma, radial=kind == "r")
        for kind in "tr"
        for side, gamma in _GAMMA.items()
    },
    **{f"stylegan3-{kind}-256-cbase16384": _published(1.0, radial=kind == "r", **_HALF) for kind in "tr"},
    "tiny": _tiny(blur=0.0),
    "tiny-r": _tiny(blur=1.0),
}
