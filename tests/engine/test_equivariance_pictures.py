"""Pictures of equivariance: they show what the metric sees, and streaks slant or stay as they should."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import evalkit
import reference_models
import run_eval
from evalkit.engine.equivariance_pictures import error_maps, pictures, shift_walk, style_walk
from evalkit.engine.probes import Subject
from evalkit.errors import MetricError, StoreError, UsageError

SIDE = 32


class Moving:
    """Waves that move with their input, under a comb of rows that does not."""

    z_dim = 6

    def __init__(self, sticking: float) -> None:
        self.sticking = sticking

    def __call__(self, z: torch.Tensor, transform: torch.Tensor | None = None) -> torch.Tensor:
        place = (torch.arange(SIDE) + 0.5) / SIDE - 0.5
        y, x = torch.meshgrid(place, place, indexing="ij")
        m = torch.eye(3) if transform is None else transform
        u, v = m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]
        f = 3 * torch.tanh(z)[:, :, None, None]
        waves = [torch.sin(2 * math.pi * (f[:, c] * u + f[:, 3 + c] * v) + c) for c in range(3)]
        comb = torch.cos(torch.arange(SIDE)[:, None] * 1.1).expand(SIDE, SIDE)
        return (1 - self.sticking) * 0.8 * torch.stack(waves, dim=1) + self.sticking * comb


class Plain:
    """Latents without a way to move what is made of them."""

    z_dim = 3

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(z)[:, :, None, None].expand(-1, 3, 8, 8)


def subject(sticking: float, seed: int = 0) -> Subject:
    return Subject(model=evalkit.adapt(Moving(sticking), name="moving"), seed=seed)


def test_maps_show_what_the_metric_files():
    maps = error_maps(subject(0.1, seed=3), 4)
    assert [each.operation for each in maps] == ["int"] * 4 + ["frac"] * 4 + ["rot"] * 4
    records = evalkit.evaluate(
        model=evalkit.adapt(Moving(0.1), name="moving"), metrics="eqt_int,eqt_frac,eqr", num=4, seed=3,
        output=None,
    )  # fmt: skip
    for record, operation in zip(records, ("int", "frac", "rot"), strict=True):
        shown = [each for each in maps if each.operation == operation]
        told = [float(each.title.split(": ")[1].removesuffix(" dB")) for each in shown]
        # All four have the same mask, so the pooled PSNR is that of the mean squared error.
        pooled = -10 * math.log10(np.mean([10 ** (-value / 10) for value in told]))
        assert record.value == pytest.approx(pooled, abs=0.06)


def test_errors_are_differences_inside_the_mask_alone():
    for each in error_maps(subject(0.2), 3):
        assert each.image.shape == each.made.shape == each.expected.shape == (SIDE, SIDE, 3)
        known = np.isfinite(each.error)
        assert 0 < known.sum() < known.size
        inside = known & (each.made.min(axis=2) > 0) & (each.made.max(axis=2) < 1)
        inside &= (each.expected.min(axis=2) > 0) & (each.expected.max(axis=2) < 1)
        difference = np.abs(each.made - each.expected).mean(axis=2)
        np.testing.assert_allclose(each.error[inside], difference[inside], atol=2e-6)


def test_an_equivariant_model_has_hardly_an_error_and_a_sticking_one_has():
    exact, sticking = ({m.operation: m for m in error_maps(subject(s, 3), 1)} for s in (0.0, 0.3))
    # Shifts by whole pixels need no filter.
    assert np.nanmax(exact["int"].error) < 1e-5
    assert np.nanmax(sticking["int"].error) > 0.02


def test_more_images_than_a_group_go_on_with_the_next():
    five = error_maps(subject(0.1), 5)
    assert len(five) == 15
    titles = [each.title.split(":")[0] for each in five]
    assert titles[0] == titles[3]
    assert titles[3] != titles[4]
    first = error_maps(subject(0.1), 1)
    assert [each.title for each in first] == [five[0].title, five[5].title, five[10].title]


def test_streaks_slant_where_content_moves_and_stay_where_it_sticks():
    frames, shift = 17, 0.25  # steps of a whole pixel
    moving = shift_walk(subject(0.0), frames=frames, shift=shift).slice
    assert moving.shape == (SIDE, frames, 3)
    np.testing.assert_allclose(moving[1:, 1:], moving[:-1, :-1], atol=1e-5)
    assert np.abs(moving[:, 1:] - moving[:, :-1]).max() > 0.05
    stuck = shift_walk(subject(1.0), frames=frames, shift=shift).slice
    np.testing.assert_allclose(stuck, stuck[:, :1].repeat(frames, axis=1), atol=1e-6)
    assert stuck.std(axis=0).max() > 0.2


def test_the_average_of_a_walk_in_w_keeps_what_sticks():
    loose, stuck = (style_walk(subject(s), frames=24, radius=0.8) for s in (0.0, 0.9))
    comb = np.cos(np.arange(SIDE) * 1.1)

    def share(values: np.ndarray) -> float:
        return float(np.corrcoef(values[:, 0, 0], comb)[0, 1])

    assert share(stuck.average[:, :1]) > 0.95
    assert abs(share(loose.average[:, :1])) < 0.6
    spread = [np.abs(walk.slice - walk.slice.mean(axis=1, keepdims=True)).mean() for walk in (loose, stuck)]
    assert spread[0] > 3 * spread[1]


def test_a_circle_closes_and_shrinks_to_its_centre():
    walk = style_walk(subject(0.0), frames=48)
    steps = np.abs(np.diff(walk.slice, axis=1)).mean(axis=(0, 2))
    closing = np.abs(walk.slice[:, 0] - walk.slice[:, -1]).mean()
    assert closing < 2 * steps.max()
    still = style_walk(subject(0.0), frames=5, radius=0.0)
    np.testing.assert_allclose(still.average, still.image, atol=1e-6)
    np.testing.assert_allclose(still.slice[:, 0], still.image[:, still.column], atol=1e-6)


def test_files_are_pictures_and_repeat(tmp_path: Path):
    arguments: dict[str, Any] = {"model": evalkit.adapt(Moving(0.1)), "num": 1}
    first = pictures(output=tmp_path / "a", **arguments)
    assert first.sentences == ()
    assert [path.name for path in first.paths] == ["equivariance.png", "sticking.png"]
    again = pictures(output=tmp_path / "b", **arguments)
    assert [path.read_bytes() for path in first.paths] == [path.read_bytes() for path in again.paths]
    other = pictures(output=tmp_path / "c", seed=1, **arguments)
    for path, moved in zip(first.paths, other.paths, strict=True):
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 5
        assert path.read_bytes() != moved.read_bytes()


def test_a_model_that_cannot_be_moved_gets_its_slice_and_a_sentence(tmp_path: Path):
    found = pictures(evalkit.adapt(Plain(), name="plain"), tmp_path / "out")
    assert (
        [path.name for path in found.paths]
        == ["sticking.png"]
        == [p.name for p in (tmp_path / "out").iterdir()]
    )
    (sentence,) = found.sentences
    assert "no error maps and no slice of shifts: an error map needs a model whose input can be" in sentence


def test_images_too_small_for_the_filters_are_shown_without_a_number():
    model = reference_models.build("stylegan3", preset="tiny-r", img_resolution=8)
    titles = [each.title for each in error_maps(Subject(model=model, seed=0), 1)]
    assert titles[2].endswith("too small to compare")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": 0}, "0 images cannot be drawn with error maps; ask for 1 to 16"),
        ({"num": 17}, "17 images cannot be drawn"),
        ({"seed": -1}, "the seed is -1"),
        ({"labels": 1}, "knows no classes"),
        ({"truncation_psi": math.nan}, "truncation psi is nan"),
        ({"truncation_psi": 0.5}, "cannot be truncated so"),
    ],
)
def test_what_cannot_be_drawn(tmp_path: Path, arguments: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        pictures(evalkit.adapt(Moving(0.1)), tmp_path / "out", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_latents_is_refused(tmp_path: Path):
    class Bare:
        name, resolution, num_classes = "bare", 8, 0

        def sample(self, seeds, labels=None):
            return torch.zeros(len(seeds), 3, 8, 8, dtype=torch.uint8)

    with pytest.raises(UsageError, match="a slice of a walk in w needs a model whose latents .*bare offers"):
        pictures(Bare(), tmp_path)


@pytest.mark.parametrize(
    ("turned", "message"),
    [
        (False, r"whole pixels \(int\): image 0 holds NaN or infinite values under a transform"),
        (True, r"rotation \(rot\): image 0 holds NaN or infinite values under a transform"),
    ],
)
def test_images_that_are_not_finite_are_named_and_nothing_is_drawn(
    tmp_path: Path, turned: bool, message: str
):
    class Failing(Moving):
        def __call__(self, z: torch.Tensor, transform: torch.Tensor | None = None) -> torch.Tensor:
            made = super().__call__(z, transform)
            moved = transform is not None and not torch.equal(transform, torch.eye(3))
            return made * math.nan if moved and (not turned or transform[0, 1] != 0) else made

    with pytest.raises(MetricError, match=message):
        pictures(evalkit.adapt(Failing(0.1)), tmp_path / "out", num=1)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path: Path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="while preparing to write into .*choose another path"):
            pictures("no-such-model.safetensors", place)  # not even opened


def test_the_verb_says_where_and_what_was_left_out(capsys, tmp_path: Path):
    words = ["pictures", "--model", "stylegan3:tiny-random", "--num", "1", "-o", str(tmp_path / "a")]
    assert run_eval.main(words) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert f"written to {tmp_path / 'a' / 'equivariance.png'}" in err
    assert run_eval.main(["pictures", "--model", "progan:tiny-random", "-o", str(tmp_path / "b")]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "no error maps and no slice of shifts" in err
    assert run_eval.main(["pictures", "--model", "progan:tiny-random", "-o", "x", "--num", "99"]) == 2
    assert "evalkit: 99 images cannot be drawn" in capsys.readouterr().err
