"""The number that each official program prints, and how it becomes bits/dim.

Programs print one quantity in five units, of three bounds, with and without the offset of a density. Each
`Printed` says which, what else has to be known, and what the number itself cannot tell. The arithmetic is
`evalkit.metrics.likelihood.bits_per_dim`'s alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from evalkit.errors import UsageError, nearest
from evalkit.metrics.likelihood.bits_per_dim import UNITS, convert, offset_bits

__all__ = ["PRINTED", "Converted", "Dims", "Printed", "bits_per_dim_of", "converted"]

_MOST_BITS = 16
_RELEASE = "which release of the data (ImageNet32 and ImageNet64 have two)"
_WEIGHTS = "averaged or raw weights"
_K = "K, the posterior samples of an image"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Printed:
    """What one program prints as its likelihood.

    Attributes:
        name: What ``evalkit bpd convert --from`` takes.
        what: Program and number, in words.
        units: One of `UNITS`.
        bound: ``elbo``, ``iwae`` or ``exact``; None where the number does not tell.
        bits: Bits of a level where the program knows one; None where they have to be stated.
        dequantisation: ``discrete``, ``uniform``, ``variational`` or ``none``, as
            `evalkit.adapters.likelihood.Likelihood` has it; None where the number does not tell.
        scale: Scale of a density whose offset the number lacks; None where it lacks none.
        noise: What of the noise width q the number lacks: ``offset``, all of log2 q; ``channels``, of which
            one a pixel is in it.
        channels: Channels, where the program knows one kind of image.
        source: Paper, or repository and commit.
        states: What has to be stated beside the converted number, since the printed one does not tell.
    """

    name: str
    what: str
    units: str
    bound: Literal["elbo", "iwae", "exact"] | None
    dequantisation: Literal["discrete", "uniform", "variational", "none"] | None
    source: str
    bits: int | None = None
    scale: Literal["unit", "signed", "levels"] | None = None
    noise: Literal["offset", "channels"] | None = None
    channels: int | None = None
    states: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Options of the conversion to bits/dim without which it cannot be made."""
        wanted = {
            "--dims": self.units in ("nats", "bits")
            or (self.units == "bits/pixel" and self.channels is None),
            "--bits": self.scale is not None and self.scale != "levels" and self.bits is None,
            "--noise": self.noise is not None,
        }
        return tuple(name for name, needed in wanted.items() if needed)


_VDVAE = "Child 2021 (2011.10650); openai/vdvae@ea35b49"
_NVAE = "Vahdat and Kautz 2020 (2007.03898); NVlabs/NVAE@9fc1a28"
_SRFLOW = "Lugmayr et al. 2020 (2006.14200); andreas128/SRFlow@5a007ad"

