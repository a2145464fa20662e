"""Sizes of VDVAE: block strings and widths by the official argument names, and published presets.

Paper: Child 2021 (arXiv:2011.10650), sections 3 and 4, and the appendix (hyper-parameters). Official:
openai/vdvae@ea35b49, hps.py, vae.py (strings) and data.py (scaling of images). Deviations: grey images
(``img_channels`` 1), and sizes are checked when a config is made, where the program fails while it runs. Own
presets are ``ffhq256-8bit`` (the published network with 8-bit targets) and ``tiny``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.errors import UsageError
from reference_models.layers.checks import (
    LARGEST_SIDE,
    check_choice,
    check_positive,
    check_range,
    check_whole,
)
from reference_models.presets import Single

_WHAT = "VDVAE"
_TOKEN = re.compile(r"(?P<side>\d+)(?:(?P<kind>[xmd])(?P<other>\d+))?")
_WIDTH = re.compile(r"(?P<side>\d+):(?P<width>\d+)")
_MOST_BLOCKS = 10000


class Entry(NamedTuple):
    """One block of a string.

    Attributes:
        side: Resolution of the block.
        other: Resolution that a decoder's block first mixes in, or rate of the pooling after an encoder's;
            None without.
    """

    side: int
    other: int | None


def parse_blocks(text: str) -> tuple[Entry, ...]:
    """The blocks of a string such as ``32x11,32d2,16x6`` or ``1x1,4m1,4x2``.

    Args:
        text: Tokens separated by commas. ``RxN`` is N blocks at resolution R, ``RmS`` one that first mixes in
            resolution S, ``RdF`` one that is followed by average pooling by F, and ``R`` one.

    Raises:
        UsageError: A token is none of these, or there are absurdly many blocks.
    """
    found: list[Entry] = []
    for token in text.split(","):
        if (match := _TOKEN.fullmatch(token)) is None:
            raise UsageError(
                f"{_WHAT}: the blocks {text!r} have {token!r}; write RxN (N blocks at resolution R), RmS "
                "(decoder: mixes in resolution S), RdF (encoder: pools by F) or R, separated by commas"
            )
        side, kind = int(match["side"]), match["kind"]
        other = None if kind is None else int(match["other"])
        if kind == "x":
            check_whole(_WHAT, f"the number of blocks in {token!r}", other, 0, _MOST_BLOCKS)
        found.extend([Entry(side, None)] * (other or 0) if kind == "x" else [Entry(side, other)])
    return tuple(found)


def parse_widths(text: str) -> Mapping[int, int]:
    """Widths by resolution of a string such as ``64:512,32:256``; an empty one has none.

    Raises:
        UsageError: A token is no ``R:W``.
    """
    found = {}
    for token in text.split(",") if text else ():
        if (match := _WIDTH.fullmatch(token)) is None:
            raise UsageError(
                f"{_WHAT}: the widths {text!r} have {token!r}; write RESOLUTION:WIDTH, separated by commas"
            )
        found[int(match["side"])] = int(match["width"])
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """What the network is made of, and how it sees images.

    Attributes:
        img_resolution: Side of the image.
        img_channels: 3, or 1 for grey.
        enc_blocks: Blocks of the encoder, from the image down, see `parse_blocks`.
        dec_blocks: Blocks of the decoder, from the top up to the image.
        width: Channels at resolutions that ``custom_width_str`` does not name.
        custom_width_str: Channels by resolution, see `parse_widths`.
        bottleneck_multiple: Share of a block's width that its inner layers have.
        zdim: Channels of every latent.
        no_bias_above: Largest resolution that starts from a learned picture; those above start from zeros.
        num_mixtures: Logistics of a pixel.
        input_shift: The encoder sees ``(v + input_shift) input_scale`` of levels v.
        input_scale: See ``input_shift``.
        loss_shift: The likelihood is one of ``(v + loss_shift) loss_scale``, which lies in [-1, 1].
        loss_scale: See ``loss_shift``.
        unit_range: Whether levels are divided by 255 before all that.
        low_bit: Whether the likelihood is one of 5 bits: of levels floored to multiples of 8. The encoder
            sees all 8.
    """

    img_resolution: int = 32
    img_channels: int = 3
    enc_blocks: str = "32x11,32d2,16x6,16d2,8x6,8d2,4x3,4d4,1x3"
    dec_blocks: str = "1x1,4m1,4x2,8m4,8x5,16m8,16x10,32m16,32x21"
    width: int = 384
    custom_width_str: str = ""
    bottleneck_multiple: float = 0.25
    zdim: int = 16
    no_bias_above: int = 64
    num_mixtures: int = 10
    input_shift: float = -120.63838
    input_scale: float = 1 / 64.16736
    loss_shift: float = -127.5
    loss_scale: float = 1 / 127.5
    unit_range: bool = False
    low_bit: bool = False

    def __post_init__(self) -> None:
        check_whole(_WHAT, "img_resolution", self.img_resolution, 1, LARGEST_SIDE)
        check_choice(_WHAT, "img_channels", str(self.img_channels), ("1", "3"))
        for name in ("width", "zdim", "num_mixtures"):
            check_whole(_WHAT, name, getattr(self, name), 1)
        check_whole(_WHAT, "no_bias_above", self.no_bias_above, 0, LARGEST_SIDE)
        check_positive(_WHAT, "bottleneck_multiple", self.bottleneck_multiple)
        for name in ("input_shift", "loss_shift"):
            check_range(_WHAT, f"the size of {name}", abs(getattr(self, name)))
        for name in ("input_scale", "loss_scale"):
            check_positive(_WHAT, name, getattr(self, name))
        self._check_encoder()
        self._check_decoder()
        for side in {each.side for each in (*self.encoder_entries, *self.decoder_entries)}:
            check_whole(_WHAT, f"the width at resolution {side}", self.width_at(side), 1)
            check_whole(_WHAT, f"the inner width at resolution {side}", self.middle_width_at(side), 1)

    @property
    def encoder_entries(self) -> tuple[Entry, ...]:
        """Blocks of the encoder."""
        return parse_blocks(self.enc_blocks)

    @property
    def decoder_entries(self) -> tuple[Entry, ...]:
        """Blocks of the decoder."""
        return parse_blocks(self.dec_blocks)

    @property
    def bias_sides(self) -> tuple[int, ...]:
        """Resolutions that start from a learned picture, rising."""
        return tuple(sorted({each.side for each in self.decoder_entries if each.side <= self.no_bias_above}))

    @property
    def bits(self) -> int:
        """Bits of a level that the likelihood is one of."""
        return 5 if self.low_bit else 8

    def width_at(self, side: int) -> int:
        """Channels at a resolution."""
        return parse_widths(self.custom_width_str).get(side, self.width)

    def middle_width_at(self, side: int) -> int:
        """Channels of inner layers at a resolution."""
        return int(self.width_at(side) * self.bottleneck_multiple)

    def _check_encoder(self) -> None:
        self._refuse("enc_blocks", self.enc_blocks, "m", "mixes in, which decoders do; write RdF to pool")
        side, width = self.img_resolution, self.width_at(self.img_resolution)
        for entry in self.encoder_entries:
            if entry.side != side:
                raise UsageError(
                    f"{_WHAT}: enc_blocks {self.enc_blocks!r} has a block at resolution {entry.side} where "
                    f"the image has become {side}x{side} (it begins at img_resolution, "
                    f"{self.img_resolution}); give blocks that follow one another, such as "
                    f"{side}x2,{side}d2,{max(side // 2, 1)}x1"
                )
            if entry.other is not None:
                if entry.other < 1 or side % entry.other:
                    raise UsageError(
                        f"{_WHAT}: enc_blocks {self.enc_blocks!r} pools {side}x{side} by {entry.other}; give "
                        "a rate that divides the side"
                    )
                side //= entry.other
            if self.width_at(side) < width:
                raise UsageError(
                    f"{_WHAT}: the width at resolution {side} is {self.width_at(side)}, below the {width} "
                    "before it; the encoder can only append channels: give widths that do not fall with the "
                    "resolution"
                )
            width = self.width_at(side)

    def _check_decoder(self) -> None:
        self._refuse("dec_blocks", self.dec_blocks, "d", "pools, which encoders do; write RmS to mix in")
        seen = {self.img_resolution} | set(_pooled(self.encoder_entries))
        begun = set(self.bias_sides)
        for entry in self.decoder_entries:
            if entry.side not in seen:
                raise UsageError(
                    f"{_WHAT}: dec_blocks {self.dec_blocks!r} has a block at resolution {entry.side}, which "
                    f"the encoder never comes to; it has {', '.join(map(str, sorted(seen)))}"
                )
            if (mixed := entry.other) is not None:
                if mixed not in begun or not 0 < mixed < entry.side or entry.side % mixed:
                    raise UsageError(
                        f"{_WHAT}: dec_blocks {self.dec_blocks!r} mixes resolution {mixed} into "
                        f"{entry.side}; give one that divides it and has blocks before"
                    )
                if self.width_at(mixed) < self.width_at(entry.side):
                    raise UsageError(
                        f"{_WHAT}: dec_blocks {self.dec_blocks!r} mixes the {self.width_at(mixed)} channels "
                        f"of resolution {mixed} into the {self.width_at(entry.side)} of {entry.side}; give "
                        "widths that do not rise with the resolution"
                    )
            begun.add(entry.side)
        if self.img_resolution not in begun:
            raise UsageError(
                f"{_WHAT}: dec_blocks {self.dec_blocks!r} never comes to the image's side, img_resolution "
                f"{self.img_resolution}; end with blocks there"
            )

    @staticmethod
    def _refuse(name: str, text: str, letter: str, why: str) -> None:
        if bad := [token for token in text.split(",") if letter in token]:
            raise UsageError(f"{_WHAT}: {name} {text!r} has {bad[0]!r}, which {why}")


def _pooled(entries: tuple[Entry, ...]) -> list[int]:
    # Resolutions after each block.
    return [each.side // (each.other or 1) for each in entries]


_IMAGENET_SCALE = 1 / 69.37404
_FFHQ256 = NetworkConfig(
    img_resolution=256,
    enc_blocks="256x3,256d2,128x8,128d2,64x12,64d2,32x17,32d2,16x7,16d2,8x5,8d2,4x5,4d4,1x4",
    dec_blocks="1x2,4m1,4x3,8m4,8x4,16m8,16x9,32m16,32x21,64m32,64x13,128m64,128x7,256m128",
    width=512,
    input_shift=-112.8666757481,
    input_scale=1 / 69.84780273,
    low_bit=True,
)

PRESETS: Mapping[str, Single[NetworkConfig]] = {
    "cifar10": Single(
        network=NetworkConfig(),
        about="CIFAR-10, 32x32, 39 million parameters: 2.87 bits/dim as published",
    ),
    "imagenet32": Single(
        network=NetworkConfig(
            enc_blocks="32x15,32d2,16x9,16d2,8x8,8d2,4x6,4d4,1x6",
            dec_blocks="1x2,4m1,4x4,8m4,8x9,16m8,16x19,32m16,32x40",
            width=512,
            input_shift=-116.2373,
            input_scale=_IMAGENET_SCALE,
        ),
        about="ImageNet, 32x32, 119 million parameters: 3.80 bits/dim as published",
    ),
    "imagenet64": Single(
        network=NetworkConfig(
            img_resolution=64,
            enc_blocks="64x11,64d2,32x20,32d2,16x9,16d2,8x8,8d2,4x7,4d4,1x5",
            dec_blocks="1x2,4m1,4x3,8m4,8x7,16m8,16x15,32m16,32x31,64m32,64x12",
            width=512,
            input_shift=-115.92961967,
            input_scale=_IMAGENET_SCALE,
        ),
        about="ImageNet, 64x64, 125 million parameters: 3.52 bits/dim as published",
    ),
    "ffhq256": Single(
        network=_FFHQ256,
        about="FFHQ, 256x256, 5 bits, 115 million parameters: 0.61 bits/dim as published",
    ),
    "ffhq256-8bit": Single(
        network=dataclasses.replace(_FFHQ256, low_bit=False),
        about="FFHQ, 256x256: the same network for all 8 bits; never published",
    ),
    "ffhq1024": Single(
        network=NetworkConfig(
            img_resolution=1024,
            enc_blocks="1024x1,1024d2,512x3,512d2,256x5,256d2,128x7,128d2,64x10,64d2,32x14,32d2,16x7,16d2,"
            "8x5,8d2,4x5,4d4,1x4",
            dec_blocks="1x2,4m1,4x3,8m4,8x4,16m8,16x9,32m16,32x20,64m32,64x14,128m64,128x7,256m128,256x2,"
            "512m256,1024m512",
            width=16,
            custom_width_str="512:32,256:64,128:512,64:512,32:512,16:512,8:512,4:512,1:512",
            num_mixtures=2,
            input_shift=-0.4387,
            input_scale=1 / 0.2743,
            loss_shift=-0.5,
            loss_scale=2.0,
            unit_range=True,
        ),
        about="FFHQ, 1024x1024, 115 million parameters: 2.42 bits/dim as published",
    ),
    "tiny": Single(
        network=NetworkConfig(
            img_resolution=8,
            img_channels=1,
            enc_blocks="8x1,8d2,4d4",
            dec_blocks="1,4m1,8m4,8",
            width=64,
            num_mixtures=80,
            input_shift=-78.0,
            input_scale=1 / 96.0,
        ),
        about="8x8 grey, for tests and for minutes on a processor",
    ),
}
