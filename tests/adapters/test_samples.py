"""A model as a source: labels and truncation are part of what it is, and every seed stands for itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import evalkit
import reference_models
from evalkit.adapters.samples import ModelSource, labels_for, sample
from evalkit.errors import UsageError
from evalkit.sources.bundled import open_bundled

SEEDS = np.arange(40)


class Squares:
    """A model of one grey level a seed, brighter for higher classes."""

    name = "squares"
    resolution = 8

    def __init__(self, num_classes: int = 0) -> None:
        self.num_classes = num_classes

    def sample(self, seeds: np.ndarray, labels: np.ndarray | None = None) -> torch.Tensor:
        level = seeds % 50 + (0 if labels is None else 50 * labels)
        return torch.from_numpy(level.astype(np.uint8))[:, None, None, None].expand(-1, 3, 8, 8)


def test_images_are_those_of_the_seeds_in_any_parts():
    model = reference_models.build("stylegan2")
    images = np.stack(sample(model, SEEDS))
    np.testing.assert_array_equal(images[7:9], np.stack(sample(model, SEEDS[7:9])))
    source = ModelSource(model, 40)
    np.testing.assert_array_equal(np.stack(source.load([39, 3])), images[[39, 3]])


def test_labels_of_a_seed_do_not_depend_on_the_others():
    pool = np.array([0, 0, 0, 2])
    drawn = labels_for(SEEDS, pool, 3, "m")
    np.testing.assert_array_equal(drawn[5:9], labels_for(SEEDS[5:9], pool, 3, "m"))
    assert set(drawn) == {0, 2}
    assert (drawn == 0).sum() > (drawn == 2).sum()
    assert set(labels_for(SEEDS, "uniform", 3, "m")) == {0, 1, 2}
    np.testing.assert_array_equal(labels_for(SEEDS, "2", 3, "m"), np.full(40, 2))
    assert labels_for(SEEDS, pool, 0, "m") is None


def test_labels_that_do_not_fit():
    with pytest.raises(
        UsageError, match=r"m is conditional \(3 classes\) and there are no labels: use --data"
    ):
        labels_for(SEEDS, None, 3, "m")
    with pytest.raises(UsageError, match="m knows no classes, and --labels 1 was given; leave it out"):
        labels_for(SEEDS, "1", 0, "m")
    with pytest.raises(UsageError, match="m has the classes 0 to 2, and --labels 3 is none of them"):
        labels_for(SEEDS, 3, 3, "m")
    with pytest.raises(UsageError, match="--labels cat: write uniform, or a class from 0 to 2"):
        labels_for(SEEDS, "cat", 3, "m")
    with pytest.raises(UsageError, match="real images are labelled 0 to 9; use --labels uniform"):
        labels_for(SEEDS, open_bundled("digits").labels, 3, "m")


def test_the_fingerprint_tells_settings_apart():
    model = reference_models.build("stylegan2")
    plain = ModelSource(model, 4)
    assert plain.fingerprint == ModelSource(reference_models.build("stylegan2"), 4).fingerprint
    others = [
        ModelSource(model, 4, truncation_psi=0.5),
        ModelSource(model, 4, truncation_psi=0.5, truncation_cutoff=2),
        ModelSource(model, 4, 1),
        ModelSource(model, 5),
        ModelSource(reference_models.build("stylegan2", seed=1), 4),
    ]
    assert len({source.fingerprint for source in (plain, *others)}) == 6
    assert "truncation psi 0.5 on the first 2 layers" in others[1].notes


def test_a_source_has_the_classes_it_was_made_with():
    labels = open_bundled("digits").labels
    source = ModelSource(Squares(10), 20, labels=labels)
    assert source.labels is not None
    for index, (image, label) in enumerate(zip(source.load(range(20)), source.labels, strict=True)):
        assert image[0, 0, 0] == (index + 50 * label) % 256
    assert any("classes are drawn as those of the real images are" in note for note in source.notes)


def test_truncation_needs_an_average_w():
    with pytest.raises(UsageError, match="squares offers: Samples"):
        ModelSource(Squares(), 4, truncation_psi=0.7)


def test_evaluate_takes_a_model_and_counts_the_real_images():
    records = evalkit.evaluate(
        model=reference_models.build("stylegan2"),
        data="bundled:digits:test",
        metrics="fd_mini",
        data_limit=60,
        output=None,
    )
    assert records[0].samples.num == records[0].data.num == 60
    assert records[0].samples.name == "stylegan2:tiny-random"
    assert records[0].value > 0


def test_samples_and_model_exclude_each_other():
    with pytest.raises(UsageError, match=r"neither of --samples \(images\) and --model"):
        evalkit.evaluate(data="bundled:digits", metrics="fd_mini", output=None)
    with pytest.raises(UsageError, match="both of --samples"):
        evalkit.evaluate(
            model=Squares(), samples="bundled:digits", data="bundled:digits", metrics="fd_mini", output=None
        )
    with pytest.raises(UsageError, match="--truncation, --labels belongs to a model"):
        evalkit.evaluate(
            samples="bundled:digits",
            data="bundled:digits",
            metrics="fd_mini",
            truncation_psi=0.5,
            labels=1,
            output=None,
        )


def test_truncation_that_cannot_be_or_does_nothing():
    model = reference_models.build("stylegan2")
    for psi in (float("nan"), float("inf"), "0.5", None):
        with pytest.raises(UsageError, match="truncation psi is .*; give a finite number"):
            ModelSource(model, 4, truncation_psi=psi)
    with pytest.raises(UsageError, match="truncation cutoff is 1.5; give how many layers"):
        ModelSource(model, 4, truncation_psi=0.5, truncation_cutoff=1.5)
    with pytest.raises(UsageError, match="--truncation-cutoff 2 truncates nothing without --truncation"):
        sample(model, SEEDS, truncation_cutoff=2)


def test_odd_labels_and_seeds():
    for labels in ("\u00b2", "9" * 5000):
        with pytest.raises(UsageError, match="write uniform, or a class from 0 to 2"):
            labels_for(SEEDS, labels, 3, "m")
    with pytest.raises(UsageError, match=r"labels are \[\]; give one class"):
        labels_for(SEEDS, [], 3, "m")
    with pytest.raises(UsageError, match="the seed is -1; give a whole number from 0"):
        evalkit.evaluate(
            samples="bundled:digits", data="bundled:digits", metrics="prdc_mini", seed=-1, output=None
        )
    with pytest.raises(UsageError, match=r"they end at 2\^63 - 1"):
        ModelSource(Squares(), 40, 2**63 - 10)
    with pytest.raises(UsageError, match="the seed of the weights is -1"):
        reference_models.build("stylegan2", seed=-1)


def test_models_from_python_are_objects():
    with pytest.raises(UsageError, match="from Python, reference models and official"):
        evalkit.evaluate(model="stylegan2:tiny-random", data="bundled:digits", metrics="fd_mini", output=None)
    with pytest.raises(UsageError, match="Linear is no model that can be asked for images: it lacks sample"):
        evalkit.evaluate(model=torch.nn.Linear(2, 2), data="bundled:digits", metrics="fd_mini", output=None)


def test_a_range_belongs_to_a_model():
    with pytest.raises(UsageError, match="--range belongs to a model"):
        evalkit.evaluate(
            samples="bundled:digits",
            data="bundled:digits",
            metrics="fd_mini",
            value_range="unit",
            output=None,
        )
