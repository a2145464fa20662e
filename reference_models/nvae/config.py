"""Sizes of NVAE: configs by the official argument names, published presets, and what cells are made of.

Paper: Vahdat & Kautz 2020 (arXiv:2007.03898), appendix A. Official: NVlabs/NVAE@9fc1a28, train.py, utils.py
and README.md. Deviations: ``binary`` and the size of images take the place of the official ``dataset``;
recipes of cells that name an operation which nobody wrote (``res_mbconv9``) do not exist here; grey images
with a mixture (``img_channels`` 1, not binary) and ``tiny`` are this project's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from evalkit.errors import UsageError
from reference_models.layers.checks import check_choice, check_flags, check_side, check_whole
from reference_models.presets import Single

# Rows and columns of a binary image that are counted: 28x28 pixels in a grid of 32x32.
BINARY_PIXELS = slice(2, 30)
BITS = (8, 5)
OPERATION = re.compile(r"mconv_e(?P<expansion>\d+)k(?P<kernel>\d+)g(?P<groups>\d+)")

_RES, _RES5 = "res_bnswish", "res_bnswish5"
_MB6, _MB3 = ("mconv_e6k5g0",), ("mconv_e3k5g0",)


def _recipe(
    encoder: tuple[str, ...], decoder: tuple[str, ...], pre: tuple[str, ...], post: tuple[str, ...]
) -> Mapping[str, tuple[str, ...]]:
    return {
        **dict.fromkeys(("normal_enc", "down_enc"), encoder),
        **dict.fromkeys(("normal_dec", "up_dec"), decoder),
        **dict.fromkeys(("normal_pre", "down_pre"), pre),
        **dict.fromkeys(("normal_post", "up_post"), post),
    }


def _mixed(*encoder: str) -> Mapping[str, tuple[str, ...]]:
    return _recipe(encoder, _MB6, encoder, _MB3)


# Operations of a cell by kind of cell, for every ``arch_instance``.
ARCHITECTURES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    **{name: _recipe(*[(name, name)] * 4) for name in ("res_elu", "res_bnelu", "res_bnswish")},
    "mbconv_sep": _recipe(_MB6, _MB6, _MB3, _MB3),
    "mbconv_sep11": _recipe(("mconv_e6k11g0",), ("mconv_e6k11g0",), _MB3, _MB3),
    "mbconv_den": _recipe(_MB6, _MB6, ("mconv_e3k5g8",), ("mconv_e3k5g8",)),
    "mbconv_res": _recipe(_MB6, (_RES, _RES), _MB3, (_RES, _RES)),
    "res_mbconv": _mixed(_RES, _RES),
    "res53_mbconv": _mixed(_RES5, _RES),
    "res35_mbconv": _mixed(_RES, _RES5),
    "res55_mbconv": _mixed(_RES5, _RES5),
}


def groups_per_scale(
    num_scales: int, num_groups: int, *, adaptive: bool, min_groups: int = 1
) -> tuple[int, ...]:
    """Latent groups of every scale, from the highest resolution to the lowest.

    Args:
        num_scales: Scales.
        num_groups: Groups of the highest one.
        adaptive: Whether each further scale has half as many.
        min_groups: The fewest that halving leaves.
    """
    found = [num_groups]
    while len(found) < num_scales:
        found.append(max(min_groups, found[-1] // 2) if adaptive else num_groups)
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """What the network is made of.

    Attributes:
        img_resolution: Side of the images, a power of two; that of the grid, 32, where they are binary.
        img_channels: 3, or 1 for grey.
        binary: Whether pixels are 0 or 1 (MNIST, OMNIGLOT): 28x28 pixels in a grid of 32x32, of which the
            outer two rows and columns are not counted, under a Bernoulli decoder.
        num_x_bits: Bits of a level, 8 or 5.
        arch_instance: Recipe of the cells, out of `ARCHITECTURES`.
        num_latent_scales: Resolutions that have latents.
        num_groups_per_scale: Groups of latents at the highest of them.
        num_latent_per_group: Channels of a group.
        ada_groups: Whether each lower resolution has half as many groups.
        min_groups_per_scale: The fewest that halving leaves.
        num_channels_enc: Channels at the resolution of the image, which double wherever it halves.
        num_preprocess_blocks: Halvings before the first latents.
        num_preprocess_cells: Cells of one of them.
        num_cell_per_cond_enc: Cells of the encoder before a group.
        num_channels_dec: As ``num_channels_enc``, of the decoder.
        num_postprocess_blocks: Doublings after the last latents.
        num_postprocess_cells: Cells of one of them.
        num_cell_per_cond_dec: Cells of the decoder before a group.
        num_mixture_dec: Components of the mixture; 1 is a Normal decoder, a density of images.
        num_nf: Flow cells on the posterior of a group.
        use_se: Whether cells squeeze and excite.
        res_dist: Whether posteriors are relative to priors.
    """

    img_resolution: int = 32
    img_channels: int = 3
    binary: bool = False
    num_x_bits: int = 8
    arch_instance: str = "res_mbconv"
    num_latent_scales: int = 1
    num_groups_per_scale: int = 10
    num_latent_per_group: int = 20
    ada_groups: bool = False
    min_groups_per_scale: int = 1
    num_channels_enc: int = 32
    num_preprocess_blocks: int = 1
    num_preprocess_cells: int = 2
    num_cell_per_cond_enc: int = 1
    num_channels_dec: int = 32
    num_postprocess_blocks: int = 1
    num_postprocess_cells: int = 2
    num_cell_per_cond_dec: int = 1
    num_mixture_dec: int = 10
    num_nf: int = 0
    use_se: bool = False
    res_dist: bool = False

    def __post_init__(self) -> None:
        what = "NVAE"
        check_side(what, self.img_resolution)
        check_choice(what, "arch_instance", self.arch_instance, list(ARCHITECTURES))
        check_flags(
            what, binary=self.binary, ada_groups=self.ada_groups, use_se=self.use_se, res_dist=self.res_dist
        )
        for name in ("num_groups_per_scale", "num_latent_per_group", "min_groups_per_scale"):
            check_whole(what, name, getattr(self, name), 1, 1024)
        for name in ("num_latent_scales", "num_preprocess_cells", "num_postprocess_cells"):
            check_whole(what, name, getattr(self, name), 1, 64)
        for name in ("num_cell_per_cond_enc", "num_cell_per_cond_dec", "num_nf"):
            check_whole(what, name, getattr(self, name), 0, 64)
        for name in ("num_preprocess_blocks", "num_postprocess_blocks"):
            check_whole(what, name, getattr(self, name), 0, 16)
        for name in ("num_channels_enc", "num_channels_dec"):
            check_whole(what, name, getattr(self, name), 1, 4096)
        check_whole(what, "num_mixture_dec", self.num_mixture_dec, 1, 1024)
        if self.img_channels not in (1, 3) or (self.binary and self.img_channels != 1):
            raise UsageError(
                f"{what}: img_channels is {self.img_channels!r} with binary={self.binary}; images have 3 "
                "channels or 1, binary ones 1"
            )
        if self.num_x_bits not in BITS or (self.binary and self.num_x_bits != 8):
            raise UsageError(
                f"{what}: num_x_bits is {self.num_x_bits!r}; give 8, or 5 where pixels are levels"
            )
        if self.num_preprocess_blocks != self.num_postprocess_blocks:
            raise UsageError(
                f"{what}: num_preprocess_blocks is {self.num_preprocess_blocks} and num_postprocess_blocks "
                f"{self.num_postprocess_blocks}; images come back at their own size where both are equal"
            )
        halvings = self.num_preprocess_blocks + self.num_latent_scales - 1
        if self.img_resolution >> halvings < 1:
            raise UsageError(
                f"{what}: {self.num_preprocess_blocks} preprocessing blocks and {self.num_latent_scales} "
                f"scales halve {self.img_resolution} pixels {halvings} times; give fewer, or larger images"
            )

    @property
    def groups_per_scale(self) -> tuple[int, ...]:
        """Latent groups of every scale, from the highest resolution to the lowest."""
        return groups_per_scale(
            self.num_latent_scales,
            self.num_groups_per_scale,
            adaptive=self.ada_groups,
            min_groups=self.min_groups_per_scale,
        )

    @property
    def vanilla(self) -> bool:
        """Whether there is one group alone, and no tower."""
        return self.groups_per_scale == (1,)

    @property
    def smallest_side(self) -> int:
        """Side of the group at the top."""
        return self.img_resolution >> (self.num_preprocess_blocks + self.num_latent_scales - 1)

    @property
    def latent_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Channels, height and width of every group, from the top (the lowest resolution) down."""
        sides = [self.smallest_side << scale for scale in range(self.num_latent_scales)]
        return tuple(
            (self.num_latent_per_group, side, side)
            for side, groups in zip(sides, reversed(self.groups_per_scale), strict=True)
            for _ in range(groups)
        )

    @property
    def data_side(self) -> int:
        """Side of what is counted of an image: 28 of 32 where pixels are binary."""
        return len(range(self.img_resolution)[BINARY_PIXELS]) if self.binary else self.img_resolution

    @property
    def num_dims(self) -> int:
        """Dimensions of an image that bits are counted by: 784 where pixels are binary."""
        return self.img_channels * self.data_side**2


