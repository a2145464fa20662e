"""StyleGAN2's training objective as pure functions: losses, R1, path length, style mixing, blur.

Papers: Karras et al. 2020 (arXiv:1912.04958), section 3.2 (path length regularisation) and appendix B;
Goodfellow et al. 2014 (the non-saturating loss); Mescheder et al. 2018 (R1); Karras et al. 2019 (style
mixing); Karras et al. 2021 (arXiv:2106.12423), the appendix (the blur). Official: NVlabs/stylegan3@c233a91,
training/loss.py. Every loss is one number a sample, to be averaged over the batch and multiplied by the
interval of lazy regularisation by whoever trains. Differs: draws come from the caller; nothing is stored or
reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from evalkit.errors import UsageError
from reference_models.layers.mapping import StyleGenerator
from reference_models.ops import filter2d
from reference_models.stylegan2.layers import Generators
from reference_models.training.gan_losses import logistic_fake, logistic_real, non_saturating_generator
from reference_models.training.gan_regularisers import path_lengths, squared_gradient

# Images and labels to logits: a discriminator, or one behind augmentations.
Judge = Callable[[Tensor, Tensor | None], Tensor]

MIXING_PROBABILITY = 0.9
PATH_LENGTH_WEIGHT = 2.0
PATH_LENGTH_DECAY = 0.01
# Path lengths are taken of the first 1 / so many latents of a batch.
PATH_LENGTH_BATCH_SHRINK = 2


# -------------------------------------------------------------------------------------------- making images


class Mixing(NamedTuple):
    """Style mixing of a batch.

    Attributes:
        z: Second latents ``(n, z_dim)``.
        cutoff: From this entry of w on, styles are those of ``z``; num_ws mixes nothing.
    """

    z: Tensor
    cutoff: int


class Fake(NamedTuple):
    """Generated images and the styles they were made of.

    Attributes:
        img: ``(n, c, h, w)``.
        ws: ``(n, num_ws, w_dim)``.
    """

    img: Tensor
    ws: Tensor


def mixing_cutoff(coin: float, index: int, num_ws: int, probability: float = MIXING_PROBABILITY) -> int:
    """The crossover that two draws amount to.

    Args:
        coin: Uniform in [0, 1).
        index: Uniform in 1 ... num_ws - 1.
        num_ws: Entries of w.
        probability: Of mixing at all.

    Returns:
        ``index`` where ``coin`` says to mix, else ``num_ws``.
    """
    return index if coin < probability else num_ws


def map_styles(
    generator: StyleGenerator,
    z: Tensor,
    c: Tensor | None = None,
    *,
    mixing: Mixing | None = None,
    update_emas: bool = False,
) -> Tensor:
    """Styles ``(n, num_ws, w_dim)`` of latents; only those of ``z`` itself enter the running mean."""
    ws: Tensor = generator.mapping(z, c, update_emas=update_emas)
    if mixing is None or mixing.cutoff >= generator.num_ws:
        return ws
    if mixing.cutoff < 1:
        raise UsageError(
            f"style mixing crosses over at an entry of w from 1 to {generator.num_ws - 1}; given is "
            f"{mixing.cutoff}"
        )
    second: Tensor = generator.mapping(mixing.z, c)
    return torch.cat([ws[:, : mixing.cutoff], second[:, mixing.cutoff :]], dim=1)


def generate(
    generator: StyleGenerator,
    z: Tensor,
    c: Tensor | None = None,
    *,
    mixing: Mixing | None = None,
    noise: Generators = None,
    update_emas: bool = False,
) -> Fake:
    """Images as training sees them: fresh noise, mixed styles.

    Args:
        generator: StyleGAN2's.
        z: ``(n, z_dim)``.
        c: One-hot ``(n, c_dim)``, for a conditional network.
        mixing: Second latents and crossover.
        noise: Source of the noise; None is torch's default generator.
        update_emas: Whether the running mean of w takes in this batch: in the discriminator's pass, once.
    """
    ws = map_styles(generator, z, c, mixing=mixing, update_emas=update_emas)
    return Fake(generator.synthesis(ws, noise_mode="random", generator=noise), ws)


# --------------------------------------------------------------------------------------------------- losses


class GeneratorLoss(NamedTuple):
    """One number a sample: ``loss`` and ``logits``, both ``(n, 1)``."""

    loss: Tensor
    logits: Tensor


class DiscriminatorLoss(NamedTuple):
    """Both terms and their logits, all ``(n, 1)``."""

    fake_loss: Tensor
    real_loss: Tensor
    fake_logits: Tensor
    real_logits: Tensor

    @property
    def loss(self) -> Tensor:
        """Both terms, sample by sample."""
        return self.fake_loss + self.real_loss


class R1Loss(NamedTuple):
    """``loss = gamma / 2 * penalty``, both ``(n,)``, and the logits ``(n, 1)``."""

    loss: Tensor
    penalty: Tensor
    logits: Tensor


class PathLengthLoss(NamedTuple):
    """``loss = weight * penalty``, both ``(n,)``, and the new running mean of lengths, detached."""

    loss: Tensor
    penalty: Tensor
    mean: Tensor


def generator_loss(
    discriminator: Judge, img: Tensor, c: Tensor | None = None, *, blur_sigma: float = 0.0
) -> GeneratorLoss:
    """``-log sigmoid(D(G(z)))``, the non-saturating loss.

    Args:
        discriminator: Images and labels to logits.
        img: Generated images ``(n, c, h, w)``.
        c: Their labels.
        blur_sigma: Of the blur of what the discriminator sees.
    """
    logits: Tensor = discriminator(blur(img, blur_sigma), c)
    return GeneratorLoss(non_saturating_generator(logits), logits)


def discriminator_loss(
    discriminator: Judge,
    fake: Tensor,
    real: Tensor,
    fake_c: Tensor | None = None,
    real_c: Tensor | None = None,
    *,
    blur_sigma: float = 0.0,
) -> DiscriminatorLoss:
    """``-log(1 - sigmoid(D(G(z)))) - log sigmoid(D(x))``; the batches are judged one after the other.

    Args:
        discriminator: Images and labels to logits.
        fake: Generated images, best detached.
        real: Images of the data, in [-1, 1].
        fake_c: Labels of ``fake``.
        real_c: Labels of ``real``.
        blur_sigma: Of the blur of what the discriminator sees.
    """
    fake_logits: Tensor = discriminator(blur(fake, blur_sigma), fake_c)
    real_logits: Tensor = discriminator(blur(real, blur_sigma), real_c)
    return DiscriminatorLoss(logistic_fake(fake_logits), logistic_real(real_logits), fake_logits, real_logits)


def r1_loss(
    discriminator: Judge,
    real: Tensor,
    c: Tensor | None = None,
    *,
    gamma: float,
    blur_sigma: float = 0.0,
) -> R1Loss:
    """Squared gradient of the logits with respect to real images, differentiable once more.

    Args:
        discriminator: Images and labels to logits.
        real: Images of the data ``(n, c, h, w)``, before the blur, through which the gradient passes.
        c: Their labels.
        gamma: Weight.
        blur_sigma: Of the blur of what the discriminator sees.
    """
    real = real.detach().requires_grad_(True)
    logits: Tensor = discriminator(blur(real, blur_sigma), c)
    penalty = squared_gradient(logits, real)
    return R1Loss(penalty * (gamma / 2), penalty, logits)


def path_length_loss(
    fake: Fake,
    noise: Tensor,
    mean: Tensor,
    *,
    weight: float = PATH_LENGTH_WEIGHT,
    decay: float = PATH_LENGTH_DECAY,
) -> PathLengthLoss:
    """How far the length of ``J^T y`` is from its running mean, J being the Jacobian of the image.

    Args:
        fake: Images with the graph back to their styles.
        noise: Standard normal ``(n, c, h, w)``; it is divided by the root of the number of pixels here.
        mean: Running mean of lengths, a scalar; the new one enters the penalty, and gradients with it.
        weight: Of the penalty.
        decay: Share of the new mean.

    Raises:
        UsageError: The noise has another shape than the images.
    """
    found = path_lengths(fake.img, fake.ws, noise, mean, decay=decay)
    return PathLengthLoss(found.penalty * weight, found.penalty, found.mean)


# ----------------------------------------------------------------------------------------------------- blur


def blur_taps(sigma: float) -> Tensor | None:
    """Taps ``2^(-(k / sigma)^2)`` for ``|k| <= floor(3 sigma)``, of unit sum; None where only one is left.

    Raises:
        UsageError: Sigma is negative or not finite.
    """
    if not math.isfinite(sigma) or sigma < 0:
        raise UsageError(f"the blur's sigma is {sigma}; give 0 (no blur) or more")
    radius = math.floor(3 * sigma)
    if radius == 0:
        return None
    k = torch.arange(-radius, radius + 1, dtype=torch.float64, device="cpu")
    taps = torch.exp2(-(k / sigma).square())
    return (taps / taps.sum()).float()


def blur(img: Tensor, sigma: float) -> Tensor:
    """Blurs ``(n, c, h, w)`` along both axes with zeros around it; sigma 0 leaves it as it is."""
    taps = blur_taps(sigma)
    return img if taps is None else filter2d(img, taps.to(img.device))
