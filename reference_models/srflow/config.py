"""Sizes of SRFlow by the official option names, and published presets.

Paper: Lugmayr et al. 2020 (arXiv:2006.14200), section 4; Kingma & Dhariwal 2018 (Glow, arXiv:1807.03039) for
the network without a condition. Official: andreas128/SRFlow@5a007ad, confs/*.yml. Deviations: other powers of
two than 4 and 8 as scale, grey images (``img_channels`` 1), the permutation's LU form and the unconditional
network (``conditional`` off), none of which a published network has; sizes are checked when a config is made.
Own presets are ``cifar10-4x``, ``tiny`` and ``tiny-glow``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evalkit.errors import UsageError
from reference_models.layers.checks import (
    LARGEST_SIDE,
    check_choice,
    check_flags,
    check_positive,
    check_whole,
)
from reference_models.presets import Single

_WHAT = "SRFlow"
_SCALES = (2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """What the network is made of.

    Attributes:
        scale: How often the large image is as wide and high as the small one: 2, 4, 8 or 16. Without a
            condition it says nothing.
        img_resolution: Side of the large images that it is trained on. With a condition every size that
            `multiple` divides can be encoded and decoded.
        img_channels: 3, or 1 for grey.
        nf: Features of the encoder.
        nb: Residual-in-residual dense blocks of the encoder.
        gc: Features that a convolution of a dense block adds.
        blocks: Blocks of the encoder, counted from 0, whose outputs are stacked into the condition, in this
            order.
        K: Flow steps with coupling a level.
        L: Levels, each at half the size of the one before.
        n_noaff: Transition steps a level: flow steps without coupling.
        hidden: Features of the networks that compute shifts and scales.
        affine_eps: Least scale of injector and coupling.
        quant: Levels of the noise that encoding may add, ``u / quant``; None for 255. Training adds none.
        lu: Whether the 1x1 convolutions are stored as their LU factors.
        conditional: Whether there is a small image. Without one there are no encoder and no injectors, and
            couplings see one half of the channels alone: Glow, with this model's coupling and levels.
    """

    scale: int = 4
    img_resolution: int = 160
    img_channels: int = 3
    nf: int = 64
    nb: int = 23
    gc: int = 32
    blocks: tuple[int, ...] = (1, 8, 15, 22)
    K: int = 16
    L: int = 3
    n_noaff: int = 2
    hidden: int = 64
    affine_eps: float = 1e-4
    quant: int | None = 32
    lu: bool = False
    conditional: bool = True

    def __post_init__(self) -> None:
        check_choice(_WHAT, "img_channels", str(self.img_channels), ("1", "3"))
        check_choice(_WHAT, "scale", str(self.scale), tuple(map(str, _SCALES)))
        check_whole(_WHAT, "img_resolution", self.img_resolution, 2, LARGEST_SIDE)
        for name in ("nf", "nb", "gc", "K", "hidden"):
            check_whole(_WHAT, name, getattr(self, name), 1)
        check_whole(_WHAT, "n_noaff", self.n_noaff, 0)
        check_positive(_WHAT, "affine_eps", self.affine_eps)
        if self.quant is not None:
            check_whole(_WHAT, "quant", self.quant, 2)
        check_flags(_WHAT, lu=self.lu, conditional=self.conditional)
        # A level's condition is a feature of its size, and the smallest is half the small image.
        most = self.scale.bit_length() if self.conditional else LARGEST_SIDE.bit_length() - 1
        check_whole(_WHAT, "L", self.L, 1, most)
        if self.img_resolution % self.multiple:
            raise UsageError(
                f"{_WHAT}: img_resolution is {self.img_resolution}; give a multiple of {self.multiple}, "
                f"which {self.L} levels{f' and a scale of {self.scale}' if self.conditional else ''} ask for"
            )
        self._check_blocks()

    @property
    def multiple(self) -> int:
        """What sides of large images are multiples of: of ``2^L``, and of the scale where there is one."""
        return max(1 << self.L, self.scale if self.conditional else 1)

    @property
    def levels_of_noise(self) -> int:
        """Levels of the noise that encoding may add."""
        return 255 if self.quant is None else self.quant

    @property
    def cond_channels(self) -> int:
        """Features of a condition: the encoder's at that size, and those of the stacked blocks."""
        return (len(self.blocks) + 1) * self.nf if self.conditional else 0

    def splits_after(self, level: int) -> bool:
        """Whether half of the channels leave after a level, counted from 1: not after the last two."""
        return level < self.L - 1

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Shapes of the latents of one image, in forward order: those of the splits, then the last.

        Args:
            height: Of the large image.
            width: Of the large image.

        Raises:
            UsageError: A side is no multiple of `multiple`.
        """
        if height % self.multiple or width % self.multiple or not height or not width:
            raise UsageError(
                f"{_WHAT}: images of {width}x{height} cannot be encoded; sides are multiples of "
                f"{self.multiple} here: crop or pad them"
            )
        shapes, channels = [], self.img_channels
        for level in range(1, self.L + 1):
            channels *= 4
            if self.splits_after(level):
                left = channels // 2
                shapes.append((left, height >> level, width >> level))
                channels -= left
        return [*shapes, (channels, height >> self.L, width >> self.L)]

    def _check_blocks(self) -> None:
        if not isinstance(self.blocks, tuple):
            raise UsageError(f"{_WHAT}: blocks is {self.blocks!r}; give whole numbers, such as (1, 3, 5)")
        for index in self.blocks:
            check_whole(_WHAT, "an entry of blocks", index, 0, self.nb - 1)
        if len(self.blocks) != len(set(self.blocks)):
            raise UsageError(f"{_WHAT}: blocks is {self.blocks}; give each block once")


PRESETS: Mapping[str, Single[NetworkConfig]] = {
    "celeba-8x": Single(
        network=NetworkConfig(scale=8, nb=8, blocks=(1, 3, 5, 7), L=4),
        about="CelebA, x8 to 160x160, 40 million parameters",
    ),
    "df2k-4x": Single(
        network=NetworkConfig(scale=4),
        about="DIV2K and Flickr2K, x4, crops of 160x160, 40 million parameters",
    ),
    "df2k-8x": Single(
        network=NetworkConfig(scale=8, blocks=(1, 3, 5, 7), L=4),
        about="DIV2K and Flickr2K, x8, crops of 160x160, 51 million parameters",
    ),
    "cifar10-4x": Single(
        network=NetworkConfig(
            img_resolution=32, nf=32, nb=8, gc=16, blocks=(1, 3, 5, 7), K=8, L=3, hidden=64
        ),
        about="CIFAR-10, x4 to 32x32, not published",
    ),
    "tiny": Single(
        network=NetworkConfig(img_resolution=32, nf=16, nb=2, gc=8, blocks=(0, 1), K=4, L=3, hidden=16),
        about="x4 to 32x32, for tests and for minutes on a processor",
    ),
    "tiny-glow": Single(
        network=NetworkConfig(img_resolution=32, K=4, L=3, hidden=32, conditional=False),
        about="32x32 without a small image (Glow), for tests and for minutes on a processor",
    ),
}