def _published(about: str, **sizes: int | bool) -> Single[NetworkConfig]:
    common: dict[str, int | bool] = {
        "num_cell_per_cond_enc": 2, "num_cell_per_cond_dec": 2, "use_se": True, "res_dist": True,
    }  # fmt: skip
    if "num_channels_enc" in sizes:
        common["num_channels_dec"] = sizes["num_channels_enc"]
    return Single(network=NetworkConfig(**{**common, **sizes}), about=about)  # type: ignore[arg-type]


def _of_256(about: str) -> Single[NetworkConfig]:
    return _published(
        about,
        img_resolution=256,
        num_x_bits=5,
        num_latent_scales=5,
        num_groups_per_scale=16,
        ada_groups=True,
        min_groups_per_scale=4,
        num_channels_enc=30,
        num_nf=2,
    )


PRESETS: Mapping[str, Single[NetworkConfig]] = {
    "mnist": _published(
        "MNIST, binarised at random, without flows",
        img_channels=1,
        binary=True,
        num_latent_scales=2,
        ada_groups=True,
        num_preprocess_blocks=2,
        num_preprocess_cells=3,
        num_postprocess_blocks=2,
        num_postprocess_cells=3,
    ),
    "cifar10": _published(
        "CIFAR-10; published: 2.91 bits/dim, importance-weighted bound of 1000 samples",
        num_groups_per_scale=30,
        num_channels_enc=128,
        num_nf=1,
    ),
    "celeba_64": _published(
        "CelebA, 64x64",
        img_resolution=64,
        num_latent_scales=3,
        num_groups_per_scale=20,
        ada_groups=True,
        num_channels_enc=64,
        num_nf=1,
    ),
    "imagenet_32": _published("ImageNet, 32x32", num_groups_per_scale=28, num_channels_enc=192, num_nf=1),
    "celeba_256": _of_256("CelebA-HQ, 256x256, 5 bits"),
    "ffhq": _of_256("FFHQ, 256x256, 5 bits"),
    "tiny": Single(
        network=NetworkConfig(
            img_resolution=8,
            img_channels=1,
            num_latent_scales=2,
            num_groups_per_scale=2,
            num_latent_per_group=4,
            num_channels_enc=16,
            num_channels_dec=16,
            num_preprocess_blocks=1,
            num_preprocess_cells=1,
            num_postprocess_blocks=1,
            num_postprocess_cells=1,
            num_nf=1,
            use_se=True,
            res_dist=True,
        ),
        about="grey images, 8x8: for tests and for two cores",
    ),
}
