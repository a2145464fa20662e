"""What training does after how many images: growth, minibatches and learning rates; and images of a level.

Papers: Karras et al. 2018 (arXiv:1710.10196), section 2 and appendix A; Karras et al. 2019
(arXiv:1812.04948), appendix C. Official: tkarras/progressive_growing_of_gans@2504c3f, train.py and
dataset_tool.py; NVlabs/stylegan@1e0d5c7, training/training_loop.py. Field names are the official ones.
Differs: a minibatch smaller than the number of processes is refused, where it would have been empty.

Training stays at a level of detail for ``lod_training_kimg``, then fades in the next finer one for
``lod_transition_kimg``. Minibatch and learning rate follow the finer resolution from the start of the fade.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from evalkit.errors import UsageError
from reference_models.layers.checks import LARGEST_SIDE, check_positive, check_whole
from reference_models.layers.growing import downscale, lerp, upscale

# Values by resolution; given as a mapping, held as sorted pairs, which JSON can hold and which can be hashed.
Table = Mapping[int, float] | tuple[tuple[int, float], ...]

PROGAN_TICK_KIMG: Table = (
    (4, 160), (8, 140), (16, 120), (32, 100), (64, 80), (128, 60), (256, 40), (512, 20), (1024, 10),
)  # fmt: skip
STYLEGAN_TICK_KIMG: Table = (
    (4, 160), (8, 140), (16, 120), (32, 100), (64, 80), (128, 60), (256, 40), (512, 30), (1024, 20),
)  # fmt: skip

_WHAT = "the growing schedule"
_SMALLEST_SIDE = 4


class Stage(NamedTuple):
    """What the schedule says at one moment.

    Attributes:
        lod: Level of detail: halvings of the full resolution; a fraction fades two levels.
        resolution: Side of the finer level with influence.
        minibatch: Images of a step over all processes.
        G_lrate: Learning rate of the generator.
        D_lrate: Learning rate of the discriminator.
        tick_kimg: Thousands of images between two reports.
    """

    lod: float
    resolution: int
    minibatch: int
    G_lrate: float
    D_lrate: float
    tick_kimg: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowingSchedule:
    """The numbers of a growing training; tables go from resolution to value, the base rules elsewhere.

    Attributes:
        lod_initial_resolution: Side of the images at the start.
        lod_training_kimg: Thousands of images between two fades.
        lod_transition_kimg: Thousands of images of a fade.
        minibatch_base: Images of a step over all processes.
        minibatch_dict: The same by resolution.
        max_minibatch_per_gpu: Most images of a step per process, by resolution.
        G_lrate_base: Learning rate of the generator.
        G_lrate_dict: The same by resolution.
        D_lrate_base: Learning rate of the discriminator.
        D_lrate_dict: The same by resolution.
        lrate_rampup_kimg: Thousands of images over which both rates rise from 0; 0 for no rise.
        tick_kimg_base: Thousands of images between two reports.
        tick_kimg_dict: The same by resolution.
    """

    lod_initial_resolution: int = 4
    lod_training_kimg: float = 600
    lod_transition_kimg: float = 600
    minibatch_base: int = 16
    minibatch_dict: Table = ()
    max_minibatch_per_gpu: Table = ()
    G_lrate_base: float = 0.001
    G_lrate_dict: Table = ()
    D_lrate_base: float = 0.001
    D_lrate_dict: Table = ()
    lrate_rampup_kimg: float = 0
    tick_kimg_base: float = 160
    tick_kimg_dict: Table = PROGAN_TICK_KIMG

    def __post_init__(self) -> None:
        first = self.lod_initial_resolution
        check_whole(_WHAT, "lod_initial_resolution", first, _SMALLEST_SIDE, LARGEST_SIDE)
        check_whole(_WHAT, "minibatch_base", self.minibatch_base, 1)
        for name in ("G_lrate_base", "D_lrate_base", "tick_kimg_base"):
            check_positive(_WHAT, name, getattr(self, name))
        for name in ("lod_training_kimg", "lod_transition_kimg", "lrate_rampup_kimg"):
            if (value := getattr(self, name)) != 0 or isinstance(value, bool):
                check_positive(_WHAT, name, value)
        for field in fields(self):
            if field.name.endswith("_dict") or field.name == "max_minibatch_per_gpu":
                counts = "minibatch" in field.name
                object.__setattr__(self, field.name, _pairs(field.name, getattr(self, field.name), counts))

    @property
    def largest_minibatch(self) -> int:
        """The most images that a step can have, caps aside."""
        return max(self.minibatch_base, *(int(value) for value in dict(self.minibatch_dict).values()), 1)

    def at(self, images: float, *, resolution_log2: int, num_gpus: int = 1) -> Stage:
        """What holds after so many images.

        Args:
            images: Images that training has seen.
            resolution_log2: R, where the full resolution is 2^R.
            num_gpus: Processes, among which a minibatch is divided evenly.

        Raises:
            UsageError: The minibatch is smaller than the number of processes.
        """
        kimg = images / 1000
        period = self.lod_training_kimg + self.lod_transition_kimg
        phase = math.floor(kimg / period) if period > 0 else 0
        into = kimg - phase * period
        lod = float(resolution_log2 - (self.lod_initial_resolution.bit_length() - 1) - phase)
        if self.lod_transition_kimg > 0:
            lod -= max(into - self.lod_training_kimg, 0.0) / self.lod_transition_kimg
        lod = max(lod, 0.0)
        resolution: int = 2 ** (resolution_log2 - math.floor(lod))
        rise = min(kimg / self.lrate_rampup_kimg, 1.0) if self.lrate_rampup_kimg > 0 else 1.0
        return Stage(
            lod=lod,
            resolution=resolution,
            minibatch=self._minibatch(resolution, num_gpus),
            G_lrate=dict(self.G_lrate_dict).get(resolution, self.G_lrate_base) * rise,
            D_lrate=dict(self.D_lrate_dict).get(resolution, self.D_lrate_base) * rise,
            tick_kimg=dict(self.tick_kimg_dict).get(resolution, self.tick_kimg_base),
        )

    def check_shares(self, num_gpus: int, img_resolution: int) -> None:
        """Looks at every stage up to a resolution, so that none fails after days of training.

        Args:
            num_gpus: Processes.
            img_resolution: The full resolution.

        Raises:
            UsageError: A minibatch is smaller than the number of processes.
        """
        resolution = min(self.lod_initial_resolution, img_resolution)
        while resolution <= img_resolution:
            self._minibatch(resolution, num_gpus)
            resolution *= 2

    def _minibatch(self, resolution: int, num_gpus: int) -> int:
        given = int(dict(self.minibatch_dict).get(resolution, self.minibatch_base))
        if given < num_gpus:
            raise UsageError(
                f"{_WHAT}: the minibatch at resolution {resolution} is {given}, and {num_gpus} processes "
                f"share it; give at least {num_gpus} in minibatch_dict or minibatch_base, or start fewer "
                f"processes"
            )
        most = dict(self.max_minibatch_per_gpu).get(resolution)
        even = given - given % num_gpus
        return even if most is None else min(even, int(most) * num_gpus)


def _pairs(name: str, given: object, counts: bool) -> tuple[tuple[int, float], ...]:
    # A table as sorted pairs of a power of two and a positive number, whole where it counts images.
    try:
        table = dict(given)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise UsageError(
            f"{_WHAT}: {name} is {given!r}; give a value by resolution, such as {{64: 32, 128: 16}}"
        ) from None
    for side, value in table.items():
        whole = isinstance(side, int) and not isinstance(side, bool)
        if not whole or not _SMALLEST_SIDE <= side <= LARGEST_SIDE or side & (side - 1):
            raise UsageError(
                f"{_WHAT}: {name} has the resolution {side!r}; give powers of two from {_SMALLEST_SIDE} to "
                f"{LARGEST_SIDE}"
            )
        if counts:
            check_whole(_WHAT, f"{name}[{side}]", value, 1)
        else:
            check_positive(_WHAT, f"{name}[{side}]", value)
    return tuple(sorted(table.items()))


def resets(before: float | None, now: float) -> bool:
    """Whether the moments of the optimisers start anew.

    Args:
        before: Level of detail of the iteration before; None at the first one.
        now: Level of detail of this iteration.

    Returns:
        True at the first iteration, and at the beginning and at the end of a fade.
    """
    return before is None or math.floor(before) != math.floor(now) or math.ceil(before) != math.ceil(now)


def pyramid(image: Tensor) -> list[Tensor]:
    """An image at every level of detail: means of 2x2 pixels, rounded for storage only.

    Args:
        image: uint8 ``(c, s, s)`` or ``(n, c, s, s)``; s is a power of two from 4.

    Returns:
        uint8 images of side s, s/2 ... 4; halves are rounded to even.

    Raises:
        UsageError: It is no such image.
    """
    sides = tuple(image.shape[-2:])
    side = sides[-1] if sides else 0
    square = image.dim() in (3, 4) and sides == (side, side) and side >= _SMALLEST_SIDE
    if image.dtype != torch.uint8 or not square or side & (side - 1):
        raise UsageError(
            f"levels of detail are made of uint8 images (c, s, s) or (n, c, s, s), s a power of two from "
            f"{_SMALLEST_SIDE}; given is {image.dtype} {tuple(image.shape)}; resize the images first"
        )
    levels, fine = [image], image.float()
    while fine.shape[-1] > _SMALLEST_SIDE:
        # Means of bytes are exact in float32 down to the eighth level.
        fine = downscale(fine)
        levels.append(fine.round().clamp(0, 255).to(torch.uint8))
    return levels


def process_reals(images: Tensor, lod: float, mirror: Tensor | None = None) -> Tensor:
    """Images of the data as the discriminator sees them at a level of detail.

    Args:
        images: uint8 ``(n, c, s, s)`` of level ``floor(lod)``.
        lod: Level of detail; its fraction blends in the next coarser level.
        mirror: U(0, 1) draws, one an image, ``(n,)`` or ``(n, 1, 1, 1)``; images from 0.5 on are mirrored.
            None mirrors none.

    Returns:
        float32 ``(n, c, R, R)`` in [-1, 1], with ``R = s * 2^floor(lod)``.
    """
    level = math.floor(lod)
    x = images.float() / 127.5 - 1
    if mirror is not None:
        x = torch.where(mirror.reshape(-1, 1, 1, 1) >= 0.5, x.flip(3), x)
    if lod > level:
        x = lerp(x, upscale(downscale(x)), lod - level)
    return upscale(x, 2**level)
