"""Protocols that ask a model itself: path length, linear separability, equivariance.

Official: NVlabs/stylegan@1e0d5c7 `metrics/perceptual_path_length.py`, `linear_separability.py`;
NVlabs/stylegan2@bf0fe0b and NVlabs/stylegan3@c233a91 `metrics/`; toshas/torch-fidelity@5e211a9. Three crop
rules of the path length are in print and are three families of names. A name with a count demands that count;
short names take as many as are asked for.
"""

from __future__ import annotations

from typing import Any, Literal

from evalkit.protocols.spec import (
    About,
    EquivarianceOptions,
    PathLengthOptions,
    ProtocolSpec,
    SeparabilityOptions,
)

_PPL_PAPER = "Karras et al. 2019, eq. 2-3"
_LS_PAPER = "Karras et al. 2019, section 4.2"
_EQ_PAPER = "Karras et al. 2021, section 3 and appendix E"
_STYLEGAN = "NVlabs/stylegan@1e0d5c7 metrics/"
_STYLEGAN2 = "NVlabs/stylegan2@bf0fe0b metrics/"
_STYLEGAN3 = "NVlabs/stylegan3@c233a91 metrics/"

_NOTHING: dict[str, Any] = {"resize": "none", "precision": "float32", "num_real": None}
_LPIPS: dict[str, Any] = {"extractor": "lpips-vgg16", "layer": "distance", **_NOTHING}
_LPIPS_MINI: dict[str, Any] = {"extractor": "lpips-mini", "layer": "distance", **_NOTHING}

Space = Literal["z", "w"]
Sampling = Literal["full", "end"]
_SPACES: tuple[Space, ...] = ("z", "w")
_SAMPLINGS: tuple[Sampling, ...] = ("full", "end")
_WHERE = {"full": "anywhere between two latents", "end": "at the latents themselves"}
_SEEDS = (
    "latents, places and noise come from seeds, one for each pair (noise: for each eight pairs), not from "
    "one stream of the device"
)
_WHAT = "Perceptual path length"


def _steps(
    space: Space, sampling: Sampling, crop: bool, reduce: Literal["box-by-crop", "box-by-image"]
) -> PathLengthOptions:
    return PathLengthOptions(
        space=space, sampling=sampling, interpolation="slerp", epsilon=1e-4, crop=crop, reduce=reduce,
        pixels="float", lower=1.0, upper=99.0, draws="seeds",
    )  # fmt: skip


def _path_lengths(
    prefix: str,
    num: int,
    reduce: Literal["box-by-crop", "box-by-image"],
    title: str,
    source: str,
) -> tuple[ProtocolSpec, ...]:
    return tuple(
        ProtocolSpec(
            name=f"{prefix}_{space}{sampling}",
            version=1,
            **_LPIPS,
            num_fake=num,
            options=_steps(space, sampling, True, reduce),
            about=About(
                title=f"{_WHAT} in {space}, {_WHERE[sampling]}, {title}",
                source=f"{_PPL_PAPER}; {source}",
                deviates=_SEEDS,
            ),
        )
        for space in _SPACES
        for sampling in _SAMPLINGS
    )


def _equivariance(name: str, num: int | None, operation: Literal["int", "frac", "rot"]) -> ProtocolSpec:
    moves = {
        "int": "shifts by whole pixels",
        "frac": "shifts by fractions of a pixel",
        "rot": "rotations",
    }
    count = f"{num:,} images" if num else "any number of images"
    return ProtocolSpec(
        name=name,
        version=1,
        extractor="none",
        layer=operation,
        **_NOTHING,
        num_fake=num,
        options=EquivarianceOptions(operation=operation, translate_max=0.125, rotate_max=1.0, batch=4),
        about=About(
            title=f"Equivariance to {moves[operation]}, PSNR in dB, {count}",
            source=f"{_EQ_PAPER}; {_STYLEGAN3}equivariance.py",
            deviates="latents, shifts and angles come from seeds, one for each image or batch, not from one "
            "stream of the device",
        ),
    )