_ENTRIES = (
    Printed(
        name="vdvae-nats", what="VDVAE, elbo in the log of train.py", units="nats/dim", bound="elbo",
        dequantisation="discrete", source=_VDVAE,
        states=("bits of a level (8; FFHQ-256: 5)", _RELEASE, _WEIGHTS),
    ),
    Printed(
        name="vdvae-bpd", what="VDVAE, bits/dim of README and paper", units="bits/dim", bound="elbo",
        dequantisation="discrete", source=_VDVAE,
        states=("bits of a level (8; FFHQ-256: 5)", _RELEASE, _WEIGHTS),
    ),
    Printed(
        name="nvae-nats", what="NVAE, neg log p of train.py and evaluate.py", units="nats", bound="iwae",
        dequantisation="discrete", source=_NVAE,
        states=(f"{_K} (1,000 in evaluation, 10 in training)", "bits of a level (8, or 5 by --num_x_bits)",
                "MNIST has 784 dimensions although the network sees 32x32"),
    ),
    Printed(
        name="nvae-bpd", what="NVAE, bits/dim of log p in evaluate.py and paper", units="bits/dim",
        bound="iwae", dequantisation="discrete", source=_NVAE,
        states=(f"{_K} (1,000 in evaluation, 10 in training)", "bits of a level (8, or 5 by --num_x_bits)"),
    ),
    Printed(
        name="nvae-nelbo", what="NVAE, nelbo of train.py and evaluate.py", units="nats", bound="elbo",
        dequantisation="discrete", source=_NVAE,
        states=("bits of a level (8, or 5 by --num_x_bits)",
                "MNIST has 784 dimensions although the network sees 32x32"),
    ),
    Printed(
        name="srflow-nll", what="SRFlow, nll in training and validation: no noise, no offset",
        units="bits/pixel", bound="exact", dequantisation="none", noise="offset", channels=3, source=_SRFLOW,
        states=("that nll was computed on images with uniform noise of width 1/q: without it, it is no bound",
                "that it is conditional on the low-resolution image"),
    ),
    Printed(
        name="srflow-noise", what="SRFlow, nll with add_gt_noise: log2 q once a pixel, not once a channel",
        units="bits/pixel", bound="exact", dequantisation="uniform", noise="channels", channels=3,
        source=_SRFLOW,
        states=("q (32 in all published configurations, 255 if unset); 32 is wider than a level of 8 bits",
                "that it is conditional on the low-resolution image"),
    ),
    Printed(
        name="pixelcnn++-bpd", what="PixelCNN++, bits/dim of train.py", units="bits/dim", bound="exact",
        bits=8, dequantisation="discrete", source="Salimans et al. 2017 (1701.05517); openai/pixel-cnn",
        states=(_WEIGHTS,),
    ),
    Printed(
        name="realnvp-bpd", what="RealNVP, bits/dim of the paper", units="bits/dim", bound="exact",
        dequantisation="uniform", source="Dinh et al. 2017 (1605.08803), section 4.1",
        states=("bits of a level", _RELEASE),
    ),
    Printed(
        name="glow-bpd", what="Glow, bits_x of train.py", units="bits/dim", bound="exact",
        dequantisation="uniform", source="Kingma and Dhariwal 2018 (1807.03039), eq. 2; openai/glow",
        states=("bits of a level (8, or 5)", _RELEASE),
    ),
    Printed(
        name="flow++-bpd", what="Flow++, bits/dim of the paper", units="bits/dim", bound=None,
        dequantisation="variational", source="Ho et al. 2019 (1902.00275), section 3.1",
        states=("samples of the noise that were averaged: one is an elbo, more an importance-weighted bound",
                "bits of a level", _RELEASE),
    ),
    Printed(
        name="ddpm-bpd", what="DDPM, lossless codelength in bits/dim", units="bits/dim", bound="elbo",
        bits=8, dequantisation="discrete", source="Ho et al. 2020 (2006.11239), eq. 5 and 13",
        states=(_WEIGHTS, "steps of the chain"),
    ),
    Printed(
        name="improved-diffusion-bpd", what="Improved DDPM, total_bpd of image_nll.py", units="bits/dim",
        bound="elbo", bits=8, dequantisation="discrete",
        source="Nichol and Dhariwal 2021 (2102.09672); openai/improved-diffusion",
        states=(_WEIGHTS, "steps of the chain: fewer in evaluation give another bound", _RELEASE),
    ),
    Printed(
        name="score-sde-bpd", what="Score SDE, bits/dim of the probability flow", units="bits/dim",
        bound="exact", bits=8, dequantisation="uniform", source="Song et al. 2021 (2011.13456), appendix D.2",
        states=("that an ODE solver and a random estimate of the trace stand for the exact density",
                "how often noise was drawn", _WEIGHTS),
    ),
    Printed(
        name="density-unit", what="any density of (v + u) / 2^bits on [0, 1], nats an image", units="nats",
        bound=None, dequantisation="uniform", scale="unit", source="Theis et al. 2016 (1511.01844)",
        states=("which bound",),
    ),
    Printed(
        name="density-signed", what="any density of 2 (v + u) / 2^bits - 1 on [-1, 1], nats an image",
        units="nats", bound=None, dequantisation="uniform", scale="signed",
        source="Theis et al. 2016 (1511.01844)", states=("which bound",),
    ),
    Printed(
        name="density-levels", what="any density of v + u on [0, 2^bits], nats an image", units="nats",
        bound=None, dequantisation="uniform", scale="levels", source="Theis et al. 2016 (1511.01844)",
        states=("which bound",),
    ),
    *(
        Printed(
            name=units, what=f"any number of {words}, offset included", units=units, bound=None,
            dequantisation=None, source="evalkit",
            states=("which bound, and K", "bits of a level", "which dequantisation"),
        )
        for units, words in UNITS.items()
    ),
)  # fmt: skip

PRINTED: Mapping[str, Printed] = MappingProxyType({entry.name: entry for entry in _ENTRIES})


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Dims:
    """What is known of the size of images.

    Attributes:
        num: Dimensions: channels times pixels.
        channels: Channels, where they are known.
    """

    num: int | None = None
    channels: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """A printed number in every unit that can be known.

    Attributes:
        printed: What it was.
        value: As printed.
        bits_per_dim: Bits/dim.
        units: The number by unit, of `UNITS`; those that need an unknown size are missing.
        bits: Bits of a level where they are known.
        notes: What has to be stated beside it.
    """

    printed: Printed
    value: float
    bits_per_dim: float
    units: Mapping[str, float]
    bits: int | None
    notes: tuple[str, ...]


