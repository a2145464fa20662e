"""Protocols of restoration: fidelity, perception, consistency with the input, diversity, likelihood.

One name here is one convention that papers call PSNR or SSIM alike. ``psnr_y`` and its kin are those of the
super-resolution literature (xinntao/BasicSR@d21eac8 `basicsr/metrics/psnr_ssim.py`: as many border pixels as
the scale left out); ``…_srflow`` those of SRFlow's tables (andreas128/SRFlow@5a007ad `code/test.py`,
`code/Measure.py`: all pixels, RGB, 7x7 uniform windows); ``…_edsr`` those of the EDSR line on DIV2K (scale
and 6 left out); ``…_ntire21`` those of the challenge (andreas128/NTIRE21_Learning_SR_Space@cd4d574
`measure.py`). A number is a mean over images, of each image's mean over its samples. Every protocol of single
samples exists as ``NAME_best`` and ``NAME_worst`` too, of the best and the worst sample of every image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from evalkit.errors import UsageError
from evalkit.protocols.restoration_options import (
    ConditionalLikelihoodOptions,
    ConsistencyOptions,
    DiversityOptions,
    FidelityOptions,
    PerceptualOptions,
    RestorationOptions,
    SampleOptions,
    SampleSpreadOptions,
)
from evalkit.protocols.spec import About, ProtocolSpec

_SHARED: dict[str, Any] = {"resize": "none", "precision": "float32", "num_real": None, "num_fake": None}
_BASICSR = "xinntao/BasicSR@d21eac8 basicsr/metrics/psnr_ssim.py"
_SRFLOW = "andreas128/SRFlow@5a007ad code/test.py, code/Measure.py"
_EDSR = "Lim et al. 2017, on DIV2K"
_NTIRE = "andreas128/NTIRE21_Learning_SR_Space@cd4d574 measure.py"
_LPIPS = "Zhang et al. 2018, eq. 1, version 0.1; richzhang/PerceptualSimilarity, package lpips"
_DISTS = "Ding et al. 2020, section 3, with the authors' weights as the package torchmetrics carries them"
_WORDS: Mapping[str, str] = {
    "best": "the best sample of every image",
    "worst": "the worst sample of every image",
}


def _protocol(
    name: str,
    options: RestorationOptions,
    title: str,
    source: str,
    *,
    extractor: str = "none",
    deviates: str = "",
) -> ProtocolSpec:
    return ProtocolSpec(
        name=name,
        version=1,
        extractor=extractor,
        layer="pixels" if extractor == "none" else "distance",
        **_SHARED,
        options=options,
        about=About(title=title, source=source, deviates=deviates),
    )


_FIDELITY = (
    _protocol(
        "psnr_rgb", FidelityOptions(measure="psnr", channels="rgb", border="scale"),
        "PSNR in dB, RGB, a border of the scale left out", _BASICSR,
    ),
    _protocol(
        "psnr_y", FidelityOptions(measure="psnr", channels="y", border="scale"),
        "PSNR in dB of luma, a border of the scale left out", _BASICSR,
    ),
    _protocol(
        "psnr_rgb_srflow", FidelityOptions(measure="psnr", channels="rgb", border="none"),
        "PSNR in dB, RGB, all pixels", _SRFLOW,
    ),
    _protocol(
        "psnr_rgb_edsr", FidelityOptions(measure="psnr", channels="rgb", border="scale+6"),
        "PSNR in dB, RGB, a border of the scale and 6 pixels left out", _EDSR,
    ),
    _protocol(
        "psnr_y_edsr", FidelityOptions(measure="psnr", channels="y", border="scale+6"),
        "PSNR in dB of luma, a border of the scale and 6 pixels left out", _EDSR,
    ),
    _protocol(
        "ssim_rgb",
        FidelityOptions(measure="ssim", channels="rgb", border="scale", window="gaussian11"),
        "SSIM, mean over RGB, Gaussian windows, a border of the scale left out",
        f"Wang et al. 2004; {_BASICSR}",
    ),
    _protocol(
        "ssim_y",
        FidelityOptions(measure="ssim", channels="y", border="scale", window="gaussian11"),
        "SSIM of luma, Gaussian windows, a border of the scale left out", f"Wang et al. 2004; {_BASICSR}",
    ),
    _protocol(
        "ssim_rgb_srflow",
        FidelityOptions(measure="ssim", channels="rgb", border="none", window="uniform7"),
        "SSIM, mean over RGB, 7x7 uniform windows, all pixels", f"Wang et al. 2004; {_SRFLOW}",
    ),
)  # fmt: skip

_PERCEPTUAL = (
    _protocol("lpips_alex", PerceptualOptions(), "LPIPS on AlexNet", _LPIPS, extractor="lpips-alex"),
    _protocol("lpips_vgg", PerceptualOptions(), "LPIPS on VGG16", _LPIPS, extractor="lpips-vgg16"),
    _protocol(
        "lpips_squeeze", PerceptualOptions(), "LPIPS on SqueezeNet 1.1", _LPIPS, extractor="lpips-squeeze"
    ),
    _protocol(
        "lpips_mini", PerceptualOptions(), "the recipe of LPIPS on the bundled network",
        "evalkit; comparable with itself alone", extractor="lpips-mini",
    ),
    _protocol(
        "dists", PerceptualOptions(), "DISTS: distance of structure and of texture, on VGG16", _DISTS,
        extractor="dists",
        deviates="the authors' program first shrinks images to a short side of 256 pixels",
    ),
)  # fmt: skip

_CONSISTENCY = (
    _protocol(
        "lr_psnr", ConsistencyOptions(against="input", multiple=None),
        "PSNR in dB of the shrunk restoration against the low-resolution image", _SRFLOW,
    ),
    _protocol(
        "lr_psnr_ntire21", ConsistencyOptions(against="original", multiple=8),
        "PSNR in dB of the shrunk restoration against the shrunk original", _NTIRE,
    ),
)  # fmt: skip

_TOGETHER = (
    _protocol(
        "sr_diversity", DiversityOptions(multiple=8),
        "gain of the best sample of every pixel over the best sample, by LPIPS, in percent", _NTIRE,
        extractor="lpips-alex",
    ),
    _protocol(
        "sr_diversity_mini", DiversityOptions(multiple=8),
        "gain of the best sample of every pixel over the best sample, on the bundled network, in percent",
        "evalkit; comparable with itself alone", extractor="lpips-mini",
    ),
    _protocol(
        "sr_pixel_std", SampleSpreadOptions(ddof=1),
        "standard deviation over samples of every pixel and channel, 0..255, n - 1",
        "Lugmayr et al. 2020, column sigma",
        deviates="andreas128/SRFlow@5a007ad has no code for it; ddof 1 and the scale are evalkit's choice",
    ),
    _protocol(
        "sr_pixel_std_population", SampleSpreadOptions(ddof=0),
        "standard deviation over samples of every pixel and channel, 0..255, n",
        "Lugmayr et al. 2020, column sigma",
        deviates="as sr_pixel_std, which divides by n - 1",
    ),
)  # fmt: skip

_LIKELIHOOD = (
    _protocol(
        "sr_bpd", ConditionalLikelihoodOptions(bits=8),
        "Bits per dimension of originals given their low-resolution images, exact, uniform dequantisation",
        "Lugmayr et al. 2020, eq. 4; Theis et al. 2016, section 3.1",
        deviates="SRFlow prints bits per pixel of a density without dequantisation (`evalkit bpd convert "
        "--from srflow-nll`)",
    ),
)  # fmt: skip


def of_samples(name: str) -> ProtocolSpec | None:
    """The protocol of the best or the worst sample, ``NAME_best`` or ``NAME_worst``; None of other names.

    Raises:
        UsageError: What is named has no single samples to choose from.
    """
    stem, _, which = name.rpartition("_")
    base = _BY_NAME.get(stem)
    if base is None or which not in _WORDS:
        return None
    if not isinstance(base.options, SampleOptions):
        raise UsageError(
            f"{name}: {stem} is one number an image, of all its samples together or of none, so none of them "
            f"is the {which}; ask for {stem}"
        )
    changed: Any = {"of_samples": which}
    options = dataclasses.replace(base.options, **changed)
    about = dataclasses.replace(base.about, title=f"{base.about.title}: {_WORDS[which]}")
    return dataclasses.replace(base, name=name, options=options, about=about)


PROTOCOLS: tuple[ProtocolSpec, ...] = (*_FIDELITY, *_PERCEPTUAL, *_CONSISTENCY, *_TOGETHER, *_LIKELIHOOD)
_BY_NAME: Mapping[str, ProtocolSpec] = {spec.name: spec for spec in PROTOCOLS}
