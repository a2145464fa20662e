"""Path lengths: points between latents, what the distance is shown, the trimmed mean, the rows of a model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stylegan2 import PLAIN, SMALL, seeded

from evalkit.engine.path_length import NOISE_GROUP, PathLengthProbe
from evalkit.engine.probes import Subject
from evalkit.engine.procedures.path_length import measure_path_length
from evalkit.errors import MetricError, UsageError
from evalkit.features.lpips import load_distance
from evalkit.metrics.latent.interpolate import lerp, slerp
from evalkit.metrics.latent.ppl import path_distances, path_pairs, prepare, trimmed
from evalkit.protocols.catalog import PROTOCOLS
from evalkit.protocols.spec import PathLengthOptions, ProtocolSpec
from reference_models.stylegan2.evaluate import Model
from reference_models.stylegan2.generator import Generator

PLAIN_OPTIONS = PROTOCOLS["ppl_mini"].options
assert isinstance(PLAIN_OPTIONS, PathLengthOptions)


def options(**changes: Any) -> PathLengthOptions:
    return dataclasses.replace(PLAIN_OPTIONS, **changes)


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- points between latents


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 20), st.floats(-0.5, 1.5))
def test_great_circles_keep_to_the_sphere_at_even_speed(seed: int, width: int, t: float):
    a, b = rows(5, width, seed=seed), rows(5, width, seed=seed + 1)
    found = slerp(a, 3 * b, t)
    unit = a / a.norm(dim=1, keepdim=True)
    whole = torch.acos((slerp(a, b, 0.0) * slerp(a, b, 1.0)).sum(dim=1).clamp(-1, 1))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(found, slerp(b, a, 1 - t), atol=1e-9, rtol=0)
    torch.testing.assert_close(slerp(a, b, 0.0), unit)
    # The angle from the beginning is t of the whole angle: cosines compare without folding it.
    torch.testing.assert_close((found * unit).sum(dim=1), torch.cos(t * whole), atol=1e-7, rtol=0)


def test_every_row_has_its_own_place():
    a, b, t = rows(4, 3), rows(4, 3, seed=1), torch.tensor([0.0, 0.25, 0.5, 1.0])
    for join in (lerp, slerp):
        together = join(a, b, t)
        for row in range(4):
            torch.testing.assert_close(
                together[row : row + 1], join(a[row : row + 1], b[row : row + 1], t[row])
            )
    styles = rows(4, 7, 3)
    assert torch.equal(lerp(styles, styles + 1, t)[3], (styles + 1)[3])
    assert torch.equal(lerp(a, b, t)[0], a[0])


def test_points_are_in_the_widest_type():
    a, b = rows(2, 4).float(), rows(2, 4, seed=1).float()
    assert slerp(a, b, 0.5).dtype == torch.float32
    assert slerp(a, b, torch.full((2,), 0.5, dtype=torch.float64)).dtype == torch.float64
    assert lerp(a.bfloat16(), b.bfloat16(), 0.5).dtype == torch.bfloat16


def test_small_steps_on_the_sphere_have_the_length_they_should():
    # arccos of float32 would see an angle of 1e-4 as 3e-4 or as none.
    a = torch.tensor([[1.0, 0.0]])
    b = torch.tensor([[np.cos(1e-4), np.sin(1e-4)]], dtype=torch.float32)
    assert float(slerp(a, b, 0.5)[0, 1]) == pytest.approx(0.5e-4, rel=1e-4)


def test_between_equal_directions_nothing_moves_and_opposite_ones_are_refused():
    a = rows(3, 6).float()
    torch.testing.assert_close(slerp(a, 2 * a, 0.3), slerp(a, a, 0.0), atol=1e-6, rtol=0)
    with pytest.raises(MetricError, match="opposite directions"):
        slerp(torch.tensor([[1.0]]), torch.tensor([[-2.0]]), 0.5)
    with pytest.raises(MetricError, match="no direction"):
        slerp(torch.zeros(1, 3), torch.ones(1, 3), 0.5)


# ---- what the distance is shown


@pytest.mark.parametrize(
    ("side", "crop", "reduce", "shown"),
    [
        (1024, False, "box-by-image", 256), (1024, True, "box-by-image", 128),
        (1024, True, "box-by-crop", 256), (512, True, "box-by-crop", 256),
        (512, True, "box-by-image", 128), (256, True, "box-by-crop", 128), (300, False, "box-by-image", 300),
        (32, True, "box-by-crop", 16), (128, False, "64", 64),
        (32, False, "64", 64),
    ],
)  # fmt: skip
def test_sizes(side: int, crop: bool, reduce: Any, shown: int):
    found = prepare(torch.zeros(1, 1, side, side), options(crop=crop, reduce=reduce))
    assert found.shape == (1, 3, shown, shown)
    assert torch.equal(found, torch.full_like(found, 127.5))


def test_the_middle_is_rows_three_to_seven_and_columns_two_to_six():
    row, column = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    found = prepare(torch.stack([row, column, row * 0])[None] / 127.5 - 1, options(crop=True))
    torch.testing.assert_close(found[0, 0, :, 0], torch.arange(6.0, 14.0))
    torch.testing.assert_close(found[0, 1, 0], torch.arange(4.0, 12.0))


def test_boxes_are_means_and_floats_are_neither_clipped_nor_rounded():
    images = 3 * rows(1, 3, 512, 512)
    found = prepare(images, options())
    torch.testing.assert_close(found[0, 1, 5, 7], (images[0, 1, 10:12, 14:16].mean() + 1) * 127.5)
    assert found.max() > 255
    coarse = prepare(images, options(pixels="uint8"))
    assert torch.equal(coarse * 4, (coarse * 4).round())
    assert coarse.max() <= 255


def test_images_that_cannot_be_prepared():
    with pytest.raises(MetricError, match="nothing is left of the middle of images of 4 rows"):
        prepare(torch.zeros(1, 3, 4, 4), options(crop=True))
    with pytest.raises(MetricError, match="cannot be cut into boxes of 3 by 3"):
        prepare(torch.zeros(1, 3, 770, 770), options())
    with pytest.raises(MetricError, match="grey or RGB"):
        prepare(torch.zeros(1, 4, 16, 16), options())


# ---- the length itself


@pytest.mark.parametrize("epsilon", [1e-4, 1e-2])
def test_a_linear_generator_in_closed_form(epsilon: float):
    """G(w) = A w, w = B z: each step moves the image by eps A B (z1 - z0), whatever t is."""
    mix, paint = rows(5, 4), rows(5, 3 * 8 * 8, seed=1)
    z0, z1, t = rows(6, 4, seed=2), rows(6, 4, seed=3), torch.rand(6, dtype=torch.float64)

    def squares(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).square().sum(dim=(1, 2, 3))

    found = path_distances(
        lambda w: (w @ paint).reshape(-1, 3, 8, 8), lambda z: z @ mix.T, squares, z0, z1, t,
        options(epsilon=epsilon),
    )  # fmt: skip
    expected = (127.5 * (z1 - z0) @ mix.T @ paint).square().sum(dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_on_the_sphere_a_step_is_its_share_of_the_angle():
    z0, z1, t = rows(6, 4), rows(6, 4, seed=1), torch.rand(6, dtype=torch.float64)
    first, second = path_pairs(lambda z: z, z0, z1, t, options(space="z", epsilon=1e-3))
    cosine = (slerp(z0, z1, 0.0) * slerp(z0, z1, 1.0)).sum(dim=1)
    chord = 2 * torch.sin(1e-3 * torch.acos(cosine) / 2)
    torch.testing.assert_close((first - second).norm(dim=1), chord, rtol=1e-6, atol=0)


# ---- the mean without extremes


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=400), st.floats(0, 50), st.floats(50, 100))
def test_trimming(values: list[float], low: float, high: float):
    found = trimmed(values, low, high)
    assert found.lower in values
    assert found.upper in values
    assert trimmed(values[::-1], low, high).mean == pytest.approx(found.mean, rel=1e-12)
    below = sum(value < found.lower for value in values)
    assert below <= low / 100 * (len(values) - 1) + 1e-9
    assert found.lower <= found.mean * (1 + 1e-12)
    assert found.mean <= found.upper * (1 + 1e-12) + 1e-300
    whole = trimmed(values, 0, 100)
    assert len(whole.kept) == len(values)


def test_bounds_lie_outside_and_count():
    found = trimmed(np.arange(200.0), 1, 99)
    assert (found.lower, found.upper, len(found.kept)) == (1.0, 198.0, 198)


def test_what_has_no_mean():
    with pytest.raises(MetricError, match="1 or more distances"):
        trimmed([], 1, 99)
    with pytest.raises(MetricError, match="2 of 3 distances are NaN or infinite"):
        trimmed([1.0, np.nan, np.inf], 1, 99)


# ---- the rows of a model

MINI = PROTOCOLS["ppl_mini"]


def probe(spec: ProtocolSpec = MINI, *, conditional: bool = False, num: int = 20, **asked: Any) -> Any:
    model = Model(seeded(Generator, SMALL if conditional else PLAIN), name="small")
    subject = Subject(model=model, **{"seed": 1, **asked})
    return PathLengthProbe(subject, spec, load_distance("lpips-mini"), num=num)


def of(**changes: Any) -> ProtocolSpec:
    return dataclasses.replace(MINI, options=options(**changes))


@pytest.mark.parametrize("sampling", ["full", "end"])
@pytest.mark.parametrize("space", ["z", "w"])
def test_rows_depend_on_their_index_and_the_seed_alone(space: str, sampling: str):
    spec = of(space=space, sampling=sampling, epsilon=1e-2)
    first = probe(spec)
    later = first(range(8, 16))["distance"]
    assert later.shape == (8, 1)
    assert later.dtype == np.float32
    assert (later > 0).all()
    assert len(np.unique(later)) == 8
    assert np.array_equal(later, probe(spec, num=9)(range(8, 16))["distance"])
    assert not np.array_equal(later, probe(spec, seed=2)(range(8, 16))["distance"])
    assert first.settings == probe(spec, num=9).settings
    assert first.settings != probe(spec, seed=2).settings


def test_what_decides_rows_is_in_the_settings_and_the_percentiles_are_not():
    same = probe(of(lower=5.0, upper=95.0)).settings
    assert probe().settings == same
    changes: list[dict[str, Any]] = [
        {"space": "z"}, {"sampling": "full"}, {"epsilon": 1e-3}, {"crop": True}, {"reduce": "64"},
        {"pixels": "uint8"}, {"interpolation": "lerp"},
    ]  # fmt: skip
    digests = [probe(of(**change)).settings for change in changes]
    digests += [probe(truncation_psi=0.5).settings, probe(conditional=True, labels=1).settings]
    digests += [probe(conditional=True, labels="uniform").settings]
    assert len({same, *digests}) == len(changes) + 4


def test_both_images_of_a_pair_have_the_same_noise_and_groups_have_their_own():
    seen = []
    made = probe()
    render = made._subject.model.synthesise

    def watched(w: torch.Tensor, *, noise_seeds: np.ndarray) -> torch.Tensor:
        seen.append(noise_seeds)
        return render(w, noise_seeds=noise_seeds)

    made._subject.model.synthesise = watched
    for start in (0, 8, 0):
        made(range(start, start + 8))
    assert [len(set(seeds)) for seeds in seen] == [1, 1, 1]
    assert [len(seeds) for seeds in seen] == [2 * NOISE_GROUP] * 3
    assert seen[0][0] == seen[2][0] != seen[1][0]


def test_large_images_are_made_a_few_at_a_time_and_are_the_same_pairs():
    whole, parts = probe(of(epsilon=1e-2)), probe(of(epsilon=1e-2))
    parts._subject.model.resolution = 512  # two pairs at once
    expected = whole(range(8))["distance"]
    np.testing.assert_allclose(parts(range(8))["distance"], expected, rtol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["ppl_mini", "ppl_fidelity"])
def test_a_gpu_makes_the_same_rows(name: str):
    spec = of(epsilon=1e-2)
    if name == "ppl_fidelity":
        spec = dataclasses.replace(
            MINI, options=dataclasses.replace(PROTOCOLS[name].options, epsilon=0.05, pixels="float")
        )
    model = Model(seeded(Generator, PLAIN), name="small").to("cuda")
    there = PathLengthProbe(
        Subject(model=model, seed=1), spec, load_distance("lpips-mini", device="cuda"), num=20
    )
    assert there.device_type == "cuda"
    expected = probe(spec)(range(16, 24))["distance"]
    np.testing.assert_allclose(there(range(16, 24))["distance"], expected, rtol=1e-3)


def test_classes_and_truncation_reach_the_model():
    plain = probe(conditional=True, labels=0)(range(8))["distance"]
    assert not np.array_equal(plain, probe(conditional=True, labels=2)(range(8))["distance"])
    assert not np.array_equal(
        plain, probe(conditional=True, labels=0, truncation_psi=0.5)(range(8))["distance"]
    )
    with pytest.raises(UsageError, match="is conditional"):
        probe(conditional=True)


def test_one_stream_depends_on_the_number_of_pairs():
    spec = dataclasses.replace(MINI, options=dataclasses.replace(
        PROTOCOLS["ppl_fidelity"].options, epsilon=0.05  # type: ignore[type-var]
    ))  # fmt: skip
    made = probe(spec, num=11)
    last = made(range(8, 16))["distance"]
    assert (last[2:] == last[2]).all()  # beyond the last pair there is nothing new
    assert made.settings != probe(spec, num=12).settings
    assert not np.array_equal(last, probe(spec, num=12)(range(8, 16))["distance"])
    assert probe(spec, conditional=True, num=11)(range(8))["distance"].shape == (8, 1)
    with pytest.raises(UsageError, match="one NumPy state, whose seed cannot be 4294967296"):
        probe(spec, seed=2**32)


def test_a_model_without_latents_is_refused():
    class Pictures:
        name, resolution, num_classes = "pictures", 32, 0

        def sample(self, seeds: np.ndarray, labels: np.ndarray | None = None) -> torch.Tensor:
            raise NotImplementedError

    with pytest.raises(UsageError, match="ppl_mini needs a model whose latents can be mapped"):
        PathLengthProbe(Subject(model=Pictures(), seed=0), MINI, load_distance("lpips-mini"), num=8)


def test_the_number_of_a_protocol():
    table = np.random.default_rng(0).lognormal(4, 1, (1000, 1)).astype(np.float32)
    (found,) = measure_path_length(MINI, table, 7)
    values = np.sort(table[:, 0].astype(np.float64))
    assert found.metric == "ppl_mini"
    assert found.seed == 7
    assert found.estimate.value == pytest.approx(values[9:991].mean(), rel=1e-12)
    assert found.extras["num_kept"] == 982
    assert found.extras["lower_bound"] == values[9]
    assert found.extras["upper_bound"] == values[990]
    assert found.extras["untrimmed_mean"] == pytest.approx(values.mean())
    assert found.extras["median"] == pytest.approx(np.median(values))
    assert "groups of 8" in found.estimate.method
    (alone,) = measure_path_length(PROTOCOLS["ppl_fidelity"], table, 7)
    assert "groups" not in alone.estimate.method
    with pytest.raises(MetricError, match="NaN or infinite"):
        measure_path_length(MINI, np.full((9, 1), np.nan, np.float32), 7)
