"""The augmentation pipeline of ADA: what a discriminator is shown, real or made, of strength p.

Paper: Karras et al. 2020 (arXiv:2006.06676), sections 2.1 and 2.2 and appendix B. Official:
NVlabs/stylegan2-ada-pytorch@6f160b3, training/augment.py. For p < 1 every augmentation leaves some images as
they are, which keeps its operator on distributions invertible, so that generators do not learn to augment.

Differs: every call draws the same amount of randomness in the same order, whatever p is; an image that no
geometric augmentation was drawn for is not resampled, so that p = 0 is the identity to the last bit. See also
`geometric`, `lookup`, `colour` and `corruptions`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from evalkit.errors import UsageError
from reference_models.training.augmentation import colour, corruptions, geometric, lookup
from reference_models.training.augmentation.config import DEFAULT_SET, SETS, AugmentConfig
from reference_models.training.augmentation.draws import Draws, draw


class AugmentPipe(nn.Module):
    """Augments batches; has no parameters, and no state that a checkpoint would need.

    Attributes:
        config: What it does.
    """

    _sym6: Tensor

    def __init__(self, config: AugmentConfig | None = None) -> None:
        """Takes a config; the set ``bgc`` by default."""
        super().__init__()
        self.config = SETS[DEFAULT_SET] if config is None else config
        self.register_buffer("_sym6", lookup.sym6(), persistent=False)

    def forward(self, images: Tensor, *, p: float | Tensor, generator: torch.Generator) -> Tensor:
        """Augments each image on its own.

        Args:
            images: Floats ``(n, c, r, r)`` in [-1, 1].
            p: Strength; above 1 is as 1.
            generator: Source of everything random, on any device.

        Returns:
            Images of the same shape and type. They can be differentiated by ``images`` any number of times.

        Raises:
            UsageError: The images are not square, the strength is negative, or colours are to be changed
                where there are neither one nor three channels.
        """
        draws = draw(len(images), generator)
        noise = None
        if self.config.any_of("noise"):
            noise = torch.randn(images.shape, generator=generator, device=generator.device)
        return self.apply_draws(images, p=p, draws=draws, noise=noise)

    def apply_draws(self, images: Tensor, *, p: float | Tensor, draws: Draws, noise: Tensor | None) -> Tensor:
        """`forward` with what was drawn before.

        Args:
            images: Floats ``(n, c, r, r)``.
            p: Strength.
            draws: Of this batch.
            noise: White noise of the shape of the images; not used where noise is off.

        Returns:
            Images of the same shape and type.

        Raises:
            UsageError: As `forward` says.
        """
        _check(images)
        strength = _strength(p)
        if strength == 0:
            return images
        # Half precision is too coarse for positions, and autocast would choose it for the filters.
        with torch.autocast(images.device.type, enabled=False):
            wide = images.float() if images.element_size() < 4 else images
            return self._augment(wide, strength, draws, noise).to(images.dtype)

    def _augment(self, images: Tensor, p: float, draws: Draws, noise: Tensor | None) -> Tensor:
        config, side = self.config, images.shape[-1]
        blitting = geometric.blit_inverse(config, draws, p, side)
        general = geometric.general_inverse(config, draws, p, side)
        images = self._move(images, blitting, general)
        matrix = colour.colour_matrix(config, draws, p)
        if matrix is not None:
            images = colour.recolour(images, matrix)
        gains = corruptions.band_gains(config, draws, p)
        if gains is not None:
            images = corruptions.amplify(images, gains)
        if noise is not None and config.any_of("noise"):
            sigma = corruptions.noise_sigma(config, draws, p).to(images)
            images = images + noise.to(images) * sigma[:, None, None, None]
        if config.any_of("cutout"):
            images = images * corruptions.cutout_mask(config, draws, p, side).to(images)
        return images

    def _move(self, images: Tensor, blitting: Tensor | None, general: Tensor | None) -> Tensor:
        # Only what is moved between pixels is resampled; what is moved by whole pixels is copied.
        one = torch.eye(3, dtype=torch.float64)
        inverse = one.expand(len(images), 3, 3) if blitting is None else blitting
        warped = torch.zeros(len(images), dtype=torch.bool)
        if general is not None:
            warped = (general != one).flatten(1).any(dim=1)
            inverse = inverse @ general
        copied = ~warped & (inverse != one).flatten(1).any(dim=1)
        parts, places = [], []
        for which, move in ((warped, self._warp), (copied, lookup.blit), (~warped & ~copied, None)):
            place = which.nonzero().flatten()
            if len(place) == 0:
                continue
            part = images if len(place) == len(images) else images.index_select(0, place.to(images.device))
            parts.append(part if move is None else move(part, inverse[place]))
            places.append(place)
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts).index_select(0, torch.cat(places).argsort().to(images.device))

    def _warp(self, images: Tensor, inverse: Tensor) -> Tensor:
        return lookup.warp(images, inverse, self._sym6)


def _check(images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point() or images.shape[2] != images.shape[3]:
        raise UsageError(
            f"augmentation takes square images as floats of shape (n, c, r, r); given are {images.dtype} of "
            f"shape {tuple(images.shape)}: scale bytes to [-1, 1], and pad or crop to a square"
        )
    if images.shape[2] < 2:
        side = images.shape[2]
        raise UsageError(f"augmentation takes images of 2 pixels or more a side; these have {side}")


def _strength(p: float | Tensor) -> float:
    value = float(p)
    if not (value >= 0 and math.isfinite(value)):
        raise UsageError(f"the strength p of augmentation is {value}; give 0 (nothing) to 1 (always)")
    return min(value, 1.0)
