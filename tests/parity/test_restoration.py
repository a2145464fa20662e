"""MATLAB's resize, PSNR, SSIM, LR-PSNR and diversity against numbers of the official programs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from output_cases import OutputCase
from tensor_cases import names_of

from evalkit.imaging.colour import luma
from evalkit.imaging.quantise import to_uint8
from evalkit.imaging.resize_matlab import downscale, upscale
from evalkit.metrics.restoration.diversity import best_of_samples, pixel_std
from evalkit.metrics.restoration.psnr import lr_psnr, psnr, shave
from evalkit.metrics.restoration.ssim import ssim, ssim_map
from evalkit.protocols.catalog import PROTOCOLS
from golden_cases import Golden, find_cases, fitting
from reference_models.srflow import evaluate

HANDLES = (
    "metrics/psnr_ssim*", "metrics/imresize_matlab*", "metrics/sr_space_*", "srflow_metrics*", "srflow_eval*",
)  # fmt: skip
ARRAYS = {name: path for name, path in find_cases().items() if name.startswith("metrics/")}
RESIZE: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"down": downscale, "up": upscale}


def cases(pattern: str) -> list[str]:
    return [name for name in ARRAYS if fitting(name, (pattern,))]


def first(image: Any) -> np.ndarray:
    """Channels from the last place to the first."""
    return np.moveaxis(np.asarray(image), -1, -3)


def last(image: np.ndarray) -> np.ndarray:
    return np.moveaxis(image, -3, -1)


@pytest.mark.parametrize("name", cases("metrics/imresize_matlab*"))
def test_imresize(name: str):
    golden = Golden(ARRAYS[name])

    def resized(way: str, factor: str) -> np.ndarray:
        image = first(golden["img" if way == "d" else f"img_small_for_x{factor}"])
        return last(RESIZE["down" if way == "d" else "up"](image, int(factor)))

    def resized_floats(way: str, factor: str) -> np.ndarray:
        image = first(golden["img" if way == "d" else f"img_small_for_x{factor}"]) / 255
        return last(RESIZE["down" if way == "d" else "up"](image, int(factor)))

    golden.compare(r"srflow__uint8_([du])(\d+)", resized)
    golden.compare(r"srflow__f64_([du])(\d+)", resized_floats, atol=1e-10)
    golden.compare(r"basicsr__f32_([du])(\d+)", resized_floats, atol=1e-6)
    golden.finish()


@pytest.mark.parametrize("name", cases("metrics/psnr_ssim*"))
def test_psnr_and_ssim(name: str):
    golden = Golden(ARRAYS[name])
    a, b = first(golden["rgb_a"]), first(golden["rgb_b"])

    def pair(channels: str, border: str) -> list[np.ndarray]:
        shaved = [shave(image, int(border)) for image in (a, b)]
        return [luma(image) for image in shaved] if channels == "y" else shaved

    golden.compare(r"basicsr__psnr_(rgb|y)_crop(\d+)", lambda *how: psnr(*pair(*how)), atol=1e-4)
    golden.compare(
        r"basicsr__ssim_(rgb|y)_crop(\d+)", lambda *how: ssim(*pair(*how), window="gaussian11"), atol=1e-6
    )
    golden.compare("basicsr__y_of_a_f32", lambda: luma(a), atol=1e-4)  # 16 to 235 in float32
    golden.compare("(?:srflow_skimage|torchmetrics)__psnr_rgb", lambda: psnr(a, b), atol=1e-4)
    golden.compare("srflow_skimage__ssim_rgb_win7_uniform", lambda: ssim(a, b, window="uniform7"), atol=1e-6)
    golden.compare("skimage__ssim_rgb_gauss11_wang", lambda: ssim(a, b, window="gaussian11"), atol=1e-6)
    golden.informative("torchmetrics__ssim_rgb_gauss_reflect", "another rule at the border, for contrast")
    golden.finish()


@pytest.mark.parametrize("name", cases("metrics/sr_space_*"))
def test_learning_the_space_of_restorations(name: str):
    golden = Golden(ARRAYS[name])
    scale, found = golden.number("scale"), best_of_samples(golden["lpips_maps"])

    def whole(image: np.ndarray) -> np.ndarray:
        height, width = (side // 8 * 8 for side in image.shape[-2:])
        return image[..., :height, :width]

    low = downscale(whole(first(golden["gt"])), scale)
    each = [lr_psnr(whole(sample), low, scale) for sample in first(golden["srs"])]
    golden.compare("ntire21__lrpsnr_each", lambda: each, rtol=1e-5)
    golden.compare("ntire21__LRPSNR_mean", lambda: np.mean(each), rtol=1e-5)
    golden.compare("ntire21__LRPSNR_worst", lambda: np.min(each), rtol=1e-5)
    golden.compare("ntire21__LPIPS_mean", lambda: golden["lpips_maps"].mean(dtype=np.float64), rtol=1e-5)
    golden.compare("ntire21__score", lambda: found.score, rtol=1e-5)
    golden.compare(
        r"rule__pixel_std_ddof([01])_mean_0_255",
        lambda ddof: pixel_std(first(golden["srs"]), int(ddof)),
        rtol=1e-5,
    )
    golden.finish()


@pytest.mark.parametrize("name", names_of("srflow_metrics*"))
def test_the_metrics_of_srflow(name: str):
    case = OutputCase(name)
    images = {index: {kind: first(case[f"in.{index}.{kind}"]) for kind in ("hr", "sr")} for index in
              {key.split(".")[1] for key in case.arrays if re.fullmatch(r"in\.\d+\.sr", key)}}  # fmt: skip

    def resized(index: str, what: str | None, way: str, factor: str) -> np.ndarray:
        image = images[index]["hr" if what == "hr_" else "sr"]
        image = image / 255 if what == "float_" else image
        return last(RESIZE["up" if way == "up" else "down"](image, int(factor)))

    case.compare(r"(\d+)\.imresize_(hr_|float_)?(x|up)(\d+)", resized)
    case.compare(
        r"(\d+)\.ssim_map",
        lambda index: last(ssim_map(images[index]["hr"], images[index]["sr"], window="uniform7")),
    )
    case.compare("uint8_sr", lambda: last(to_uint8(case["in.float_sr"][0], "unit").numpy()))
    case.compare(
        "pad", lambda: last(evaluate._even(torch.from_numpy(first(case["in.pad"]))[None])[0].numpy())
    )
    case.finish()

    samples = first(case["in.samples"])
    numbers: dict[str, Callable[..., float]] = {
        r"(\d+)\.psnr": lambda index: psnr(images[index]["sr"], images[index]["hr"]),
        r"(\d+)\.ssim": lambda index: ssim(images[index]["sr"], images[index]["hr"], window="uniform7"),
        r"(\d+)\.lr_psnr_x(\d+)": lambda index, scale: lr_psnr(
            images[index]["sr"], downscale(images[index]["hr"], int(scale)), int(scale)
        ),
        "diversity_mean_pixel_std": lambda: pixel_std(samples, 0),
        "diversity_mean_pixel_std_ddof1": lambda: pixel_std(samples, 1),
    }
    for label, expected in case.facts["expected"].items():
        (got,) = [
            compute(*match.groups())
            for pattern, compute in numbers.items()
            if (match := re.fullmatch(pattern, label))
        ]
        assert got == pytest.approx(expected, rel=case.facts["rtol"], abs=case.facts["atol"]), label


@pytest.mark.parametrize("name", names_of("srflow_eval*"))
def test_the_protocols_are_those_of_the_papers(name: str):
    """What the official programs do, as a case's words have it, is what our protocols' settings say."""
    case = OutputCase(name)
    said, challenge = case.facts["protocol"], case.facts["ntire21_learning_sr_space"]
    heat = re.search(r"heat = ([\d.]+)", said["sampling"])
    assert heat is not None
    assert float(heat[1]) == evaluate.HEAT
    options: dict[str, Any] = {name: spec.options for name, spec in PROTOCOLS.items()}
    assert "no border removal" in said["psnr"]
    assert (options["psnr_rgb_srflow"].channels, options["psnr_rgb_srflow"].border) == ("rgb", "none")
    assert "7x7 uniform window, sample covariance" in said["ssim"]
    assert (options["ssim_rgb_srflow"].window, options["ssim_rgb_srflow"].border) == ("uniform7", "none")
    assert "net alex" in said["lpips"]
    assert PROTOCOLS["lpips_alex"].extractor == PROTOCOLS["sr_diversity"].extractor == "lpips-alex"
    assert "vs the unpadded LR uint8" in said["lr_psnr"]
    assert (options["lr_psnr"].against, options["lr_psnr"].multiple) == ("input", None)
    assert said["aggregation"] == "mean over images of the per-image values"
    assert "score = 100*(global - local)/global" in challenge["metric"]
