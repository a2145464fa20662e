"""Rows of latents and logits of a model, and the numbers that are made of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from evalkit.adapters.samples import sample
from evalkit.engine.probes import Subject, draw_seeds
from evalkit.engine.procedures.separability import measure_separability
from evalkit.engine.separability import SeparabilityProbe
from evalkit.errors import MetricError, UsageError
from evalkit.features.attributes import Attributes, load_attributes
from evalkit.protocols import catalog

SPEC = catalog.PROTOCOLS["ls_mini"]


class Painter:
    """A model whose images are flat grey by the first style; its styles turn the plane of the latents."""

    name, resolution, num_classes, layers = "painter", 16, 0, 3

    def latents(self, seeds: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array([np.random.RandomState(s).randn(5) for s in seeds], np.float32))

    def map(self, z: torch.Tensor, labels: np.ndarray | None = None, **truncation) -> torch.Tensor:
        w = z.roll(1, dims=1)
        if labels is not None:
            w = w + torch.from_numpy(labels)[:, None]
        w = w * truncation.get("truncation_psi", 1.0)
        # Only the last layer is what counts.
        return torch.stack([0 * w, 0 * w, w], dim=1) if self.layers == 3 else w

    def synthesise(self, w: torch.Tensor, *, noise_seeds: np.ndarray | None = None) -> torch.Tensor:
        last = w[:, -1] if w.ndim == 3 else w
        return last[:, :1, None, None].expand(-1, 3, 16, 16) / 4

    def sample(self, seeds: np.ndarray, labels: np.ndarray | None = None, **truncation) -> torch.Tensor:
        made = self.synthesise(self.map(self.latents(seeds), labels, **truncation))
        return (made * 127.5 + 128).clamp(0, 255).to(torch.uint8)


class Flat(Painter):
    layers = 1


class Classes(Painter):
    num_classes = 4


@pytest.fixture(scope="module")
def digits() -> Attributes:
    return load_attributes("digits")


def test_a_row_holds_latent_style_and_logits_of_its_own_seed(digits: Attributes):
    model = Painter()
    probe = SeparabilityProbe(Subject(model=model, seed=7), SPEC, digits)
    assert probe.layers == {"z": 5, "w": 5, "logits": 10}
    assert probe.names == digits.names
    assert 256 % probe.group == 0
    assert probe.weights_sha256 == digits.sha256
    rows = probe(range(64, 96))
    seeds = draw_seeds(7, "separability", range(64, 96))
    np.testing.assert_array_equal(rows["z"], model.latents(seeds).numpy())
    np.testing.assert_array_equal(rows["w"], np.roll(rows["z"], 1, axis=1))
    np.testing.assert_array_equal(rows["logits"], digits(np.stack(sample(model, seeds))))
    assert len(np.unique(rows["z"][:, 0])) == 32


def test_styles_without_layers_are_taken_as_they_are(digits: Attributes):
    rows = SeparabilityProbe(Subject(model=Flat(), seed=0), SPEC, digits)(range(32))
    np.testing.assert_array_equal(rows["w"], np.roll(rows["z"], 1, axis=1))


def test_truncation_and_classes_reach_styles_and_images(digits: Attributes):
    subject = Subject(model=Classes(), seed=0, labels=3, truncation_psi=0.5)
    probe = SeparabilityProbe(subject, SPEC, digits)
    rows = probe(range(32))
    np.testing.assert_allclose(rows["w"], 0.5 * (np.roll(rows["z"], 1, axis=1) + 3), rtol=1e-6)
    seeds = draw_seeds(0, "separability", range(32))
    images = np.stack(sample(Classes(), seeds, labels=3, truncation_psi=0.5))
    np.testing.assert_array_equal(rows["logits"], digits(images))


def test_what_decides_a_row_decides_its_key(digits: Attributes):
    def settings(**changes) -> str:
        given = {"model": Classes(), "seed": 0, "labels": 1, **changes}
        return SeparabilityProbe(Subject(**given), SPEC, digits).settings

    assert settings() == settings()
    others = [settings(seed=1), settings(labels=2), settings(truncation_psi=0.7), settings(labels="uniform")]
    assert len({settings(), *others}) == 5


def test_models_that_cannot_be_asked(digits: Attributes):
    class Images:
        name, resolution, num_classes = "images", 8, 0

        def sample(self, seeds: np.ndarray, labels: np.ndarray | None = None) -> torch.Tensor:
            return torch.zeros(len(seeds), 3, 8, 8, dtype=torch.uint8)

    with pytest.raises(UsageError, match="ls_mini needs a model whose latents .*; images offers: Samples"):
        SeparabilityProbe(Subject(model=Images(), seed=0), SPEC, digits)
    with pytest.raises(UsageError, match="painter is conditional|there are no labels"):
        SeparabilityProbe(Subject(model=Classes(), seed=0), SPEC, digits)


def tables(num: int = 2000) -> dict[str, np.ndarray]:
    """z tells both attributes, w none; the third has one class."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(num, 3)).astype(np.float32)
    logits = np.stack([3 * z[:, 0], 3 * z[:, 1] + 2 * rng.normal(size=num), 1 + rng.random(num)], axis=1)
    return {"z": z, "w": rng.normal(size=(num, 3)).astype(np.float32), "logits": logits.astype(np.float32)}


def test_a_number_for_each_space():
    in_z, in_w = measure_separability(SPEC, tables(), 5, ["red", "light", "hat"])
    assert (in_z.metric, in_w.metric) == ("ls_mini_z", "ls_mini_w")
    assert 1 < in_z.estimate.value < 1.6 < in_w.estimate.value
    assert in_w.estimate.value == pytest.approx(4, abs=0.02)
    for each in (in_z, in_w):
        assert each.seed == 5
        assert each.extras["num_kept"] == 1000
        assert each.extras["num_one_class"] == 1
        assert each.extras["entropy_hat"] == 0
        assert "accuracy_hat" not in each.extras
        entropies = [value for name, value in each.extras.items() if name.startswith("entropy_")]
        assert each.extras["bits"] == pytest.approx(sum(entropies))
        assert each.estimate.value == pytest.approx(2 ** each.extras["bits"])
        assert "1 of 3 attributes had one class among the 1,000" in each.estimate.notes[0]
        assert each.estimate.interval[0] < each.estimate.value < each.estimate.interval[1]
    assert in_z.extras["entropy_red"] < 0.01 < in_z.extras["entropy_light"]
    assert in_w.extras["accuracy_red"] == pytest.approx(0.5, abs=0.06)


def test_the_options_are_the_protocols():
    only = dataclasses.replace(SPEC.options, keep=0.25, spaces=("w",))
    (found,) = measure_separability(dataclasses.replace(SPEC, options=only), tables(), 0)
    assert found.metric == "ls_mini_w"
    assert found.extras["num_kept"] == 500
    assert "entropy_0" in found.extras
    with pytest.raises(MetricError, match="0 samples are to be kept of 1"):
        measure_separability(SPEC, tables(1), 0)


def test_nothing_to_separate_is_no_perfect_score():
    alone = {**tables(), "logits": np.ones((2000, 3), np.float32)}
    with pytest.raises(MetricError, match="ls_mini: all 3 attributes had one class among the 1,000 samples"):
        measure_separability(SPEC, alone, 0)
