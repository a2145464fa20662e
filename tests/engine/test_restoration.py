"""Numbers of restorations: those of the metrics' functions, their laws, and what the protocols leave out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from restorers import SCALE, disturbed, picture, write
from scipy import stats

import evalkit
from evalkit.errors import MetricError
from evalkit.features.perceptual import load_perceptual
from evalkit.imaging.colour import grey_level, luma
from evalkit.imaging.resize_matlab import downscale
from evalkit.metrics.restoration.diversity import best_of_samples, pixel_std
from evalkit.metrics.restoration.psnr import lr_psnr, psnr, shave
from evalkit.metrics.restoration.ssim import ssim
from evalkit.protocols.catalog import PROTOCOLS
from evalkit.records.schema import Record

ORIGINALS = {
    "a.png": picture(48, 48),
    "b.png": picture(50, 61),  # cropped to 48 by 60
    "c.png": picture(48, 52)[..., 0],  # stored grey
}
SAMPLES = 3
STORED = 2**-23  # rows are kept as float32


def cropped(image: np.ndarray) -> np.ndarray:
    """The part of an original that counts, RGB with the channels last."""
    height, width = (side // SCALE * SCALE for side in image.shape[:2])
    part = image[:height, :width]
    return part if part.ndim == 3 else part[..., None].repeat(3, axis=2)


def first(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(cropped(image).transpose(2, 0, 1))


RESTORED = {
    f"{name[0]}_{k}.png": disturbed(cropped(image), seed=k, by=6 + 5 * k)
    for name, image in ORIGINALS.items()
    for k in range(SAMPLES)
}


def judged(sr: np.ndarray, hr: np.ndarray) -> float:
    return float(load_perceptual("lpips-mini")(sr[None], hr)[0])


def fidelity(compare: Callable[..., float], border: int, y: bool = False, **options: Any) -> Callable:
    def number(sr: np.ndarray, hr: np.ndarray, grey: bool) -> float:
        a, b = shave(sr, border), shave(hr, border)
        if y:
            a, b = (grey_level(a), grey_level(b)) if grey else (luma(a), luma(b))
        return compare(a, b, **options)

    return number


def eighths(image: np.ndarray) -> np.ndarray:
    return image[:, : image.shape[1] // 8 * 8, : image.shape[2] // 8 * 8]


OF_SAMPLES: dict[str, Callable[[np.ndarray, np.ndarray, bool], float]] = {
    "psnr_rgb": fidelity(psnr, 4),
    "psnr_y": fidelity(psnr, 4, y=True),
    "psnr_rgb_srflow": fidelity(psnr, 0),
    "psnr_rgb_edsr": fidelity(psnr, 10),
    "psnr_y_edsr": fidelity(psnr, 10, y=True),
    "ssim_rgb": fidelity(ssim, 4, window="gaussian11"),
    "ssim_y": fidelity(ssim, 4, y=True, window="gaussian11"),
    "ssim_rgb_srflow": fidelity(ssim, 0, window="uniform7"),
    "lpips_mini": lambda sr, hr, grey: judged(sr, hr),
    "lr_psnr": lambda sr, hr, grey: lr_psnr(sr, downscale(hr, 4), 4),
    "lr_psnr_ntire21": lambda sr, hr, grey: lr_psnr(eighths(sr), downscale(eighths(hr), 4), 4),
}
TOGETHER: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "sr_diversity_mini": lambda sr, hr: (
        best_of_samples(
            load_perceptual("lpips-mini").maps(np.stack([eighths(each) for each in sr]), eighths(hr))
        ).score
    ),
    "sr_pixel_std": lambda sr, hr: pixel_std(sr, 1),
    "sr_pixel_std_population": lambda sr, hr: pixel_std(sr, 0),
}
NAMES = [*OF_SAMPLES, *TOGETHER, *(f"{name}_{which}" for name in OF_SAMPLES for which in ("best", "worst"))]


def measure(folder: Path, metrics: str, **more: Any) -> dict[str, Record]:
    arguments = {
        "hr": folder / "hr", "sr": folder / "sr", "scale": SCALE, "output": None, "baselines": False, **more,
    }  # fmt: skip
    return {record.metric: record for record in evalkit.evaluate_restoration(metrics=metrics, **arguments)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("restored")
    write(folder / "hr", ORIGINALS)
    write(folder / "sr", RESTORED)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Record]:
    return measure(folder, ",".join(NAMES), cache_dir=folder / "cache")


def test_every_protocol_that_needs_no_download_is_held_to_a_function_here():
    names = {name for name in PROTOCOLS if name.startswith(("psnr", "ssim", "lr_psnr", "sr_", "lpips_mini"))}
    # The diversity of a network to download differs in the network alone; sr_bpd needs a model.
    assert names - {"sr_diversity", "sr_bpd"} == {*OF_SAMPLES, *TOGETHER}


@pytest.mark.parametrize("name", list(OF_SAMPLES))
def test_a_number_is_the_mean_of_the_function_over_samples(name: str, found: dict[str, Record]):
    for file, image in ORIGINALS.items():
        values = [
            OF_SAMPLES[name](first(RESTORED[f"{file[0]}_{k}.png"]), first(image), image.ndim == 2)
            for k in range(SAMPLES)
        ]
        order = sorted(values, reverse=found[name].higher_is_better)
        for which, expected in (("", np.mean(values)), ("_best", order[0]), ("_worst", order[-1])):
            assert found[name + which].per_image[file[0]] == pytest.approx(expected, rel=STORED)


@pytest.mark.parametrize("name", list(TOGETHER))
def test_a_number_of_several_samples_is_the_function_of_all(name: str, found: dict[str, Record]):
    for file, image in ORIGINALS.items():
        samples = np.stack([first(RESTORED[f"{file[0]}_{k}.png"]) for k in range(SAMPLES)])
        assert found[name].per_image[file[0]] == pytest.approx(
            TOGETHER[name](samples, first(image)), rel=STORED
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_error_bar_is_student_s_over_images(name: str, found: dict[str, Record]):
    record = found[name]
    assert list(record.per_image) == ["a", "b", "c"]
    each = list(record.per_image.values())
    assert record.value == pytest.approx(np.mean(each), rel=1e-12)
    assert record.standard_error == pytest.approx(stats.sem(each), rel=1e-12)
    assert record.ci95 == pytest.approx(
        stats.t.interval(0.95, len(each) - 1, loc=np.mean(each), scale=stats.sem(each)), rel=1e-9
    )
    assert record.ci_method.startswith("Student's interval of a mean over images")
    extras = [record.extras[key] for key in ("min", "max", "std")]
    assert extras == pytest.approx([min(each), max(each), np.std(each, ddof=1)], rel=1e-12)


def test_one_image_has_a_number_and_no_interval(folder: Path):
    record = measure(folder, "psnr_rgb", data_limit=1)["psnr_rgb"]
    assert (record.standard_error, record.ci95) == (None, None)
    assert record.notes == ("one image has no spread over images, so that there is no interval",)
    assert "std" not in record.extras


@pytest.mark.parametrize("name", list(OF_SAMPLES))
def test_best_mean_and_worst_are_in_order(name: str, found: dict[str, Record]):
    best, mean, worst = (found[name + which] for which in ("_best", "", "_worst"))
    sign = 1 if mean.higher_is_better else -1
    assert mean.higher_is_better == (name != "lpips_mini")
    for image in ORIGINALS:
        values = [sign * record.per_image[image[0]] for record in (worst, mean, best)]
        assert values == sorted(set(values))
    assert mean.extras["best_of_n"] == pytest.approx(best.value, rel=1e-12)
    assert mean.extras["worst_of_n"] == pytest.approx(worst.value, rel=1e-12)
    assert mean.extras["std_of_samples"] > 0
    assert len({record.protocol["digest"] for record in (best, mean, worst)}) == 3


def test_one_sample_is_the_best_and_the_worst(folder: Path):
    found = measure(folder, "psnr_y,psnr_y_best,psnr_y_worst,lpips_mini,lpips_mini_best", samples=1)
    assert found["psnr_y"].value == found["psnr_y_best"].value == found["psnr_y_worst"].value
    assert found["lpips_mini"].value == found["lpips_mini_best"].value
    assert not {"best_of_n", "worst_of_n", "std_of_samples"} & set(found["psnr_y"].extras)
    assert "the first 1 of 3 restorations of each original are used" in found["psnr_y"].data.notes


def test_the_two_deviations_differ_by_their_divisors_alone(found: dict[str, Record]):
    ours, population = found["sr_pixel_std"], found["sr_pixel_std_population"]
    for image, value in ours.per_image.items():
        ratio = value / population.per_image[image]
        assert ratio == pytest.approx(math.sqrt(SAMPLES / (SAMPLES - 1)), rel=2 * STORED)


def test_an_exact_restoration_is_named_instead_of_a_number(tmp_path: Path):
    write(tmp_path / "hr", ORIGINALS)
    write(tmp_path / "sr", {**RESTORED, **{f"b_{k}.png": cropped(ORIGINALS["b.png"]) for k in range(3)}})
    found = measure(tmp_path, "psnr_rgb,psnr_y_best,lr_psnr,ssim_rgb,ssim_rgb_srflow,lpips_mini")
    for name in ("psnr_rgb", "psnr_y_best", "lr_psnr"):
        record = found[name]
        assert record.value is record.standard_error is record.ci95 is None
        assert record.reason == (
            f"{name} is infinite: 1 of 3 images equal what they are compared with, the first is b; the "
            "others are in per_image"
        )
        assert list(record.per_image) == ["a", "c"]
    assert found["ssim_rgb"].per_image["b"] == found["ssim_rgb_srflow"].per_image["b"] == 1
    assert found["lpips_mini"].per_image["b"] == 0


def test_one_exact_sample_is_no_worst_one(tmp_path: Path):
    write(tmp_path / "hr", ORIGINALS)
    write(tmp_path / "sr", {**RESTORED, "a_1.png": cropped(ORIGINALS["a.png"])})
    found = measure(tmp_path, "psnr_rgb_worst,psnr_rgb_best,psnr_rgb,ssim_rgb")
    assert found["psnr_rgb_worst"].value < 60
    assert found["psnr_rgb_worst"].extras["worst_of_n"] == pytest.approx(found["psnr_rgb_worst"].value)
    assert not {"best_of_n", "std_of_samples"} & set(found["psnr_rgb_worst"].extras)
    assert (found["psnr_rgb"].value, found["psnr_rgb_best"].value) == (None, None)
    assert found["ssim_rgb"].extras["best_of_n"] > found["ssim_rgb"].value


def test_repeated_samples_have_no_diversity_at_all(tmp_path: Path):
    write(tmp_path / "hr", ORIGINALS)
    write(
        tmp_path / "sr", {f"{n[0]}_{k}.png": RESTORED[f"{n[0]}_2.png"] for n in ORIGINALS for k in range(3)}
    )
    found = measure(tmp_path, ",".join([*TOGETHER, "psnr_rgb"]))
    for name in TOGETHER:
        assert set(found[name].per_image.values()) == {0.0}
        assert (found[name].value, found[name].ci95) == (0.0, (0.0, 0.0))
    assert found["psnr_rgb"].extras["std_of_samples"] == 0


def test_grey_originals_are_compared_by_their_grey_level(tmp_path: Path):
    grey = picture(48, 48)[..., 1]
    restored = disturbed(grey[..., None].repeat(3, axis=2)[..., :1], seed=1).repeat(3, axis=2)
    write(tmp_path / "sr", {"a.png": restored})
    write(tmp_path / "hr", {"a.png": grey})
    stored_grey = measure(tmp_path, "psnr_y,psnr_rgb,ssim_y,ssim_rgb")
    write(tmp_path / "hr", {"a.png": grey[..., None].repeat(3, axis=2)})
    stored_rgb = measure(tmp_path, "psnr_y,psnr_rgb,ssim_y,ssim_rgb")
    assert stored_grey["psnr_y"].value == pytest.approx(stored_grey["psnr_rgb"].value, rel=STORED)
    assert stored_grey["ssim_y"].value == pytest.approx(stored_grey["ssim_rgb"].value, rel=STORED)
    # Luma has 219 steps where grey has 255.
    wider = 20 * math.log10(255 / 219)
    assert stored_rgb["psnr_y"].value - stored_grey["psnr_y"].value == pytest.approx(wider, abs=1e-4)
    assert stored_rgb["psnr_rgb"].value == stored_grey["psnr_rgb"].value
    assert "1 of 1 originals are stored grey and are repeated to three channels" in (
        stored_grey["psnr_y"].data.notes
    )
    assert stored_grey["psnr_y"].record_id != stored_rgb["psnr_y"].record_id


@pytest.mark.parametrize(
    "form", ["{image}x4_sample{k}.png", "{k}/{image}.png", "run/sample_{k}/{image}_SR.bmp"]
)
def test_how_files_are_named_moves_no_number(
    form: str, found: dict[str, Record], folder: Path, tmp_path: Path
):
    write(
        tmp_path / "sr",
        {form.format(image=name[0], k=name[2]): image for name, image in reversed(RESTORED.items())},
    )
    # The other order of the originals, which are sorted by name.
    other = {"a": "z", "b": "y", "c": "x"}
    for kind in ("hr", "sr"):
        source = tmp_path / "sr" if kind == "sr" else folder / "hr"
        for path in sorted(source.rglob("*.*")):
            target = tmp_path / "other" / kind / path.relative_to(source)
            target = target.with_name(other[path.name[0]] + path.name[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    again = measure(tmp_path, ",".join(NAMES), hr=folder / "hr")
    turned = measure(tmp_path / "other", "psnr_y,sr_pixel_std,sr_diversity_mini")
    for name in NAMES:
        assert again[name].per_image == found[name].per_image
        assert again[name].value == found[name].value
    for record in turned.values():
        assert list(record.per_image) == ["x", "y", "z"]
        assert {other[k]: v for k, v in found[record.metric].per_image.items()} == record.per_image


# How many pixels along every edge each protocol leaves out, at scale 4.
BORDERS = {
    "psnr_rgb": 4, "psnr_y": 4, "ssim_rgb": 4, "ssim_y": 4,
    "psnr_rgb_srflow": 0, "ssim_rgb_srflow": 0,
    "psnr_rgb_edsr": 10, "psnr_y_edsr": 10,
}  # fmt: skip


@pytest.mark.parametrize(
    ("depth", "edge"), [(0, "top"), (3, "left"), (4, "bottom"), (9, "right"), (10, "top")]
)
def test_a_pixel_counts_where_it_lies_inside_the_border(depth: int, edge: str, tmp_path: Path):
    original, clean = picture(48, 56), disturbed(picture(48, 56), seed=5)
    place = {
        "top": (depth, 25), "bottom": (47 - depth, 25), "left": (25, depth), "right": (25, 55 - depth),
    }[edge]  # fmt: skip
    dirty = clean.copy()
    dirty[place] = 255 - original[place]
    write(tmp_path / "hr", {"a.png": original})
    found = []
    for image in (clean, dirty):
        write(tmp_path / "sr", {"a.png": image})
        found.append({name: record.value for name, record in measure(tmp_path, ",".join(BORDERS)).items()})
    moved = {name for name in BORDERS if found[0][name] != found[1][name]}
    assert moved == {name for name, border in BORDERS.items() if border <= depth}


def test_images_that_are_smaller_than_a_border_or_window_are_named(tmp_path: Path):
    write(tmp_path / "hr", {"a.png": picture(48, 48), "tiny.png": picture(16, 20)})
    write(tmp_path / "sr", {"a.png": picture(48, 48, 1), "tiny.png": picture(16, 20, 1)})
    border = "tiny: an image of 16 by 20 pixels has nothing left without a border of 10"
    window = r"tiny: SSIM with the window gaussian11 needs images .* got \(3, 8, 12\)"
    for metric, message in (("psnr_rgb_edsr", border), ("ssim_rgb", window)):
        with pytest.raises(MetricError, match=f"^{message}"):
            measure(tmp_path, metric)
    # What can be measured of them is measured and filed beside what cannot.
    alone = measure(tmp_path, "psnr_rgb,lpips_mini", cache_dir=tmp_path / "alone")
    with pytest.raises(MetricError, match=f"{border}.*; {window}.*; 2 other results are filed in .*results"):
        measure(tmp_path, "psnr_rgb_edsr,psnr_rgb,ssim_rgb,lpips_mini", output=tmp_path / "results")
    filed = {record.metric: record for record in evalkit.read_records(tmp_path / "results")}
    assert {name: r.record_id for name, r in filed.items()} == {
        name: r.record_id for name, r in alone.items()
    }