def bits_per_dim_of(
    value: float,
    printed: Printed,
    *,
    dims: Dims | None = None,
    bits: int | None = None,
    noise: int | None = None,
) -> float:
    """A printed number as bits/dim.

    Args:
        value: As printed.
        printed: What prints it.
        dims: Size of the images, where the unit needs it.
        bits: Bits of a level, where the offset of a density needs them.
        noise: q, where uniform noise of width 1/q was added to images on [0, 1].

    Raises:
        UsageError: Something that is needed is missing, or something is given that cannot be.
    """
    size = dims or Dims()
    channels = size.channels or printed.channels
    if not math.isfinite(value):
        raise UsageError(f"{value} is no likelihood to convert; give a finite number")
    if bits is not None and not 1 <= bits <= _MOST_BITS:
        raise UsageError(f"--bits {bits}: a level has 1 to {_MOST_BITS} bits; give 8, or 5")
    if bits is not None and printed.bits is not None and bits != printed.bits:
        raise UsageError(
            f"{printed.name} is of {printed.bits}-bit images, and --bits {bits} was given; leave --bits out"
        )
    if printed.noise is not None:
        return _with_noise(value, printed, channels, noise)
    if noise is not None:
        raise UsageError(
            f"{printed.name} has its offset already; --noise {noise} belongs to srflow-*: leave it out"
        )
    by_pixel = printed.units == "bits/pixel"
    if "--dims" in printed.needs and (channels if by_pixel else size.num) is None:
        raise UsageError(
            f"{printed.name}: {UNITS[printed.units]} cannot be converted without the "
            f"{'channels' if by_pixel else 'dimensions'} of an image; give --dims, such as --dims 3x32x32"
        )
    found = convert(value, printed.units, "bits/dim", num_dims=size.num, channels=channels)
    levels = printed.bits if bits is None else bits
    if printed.scale in ("unit", "signed") and levels is None:
        raise UsageError(
            f"{printed.name} is a density, whose offset depends on the levels of the images; give --bits, 8 "
            "or 5"
        )
    return found + offset_bits(8 if levels is None else levels, printed.scale)


def _with_noise(value: float, printed: Printed, channels: int | None, noise: int | None) -> float:
    if noise is None:
        raise UsageError(
            f"{printed.name} is {printed.what}; it becomes bits/dim only with the width 1/q of the uniform "
            "noise under which it was computed: give --noise q (SRFlow's quant: 32 in its configurations, "
            "255 if unset), or compute nll again with such noise"
        )
    if noise < 1:
        raise UsageError(f"--noise {noise}: q is 1 or more, the reciprocal of the width of the noise")
    width = math.log2(noise)
    plain = value - (width if printed.noise == "channels" else 0.0)
    return convert(plain, printed.units, "bits/dim", channels=channels) + width


def converted(
    value: float, name: str, *, dims: Dims | None = None, bits: int | None = None, noise: int | None = None
) -> Converted:
    """A printed number in every unit, with what has to be stated beside it.

    Args:
        value: As printed.
        name: A key of `PRINTED`.
        dims: As in `bits_per_dim_of`, as are the others.
        bits: Bits of a level.
        noise: q.

    Raises:
        UsageError: The name is unknown, or as `bits_per_dim_of`.
    """
    if name not in PRINTED:
        raise UsageError(
            f"unknown number {name!r} (nearest: {nearest(name, PRINTED)}); `evalkit bpd list` shows what can "
            "be converted"
        )
    printed = PRINTED[name]
    size = dims or Dims()
    found = bits_per_dim_of(value, printed, dims=dims, bits=bits, noise=noise)
    channels = size.channels or printed.channels
    known = {
        "bits/dim": True,
        "nats/dim": True,
        "bits/pixel": channels is not None,
        "nats": size.num is not None,
        "bits": size.num is not None,
    }
    units = {
        unit: convert(found, "bits/dim", unit, num_dims=size.num, channels=channels)
        for unit, there in known.items()
        if there
    }
    levels = printed.bits if bits is None else bits
    notes = [each for each in printed.states if levels is None or not each.startswith("bits of a level")]
    if noise not in (None, 255, 256):
        notes.append(f"that noise of width 1/{noise} is not one level of 8 bits: no 8-bit number compares")
    if levels is not None and found > levels:
        notes.append(
            f"that it is worse than the uniform model, which needs {levels} bits/dim: is it this unit?"
        )
    if found < 0:
        notes.append("that it is negative, which no probability is: is it this unit, and has it its offset?")
    return Converted(
        printed=printed, value=value, bits_per_dim=found, units=units, bits=levels, notes=tuple(notes)
    )