def _separability(name: str, extractor: str, num: int | None, title: str, note: str) -> ProtocolSpec:
    return ProtocolSpec(
        name=name,
        version=1,
        extractor=extractor,
        layer="logits",
        **_NOTHING,
        num_fake=num,
        options=SeparabilityOptions(keep=0.5, penalty=1.0, spaces=_SPACES),
        about=About(title=title, source=f"{_LS_PAPER}; {_STYLEGAN}linear_separability.py", deviates=note),
    )


_SVM = (
    "the classifiers are the bundle's, not the official pickles; they see images rounded to 8 bits and "
    "resized to their own side; samples reach the support vector machine in an order that their content "
    "decides, and its draws are seeded; a failed fit is an error and not entropy 0"
)

PROTOCOLS: tuple[ProtocolSpec, ...] = (
    *_path_lengths(
        "ppl", 100_000, "box-by-crop", "100,000 pairs, cropped, as StyleGAN",
        f"{_STYLEGAN}perceptual_path_length.py",
    ),
    *_path_lengths(
        "ppl50k", 50_000, "box-by-crop", "50,000 pairs, cropped, as StyleGAN2",
        f"{_STYLEGAN2}perceptual_path_length.py",
    ),
    *_path_lengths(
        "ppl50k3", 50_000, "box-by-image", "50,000 pairs, cropped, as StyleGAN2-ADA and StyleGAN3",
        f"{_STYLEGAN3}perceptual_path_length.py, metric_main.py",
    ),
    ProtocolSpec(
        name="ppl2_wend",
        version=1,
        **_LPIPS,
        num_fake=50_000,
        options=_steps("w", "end", False, "box-by-image"),
        about=About(
            title=f"{_WHAT} in w, {_WHERE['end']}, 50,000 pairs, whole images, as StyleGAN2 and StyleGAN3",
            source=f"{_PPL_PAPER}; {_STYLEGAN3}perceptual_path_length.py, metric_main.py",
            deviates=_SEEDS,
        ),
    ),
    ProtocolSpec(
        name="ppl",
        version=1,
        **_LPIPS,
        num_fake=None,
        options=_steps("w", "end", False, "box-by-image"),
        about=About(
            title=f"{_WHAT} as ppl2_wend, any number of pairs",
            source=f"{_PPL_PAPER}; {_STYLEGAN3}perceptual_path_length.py",
            deviates=_SEEDS,
        ),
    ),
    ProtocolSpec(
        name="ppl_fidelity",
        version=1,
        **_LPIPS,
        num_fake=None,
        options=PathLengthOptions(
            space="z", sampling="end", interpolation="lerp", epsilon=1e-4, crop=False, reduce="64",
            pixels="uint8", lower=1.0, upper=99.0, draws="stream",
        ),
        about=About(
            title=f"{_WHAT} as torch-fidelity computes it, in z, from images in 8 bits",
            source=f"{_PPL_PAPER}; toshas/torch-fidelity@5e211a9 torch_fidelity/metric_ppl.py",
        ),
    ),
    ProtocolSpec(
        name="ppl_mini",
        version=1,
        **_LPIPS_MINI,
        num_fake=None,
        options=_steps("w", "end", False, "box-by-image"),
        about=About(
            title=f"{_WHAT} in w by a distance on the bundled network, any number of pairs",
            source="evalkit; the recipe of Zhang et al. 2018 on features/train_mini.py's network",
        ),
    ),
    _separability(
        "ls", "attributes", 200_000,
        "Linear separability of z and w, 200,000 samples, by a bundle of attribute classifiers", _SVM,
    ),
    _separability(
        "ls_any", "attributes", None,
        "Linear separability as ls, any number of samples; compare only equal numbers of them", _SVM,
    ),
    _separability(
        "ls_mini", "attributes-digits", None,
        "Linear separability of z and w by the bundled digit classifiers, any number of samples", _SVM,
    ),
    _equivariance("eqt50k_int", 50_000, "int"),
    _equivariance("eqt50k_frac", 50_000, "frac"),
    _equivariance("eqr50k", 50_000, "rot"),
    _equivariance("eqt_int", None, "int"),
    _equivariance("eqt_frac", None, "frac"),
    _equivariance("eqr", None, "rot"),
)  # fmt: skip
