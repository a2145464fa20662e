"""What no number is made of: restorations that are not finite or none at all, metrics that do not apply."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from restorers import SCALE, Drawing, disturbed, picture, write

import evalkit
import reference_models
from evalkit.engine.probes import draw_uniform
from evalkit.engine.restoration.request import prepare
from evalkit.engine.restoration.run import run_restoration
from evalkit.errors import CheckpointError, EvalkitError, MetricError, UsageError, WeightsError
from evalkit.records.schema import Record

IMAGES = "abcd"
WHY_NONE = "this looks at several restorations of an image together, and there is 1 of each"
SIZE = 3 * 24 * 32


class Overflowing(Drawing):
    """Gives values that are not finite for the last sample of the second image."""

    def restore(self, image, *, seeds, temperature=None):
        made = super().restore(image, seeds=seeds, temperature=temperature)
        if len(self.asked) == 2:
            made[-1, 1, 3, 4] = math.nan
        return made


class Likely(Drawing):
    """Its density of every original is the same."""

    nats: Any = 0.0

    def conditional_nats(self, hr: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
        self.given = (hr, lr)
        return torch.full((len(hr),), float(self.nats), dtype=torch.float64)


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    return write(tmp_path / "hr", {f"{name}.png": picture(24, 32, seed) for seed, name in enumerate(IMAGES)})


def measure(hr: Path, metrics: str, **more: Any) -> list[Record]:
    given = {"samples": 3, "output": None, "baselines": False, **more}
    if given.get("sr") is not None:
        del given["samples"]
    return evalkit.evaluate_restoration(hr=hr, scale=SCALE, metrics=metrics, **given)


# -- restorations that are none


def test_samples_that_are_not_finite_are_named_and_the_others_kept(hr: Path, tmp_path: Path):
    where = {"cache_dir": tmp_path / "cache", "output": tmp_path / "results", "temperature": 2}
    with pytest.raises(MetricError) as caught:
        measure(hr, "psnr_rgb", sr_model=Overflowing(), baselines=True, **where)
    assert str(caught.value) == (
        "1 of 12 restorations of drawing at temperature 2 hold values that are not finite and have no grey "
        "level; the first is sample 2 of b: take a lower temperature than 2. The other 11 are kept, and no "
        "number was made of them alone"
    )
    filed = {record.samples.name for record in evalkit.read_records(tmp_path / "results")}
    assert filed == {"nearest", "bicubic", "lanczos"}
    mended = Drawing()
    (record,) = measure(hr, "psnr_rgb", sr_model=mended, **where)
    assert mended.drawn == 1
    assert record.samples.num == 12


def test_without_a_temperature_the_weights_are_suspected(hr: Path):
    model = Overflowing(temperature=None)
    message = "1 of 12 restorations of drawing hold values .* sample 2 of b: check its weights"
    with pytest.raises(MetricError, match=message):
        measure(hr, "psnr_rgb", sr_model=model)


MISFITS = [
    (lambda made: made[..., :-1],
     r"returned shape \(2, 3, 24, 31\); expected is \(2, 3, 24, 32\): 2 RGB images of 32x24, 4 times 8x6"),
    (lambda made: made[:1], r"returned shape \(1, 3, 24, 32\); expected is \(2, 3, 24, 32\)"),
    (lambda made: made[:, :1], r"returned shape \(2, 1, 24, 32\); expected"),
    (lambda made: list(made), r"returned list; expected is \(2, 3, 24, 32\)"),
    (lambda made: None, "returned NoneType; expected"),
    (lambda made: (made * 255).long(), "returned numbers of type int64; return floats in .0, 1. or uint8"),
    (lambda made: made > 0.5, "returned numbers of type bool; return floats"),
    (lambda made: 1 / 0, "raised ZeroDivisionError: division by zero"),
    (lambda made: exit("bye"), "raised SystemExit: bye"),
]  # fmt: skip


def changed(change: Any, identity: str | None = "known") -> Drawing:
    class Wrong(Drawing):
        def restore(self, image, *, seeds, temperature=None):
            return change(super().restore(image, seeds=seeds, temperature=temperature))

    return Wrong(identity=identity)


@pytest.mark.parametrize(("change", "message"), MISFITS)
def test_answers_that_are_no_restorations(change: Any, message: str, hr: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match=f"drawing, asked to restore a, {message}"):
        measure(
            hr, "psnr_rgb", sr_model=changed(change), samples=2, output=tmp_path / "results",
            cache_dir=tmp_path / "cache",
        )  # fmt: skip
    assert list((tmp_path / "cache").rglob("*.png")) == []
    assert list((tmp_path / "results").rglob("*.json")) == []


def test_a_model_that_is_to_be_known_by_its_answer_is_told_the_same(hr: Path):
    model = changed(lambda made: made[..., 1:], identity=None)
    message = "drawing, asked to restore a, returned shape .*: 1 RGB images of 32x24, 4 times 8x6"
    with pytest.raises(CheckpointError, match=message):
        measure(hr, "psnr_rgb", sr_model=model)


def test_an_error_that_a_model_explains_itself_passes_as_it_is(hr: Path):
    class Grey(Drawing):
        def restore(self, image, *, seeds, temperature=None):
            raise UsageError("drawing is of grey images and was given coloured ones")

    with pytest.raises(UsageError, match="^drawing is of grey images and was given coloured ones$"):
        measure(hr, "psnr_rgb", sr_model=Grey())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sr_model": None}, "neither of --sr .* and --sr-model .* was given; give one of them"),
        ({"sr_model": Drawing(), "sr": "somewhere"}, "both of --sr .* and --sr-model .* was given"),
        ({"samples": 0}, "--samples is 0; give how many restorations of each image, from 1 to 1,000"),
        ({"samples": True}, "--samples is True"),
        ({"samples": 1001}, "--samples is 1001"),
        ({"temperature": math.nan}, r"the temperature is nan; give a finite number from 0 on, such as 0\.9"),
        ({"temperature": -0.5}, "the temperature is -0.5"),
        ({"temperature": math.inf}, "the temperature is inf"),
        ({"temperature": True}, "the temperature is True"),
        ({"seed": -1}, "the seed is -1; give a whole number from 0"),
        ({"seed": 0.5}, "the seed is 0.5"),
        ({"sr_model": object()}, "restoration needs a model that turns low-resolution images"),
        ({"sr_model": Drawing(scale=2)}, "drawing enlarges 2 times, and the scale is 4; give --scale 2"),
        ({"value_range": "signed"}, "says itself what its images are; leave --range out"),
        ({"metrics": "fid"}, "fid is no metric of restorations and their originals; .* --samples or --model"),
        ({"metrics": ""}, "no metric was named"),
        ({"weights": {"alexne": "x"}}, "alexnet"),
    ],
)
def test_what_cannot_be_asked(given: dict[str, Any], message: str, hr: Path):
    arguments = {"metrics": "psnr_rgb", "sr_model": Drawing(), "samples": 2, **given}
    with pytest.raises(UsageError, match=message):
        prepare(hr=hr, scale=SCALE, **arguments)


def test_images_that_are_there_have_neither_temperature_nor_range(hr: Path):
    for given in ({"temperature": 0.5}, {"value_range": "signed"}):
        with pytest.raises(UsageError, match="belongs to a model, and --sr are images that are there"):
            prepare(hr=hr, sr=hr.parent, scale=SCALE, metrics="psnr_rgb", **given)


# -- what does not apply


def test_one_sample_has_no_diversity_and_all_other_numbers(hr: Path, tmp_path: Path):
    metrics = (
        "sr_diversity,sr_diversity_mini,sr_pixel_std,sr_pixel_std_population,psnr_rgb,ssim_rgb,lpips_mini"
    )
    sr = write(tmp_path / "sr", {f"{n}.png": disturbed(picture(24, 32, s), s) for s, n in enumerate(IMAGES)})
    for of in ({"sr": sr}, {"sr_model": Drawing(), "samples": 1}, {"sr_model": "bicubic", "samples": 1}):
        records = measure(hr, metrics, output=tmp_path / "results", **of)
        assert [record.metric for record in records] == metrics.split(",")
        for record in records[:4]:
            assert record.value is record.per_image is record.seed is None
            assert record.reason == f"not applicable: {WHY_NONE}"
        assert all(record.value is not None for record in records[4:])
    assert len(evalkit.read_records(tmp_path / "results")) == 3 * 7


def test_ten_samples_are_drawn_where_a_metric_looks_at_several(hr: Path):
    for metrics, num in (("psnr_rgb", 1), ("psnr_rgb,sr_pixel_std", 10)):
        assert prepare(hr=hr, scale=SCALE, metrics=metrics, sr_model=Drawing()).num_samples == num


def test_a_likelihood_needs_a_model_that_has_one(hr: Path, tmp_path: Path):
    sr = write(tmp_path / "sr", {f"{name}.png": picture(24, 32, 9) for name in IMAGES})
    why = (
        "not applicable: this needs a model with a likelihood of originals given their low-resolution images"
    )
    for of, ending in (
        ({"sr": sr}, "restorations alone have none"), ({"sr_model": "bicubic"}, "bicubic has none"),
        ({"sr_model": Drawing()}, "drawing has none"),
    ):  # fmt: skip
        bits, fidelity = measure(hr, "sr_bpd,psnr_rgb", **of)
        assert (bits.value, bits.reason) == (None, f"{why}; {ending}")
        assert fidelity.value is not None


def test_only_what_does_not_apply_is_no_failure(hr: Path):
    (record,) = measure(hr, "sr_diversity", sr_model="bicubic", samples=1, baselines=True)
    assert record.reason.startswith("not applicable: ")


# -- likelihoods


def test_a_density_of_one_everywhere_needs_eight_bits(hr: Path):
    (record,) = measure(hr, "sr_bpd", sr_model=Likely())
    assert set(record.per_image.values()) == {8.0}
    assert not record.higher_is_better
    for nats in (1000.0, -2500.0):
        (record,) = measure(hr, "sr_bpd", sr_model=Likely(nats=nats, identity=f"{nats}"))
        assert record.value == pytest.approx(8 + nats / (SIZE * math.log(2)), rel=1e-6)


def test_the_noise_of_a_likelihood_belongs_to_the_image_and_the_seed(hr: Path):
    asked = []

    class Watched(Likely):
        def conditional_nats(self, hr, lr):
            asked.append((hr.clone(), lr.clone()))
            return hr.flatten(1).sum(1)

    (record,) = measure(hr, "sr_bpd", sr_model=Watched(), seed=5)
    pairs = prepare(hr=hr, scale=SCALE, metrics="sr_bpd", sr_model=Drawing()).pairs
    assert len(asked) == 4
    for image, (high, low) in enumerate(asked):
        noise = draw_uniform(5, "dequantise", range(image, image + 1), SIZE).reshape(1, 3, 24, 32)
        assert high.dtype == torch.float64
        np.testing.assert_allclose(high.numpy(), (pairs.hr(image) + noise) / 256, rtol=0, atol=1e-15)
        assert np.array_equal(low[0].numpy(), pairs.lr(image))
        nats = float(high.sum())
        expected = (nats / math.log(2) + 8 * SIZE) / SIZE
        assert record.per_image[IMAGES[image]] == pytest.approx(expected, rel=2**-23)
    asked.clear()
    (other,) = measure(hr, "sr_bpd", sr_model=Watched(), seed=6)
    assert len(asked) == 4
    assert other.value != record.value
    (few,) = measure(hr, "sr_bpd", sr_model=Watched(), seed=5, data_limit=2)
    assert few.per_image == {name: record.per_image[name] for name in "ab"}


def test_srflow_is_measured_in_bits_given_its_input(hr: Path):
    model = reference_models.build("srflow", nf=4, nb=2, gc=2, blocks=(0, 1), K=1, hidden=4)
    (record,) = measure(hr, "sr_bpd", sr_model=model)
    pairs = prepare(hr=hr, scale=SCALE, metrics="sr_bpd", sr_model=model).pairs
    for image, name in enumerate(IMAGES):
        noise = draw_uniform(0, "dequantise", range(image, image + 1), SIZE).reshape(3, 24, 32)
        y = torch.from_numpy((pairs.hr(image) + noise) / 256)[None]
        nats = float(model.conditional_nats(y, torch.from_numpy(pairs.lr(image))[None])[0])
        assert record.per_image[name] == pytest.approx(8 + nats / (SIZE * math.log(2)), rel=1e-6)


@pytest.mark.parametrize("nats", [math.nan, math.inf, -1e31])
def test_nats_that_are_no_number_are_named(nats: float, hr: Path):
    with pytest.raises(
        MetricError, match=r"^a: drawing gives \S+ nats; no mean is made over the other images"
    ):
        measure(hr, "sr_bpd", sr_model=Likely(nats=nats), samples=1)


def test_a_likelihood_that_fails_is_named_and_alone(hr: Path, tmp_path: Path):
    class Failing(Likely):
        def conditional_nats(self, hr, lr):
            raise RuntimeError("out of luck\nand more")

    with pytest.raises(
        CheckpointError, match="drawing was asked for the likelihood of a and raised Runtime.*luck$"
    ):
        measure(hr, "sr_bpd", sr_model=Failing())
    with pytest.raises(CheckpointError, match="likelihood of a .*; 2 other results are filed"):
        measure(hr, "sr_bpd,sr_pixel_std,psnr_rgb", sr_model=Failing(), output=tmp_path / "results")
    assert len(evalkit.read_records(tmp_path / "results")) == 2


def test_a_likelihood_alone_restores_nothing_and_needs_nothing_finite(hr: Path, tmp_path: Path):
    model = Likely()
    (record,) = measure(hr, "sr_bpd", sr_model=model, baselines=True)
    assert model.asked == []
    with pytest.raises(MetricError, match="not finite.*; 1 other result is filed in"):
        measure(hr, "sr_bpd,psnr_rgb", sr_model=_LikelyOverflowing(), output=tmp_path / "results")
    (kept,) = evalkit.read_records(tmp_path / "results")
    assert (kept.metric, kept.value) == ("sr_bpd", record.value)


class _LikelyOverflowing(Overflowing, Likely):
    pass


# -- networks that lack


def test_what_lacks_is_said_before_the_model_is_asked(hr: Path):
    model = Drawing()
    with pytest.raises(WeightsError, match="evalkit weights fetch"):
        measure(hr, "lpips_alex,sr_diversity", sr_model=model)
    assert model.asked == []


def test_what_needs_no_weights_is_filed_all_the_same(hr: Path, tmp_path: Path):
    with pytest.raises(EvalkitError, match="evalkit weights fetch.*; 1 other result is filed in .*results"):
        measure(hr, "lpips_alex,psnr_rgb,lpips_vgg", sr_model=Drawing(), output=tmp_path / "results")
    assert [record.metric for record in evalkit.read_records(tmp_path / "results")] == ["psnr_rgb"]


def test_given_restorations_are_looked_at_without_a_cache_of_them(hr: Path, tmp_path: Path):
    sr = write(tmp_path / "sr", {f"{name}.png": picture(24, 32, 9) for name in IMAGES})
    request = prepare(hr=hr, sr=sr, scale=SCALE, metrics="psnr_rgb", cache_dir=tmp_path / "cache")
    run_restoration(request, None, baselines=False)
    assert not (tmp_path / "cache" / "restored").exists()
