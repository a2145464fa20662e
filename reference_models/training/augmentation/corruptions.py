"""Image-space filtering, additive noise and cutout.

Paper: Karras et al. 2020 (arXiv:2006.06676), appendix B. Filtering: each of four bands in turn is amplified
by a factor of its own, and all are scaled so that an image of power 1/f keeps its power. Noise: white, of a
half-normal standard deviation. Cutout: a square, anywhere, becomes 0.

Official: NVlabs/stylegan2-ada-pytorch@6f160b3, training/augment.py. Differs: images smaller than the filter's
reach are reflected as often as it takes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from reference_models.training.augmentation.config import AugmentConfig
from reference_models.training.augmentation.draws import Draws
from reference_models.training.augmentation.lookup import reflected
from reference_models.training.augmentation.wavelets import BAND_POWER, band_filters


def band_gains(config: AugmentConfig, draws: Draws, p: float) -> Tensor | None:
    """By what each band is multiplied.

    Args:
        config: Augmentations.
        draws: Of the batch.
        p: Strength, 0 to 1.

    Returns:
        float64 ``(n, 4)``, from the lowest band to the highest; None where filtering is off.
    """
    if not config.any_of("imgfilter"):
        return None
    power = torch.tensor(BAND_POWER, dtype=torch.float64)
    gains = torch.ones(len(draws.normals), len(power), dtype=torch.float64)
    for band in range(len(power)):
        chosen = draws.chosen(f"band{band}", p * config.imgfilter)
        factors = torch.ones_like(gains)
        factors[:, band] = torch.exp2(chosen * draws.normal(f"band{band}") * config.imgfilter_std)
        gains = gains * factors / (factors.square() @ power).sqrt()[:, None]
    return gains


def amplify(images: Tensor, gains: Tensor) -> Tensor:
    """Multiplies the bands of images ``(n, c, r, r)`` by ``(n, 4)``, along both axes."""
    n, c = images.shape[:2]
    taps = (gains @ torch.as_tensor(band_filters())).to(device=images.device, dtype=images.dtype)
    taps = taps.repeat_interleave(c, dim=0)[:, None]
    reach = taps.shape[-1] // 2
    index = torch.arange(-reach, images.shape[-1] + reach)[None]
    planes = reflected(images, index, index).flatten(0, 1)[None]
    planes = functional.conv2d(planes, taps[:, :, None], groups=n * c)
    return functional.conv2d(planes, taps[:, :, :, None], groups=n * c).view_as(images)


def noise_sigma(config: AugmentConfig, draws: Draws, p: float) -> Tensor:
    """Standard deviations of the noise, float64 ``(n,)``; 0 where there is none."""
    return draws.chosen("noise", p * config.noise) * draws.normal("noise").abs() * config.noise_std


def cutout_mask(config: AugmentConfig, draws: Draws, p: float, side: int) -> Tensor:
    """What cutout multiplies images of a side with.

    Args:
        config: Augmentations.
        draws: Of the batch.
        p: Strength, 0 to 1.
        side: Of the images, in pixels.

    Returns:
        float64 ``(n, 1, side, side)``: 0 in the square, 1 elsewhere.
    """
    place = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    chosen = draws.chosen("cutout", p * config.cutout)
    x, y = (
        (place - draws.uniform(f"cutout_{axis}")[:, None]).abs() < config.cutout_size / 2 for axis in "xy"
    )
    inside = y[:, :, None] & x[:, None, :] & chosen[:, None, None]
    return (~inside).double()[:, None]
