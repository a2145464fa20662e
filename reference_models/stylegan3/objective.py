"""StyleGAN3's training objective: StyleGAN2's without path length and style mixing, behind a fading blur.

Paper: Karras et al. 2021 (arXiv:2106.12423), the appendix on implementation details: everything that the
discriminator of configuration R sees is blurred at first. Official: NVlabs/stylegan3@c233a91,
training/loss.py and train.py. The losses themselves are those of `reference_models.stylegan2.objective`.
Differs: nothing.
"""

from __future__ import annotations

from torch import Tensor

from evalkit.errors import UsageError
from reference_models.layers.mapping import StyleGenerator
from reference_models.stylegan2.objective import (
    DiscriminatorLoss,
    Fake,
    GeneratorLoss,
    R1Loss,
    blur,
    blur_taps,
    discriminator_loss,
    generator_loss,
    r1_loss,
)

__all__ = [
    "DiscriminatorLoss",
    "Fake",
    "GeneratorLoss",
    "R1Loss",
    "blur",
    "blur_sigma",
    "blur_taps",
    "discriminator_loss",
    "generate",
    "generator_loss",
    "r1_loss",
]


def blur_sigma(images_seen: int, *, sigma0: float, fade_kimg: float) -> float:
    """Sigma of the blur, which fades linearly.

    Args:
        images_seen: Images that training has seen.
        sigma0: Sigma at the start: 10 for configuration R, 0 for T.
        fade_kimg: Thousands of images until it is gone: 200 at a batch of 32; 0 is no blur at all.

    Raises:
        UsageError: A negative number.
    """
    if images_seen < 0 or sigma0 < 0 or fade_kimg < 0:
        raise UsageError(
            f"the blur fades from sigma0 >= 0 over fade_kimg >= 0; given are images_seen={images_seen}, "
            f"sigma0={sigma0}, fade_kimg={fade_kimg}"
        )
    return max(1 - images_seen / (fade_kimg * 1000), 0) * sigma0 if fade_kimg > 0 else 0.0


def generate(
    generator: StyleGenerator, z: Tensor, c: Tensor | None = None, *, update_emas: bool = False
) -> Fake:
    """Images as training sees them.

    Args:
        generator: StyleGAN3's.
        z: ``(n, z_dim)``.
        c: One-hot ``(n, c_dim)``, for a conditional network.
        update_emas: Whether running means take in this batch: in the discriminator's pass, once.
    """
    ws: Tensor = generator.mapping(z, c, update_emas=update_emas)
    return Fake(generator.synthesis(ws, update_emas=update_emas), ws)
