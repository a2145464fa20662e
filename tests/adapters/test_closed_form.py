"""Closed forms against the same numbers computed another way; spellings, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from evalkit.adapters.capabilities import offers
from evalkit.adapters.closed_form import CLOSED_FORMS, open_closed_form
from evalkit.adapters.closed_form_models import Categorical, Shape
from evalkit.adapters.likelihood import likelihood_of
from evalkit.errors import SourceError, UsageError
from evalkit.imaging.native import from_native, to_native
from evalkit.metrics.likelihood.bits_per_dim import bits_per_dim, dequantise, discretised
from evalkit.sources.arrays import ArraySource
from evalkit.sources.resolve import resolve

DIGITS = "bundled:digits:train@native"


def small(num=40, channels=3, height=2, width=3, seed=0, levels=256):
    drawn = np.random.default_rng(seed).binomial(levels - 1, 0.4, (num, channels, height, width))
    return (drawn * (256 // levels)).astype(np.uint8)


def saved(tmp_path, images):
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npz"
    np.savez(path, arr_0=images.transpose(0, 2, 3, 1))
    return str(path)


def digits(split="test"):
    source = resolve(f"bundled:digits:{split}")
    return to_native(np.stack(source.load(range(len(source)))), 4, 1)


def asked(model, images, noise=None):
    """Bits/dim of images under a model, as an evaluation computes them."""
    said = likelihood_of(model)
    given = images
    if said.dequantisation == "uniform":
        given = dequantise(images, noise, bits=said.bits, scale=said.density)
    nats = model.nats(torch.from_numpy(given), seeds=np.arange(len(images))).numpy()
    nats = discretised(nats, said.num_dims, bits=said.bits, scale=said.density)
    return bits_per_dim(nats, said.num_dims)


@pytest.fixture(scope="module")
def models():
    return {
        "uniform": open_closed_form("uniform:1x8x8"),
        "categorical": open_closed_form(f"categorical:{DIGITS}"),
        "gaussian-pca": open_closed_form(f"gaussian-pca:{DIGITS}@k=12"),
    }


# ------------------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize(("spec", "bits"), [("uniform:3x2x3", 8), ("uniform:3x2x3@5bit", 5)])
def test_the_uniform_model_needs_exactly_the_bits_of_a_level(spec, bits):
    found = asked(open_closed_form(spec), small())
    np.testing.assert_allclose(found, bits, rtol=1e-15)


@pytest.mark.parametrize("smoothing", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("bits", [8, 5])
def test_the_categorical_model_is_its_formula(tmp_path, smoothing, bits):
    fitted, judged = small(300), small(20, seed=1)
    spec = f"categorical:{saved(tmp_path, fitted)}@smoothing={smoothing}"
    model = open_closed_form(spec + ("@5bit" if bits == 5 else ""))
    step = 1 << (8 - bits)
    wanted = []
    for image in judged:
        total = 0.0
        for place in np.ndindex(image.shape):
            count = sum(int(other[place]) // step == int(image[place]) // step for other in fitted)
            total -= math.log((count + smoothing) / (len(fitted) + smoothing * 2**bits))
        wanted.append(total / math.log(2) / image.size)
    np.testing.assert_allclose(asked(model, judged), wanted, rtol=0, atol=1e-9)


def test_the_probabilities_of_a_categorical_model_sum_to_one():
    fitted = small(30, 3, 1, 1).reshape(30, 3) // 8
    model = Categorical("c", Shape(3, 1, 1), 5, fitted, smoothing=0.7, fingerprint="")
    # Three dimensions of 32 levels: all 32768 images.
    levels = np.stack(np.meshgrid(*[np.arange(0, 256, 8)] * 3, indexing="ij"), -1).reshape(-1, 3, 1, 1)
    nats = model.nats(torch.from_numpy(levels.astype(np.uint8)), seeds=np.zeros(len(levels), np.int64))
    assert torch.exp(-nats).sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("bits", [8, 5])
@pytest.mark.parametrize("num", [200, 12])  # more images than dimensions, and fewer
@pytest.mark.parametrize("components", [1, 5, 11])
def test_the_density_of_pca_is_the_normal_distribution_of_its_covariance(tmp_path, num, components, bits):
    rng = np.random.default_rng(num)
    mixing = rng.normal(0, 18, (18, 18))
    fitted = (128 + rng.normal(size=(num, 18)) @ mixing).clip(0, 255).astype(np.uint8).reshape(num, 3, 2, 3)
    spec = f"gaussian-pca:{saved(tmp_path, fitted)}@k={components}" + ("@5bit" if bits == 5 else "")
    model = open_closed_form(spec)
    # The covariance as Tipping and Bishop have it, from all eigenvalues.
    levels = (fitted >> (8 - bits)).reshape(num, 18) / 2.0**bits
    values, vectors = np.linalg.eigh(np.cov(levels.T, bias=True) + np.eye(18) / 12 / 4.0**bits)
    rest = values[:-components].mean()
    values[:-components] = rest
    wanted = multivariate_normal(levels.mean(0) + 0.5 / 2**bits, (vectors * values) @ vectors.T)
    y = rng.random((9, 3, 2, 3))
    found = model.nats(torch.from_numpy(y), seeds=np.zeros(9, np.int64)).numpy()
    np.testing.assert_allclose(found, -wanted.logpdf(y.reshape(9, 18)), rtol=1e-9)


def test_pca_of_images_without_spread_has_the_noise_alone(tmp_path):
    """All images equal: in every direction the variance is that of the noise, 1/12 of a squared level."""
    images = np.broadcast_to(small(1), (6, 3, 2, 3)).copy()
    model = open_closed_form(f"gaussian-pca:{saved(tmp_path, images)}@k=2")
    wanted = 0.5 * math.log2(2 * math.pi / 12)  # at the centre of the level, on the scale of levels
    found = asked(model, images[:1], np.full(images[:1].shape, 0.5))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_noise_is_added_in_expectation(tmp_path):
    # Fitting to many noisy copies comes near to what is fitted in closed form.
    images = small(200, 1, 2, 2, levels=8).repeat(3, 1)[:, :1]
    model = open_closed_form(f"gaussian-pca:{saved(tmp_path, images.repeat(3, 1))}@native@5bit@k=3")
    rng = np.random.default_rng(0)
    copies = np.concatenate([dequantise(images, rng.random(images.shape), bits=5, scale="unit")
                             for _ in range(400)]).reshape(-1, 4)  # fmt: skip
    exact = multivariate_normal(copies.mean(0), np.cov(copies.T))
    y = dequantise(images[:30], rng.random(images[:30].shape), bits=5, scale="unit")
    found = model.nats(torch.from_numpy(y), seeds=np.zeros(30, np.int64)).numpy()
    np.testing.assert_allclose(found, -exact.logpdf(y.reshape(30, 4)), atol=0.05)


def test_what_knows_more_of_the_digits_needs_fewer_bits(models):
    images = digits()
    noise = np.random.default_rng(0).random(images.shape)
    mean = {name: asked(model, images, noise).mean() for name, model in models.items()}
    assert mean["uniform"] == pytest.approx(8)
    assert mean["categorical"] < 5
    assert mean["gaussian-pca"] < 8


# -------------------------------------------------------------------------------------- samples and answers


@pytest.mark.parametrize("name", list(CLOSED_FORMS))
def test_answers_do_not_depend_on_what_else_is_asked(models, name):
    model, seeds = models[name], np.array([5, 2**62, 0, 7])
    whole = model.sample(seeds)
    assert whole.dtype == torch.uint8
    assert whole.shape == (4, 3, model.resolution, model.resolution)
    assert len({image.numpy().tobytes() for image in whole}) == 4
    for place, seed in enumerate(seeds):
        assert torch.equal(model.sample(np.array([seed]))[0], whole[place])
    images = torch.from_numpy(digits()[:9])
    images = images.double() / 256 if model.likelihood["density"] else images
    all_at_once = model.nats(images, seeds=np.arange(9))
    one_by_one = torch.cat([model.nats(each[None], seeds=np.zeros(1, np.int64)) for each in images])
    assert all_at_once.dtype == torch.float64
    assert torch.equal(all_at_once, one_by_one)
    assert model.sample(np.empty(0, np.int64)).shape[0] == 0


def test_samples_are_of_the_model(tmp_path):
    """Frequencies of samples against the probabilities that the likelihood states."""
    images = small(50, 1, 2, 1, levels=4).repeat(3, 1)
    model = open_closed_form(f"categorical:{saved(tmp_path, images)}@native@smoothing=0.01")
    drawn = model.sample(np.arange(3000)).numpy()[:, 0].reshape(-1, 2)
    for value in (0, 64, 128, 192):
        for place in (0, 1):
            count = (images[:, 0].reshape(-1, 2)[:, place] == value).sum()
            share = (count + 0.01) / (len(images) + 2.56)
            error = math.sqrt(share * (1 - share) / 3000)
            assert abs((drawn[:, place] == value).mean() - share) < 5 * error


def test_samples_of_pca_have_its_mean_and_covariance(tmp_path):
    rng = np.random.default_rng(3)
    mixing = rng.normal(0, 12, (4, 4))
    images = (128 + rng.normal(size=(500, 4)) @ mixing).clip(0, 255).astype(np.uint8).reshape(500, 1, 2, 2)
    model = open_closed_form(f"gaussian-pca:{saved(tmp_path, images.repeat(3, 1))}@native@k=3")
    drawn = model.sample(np.arange(4000)).numpy()[:, 0].reshape(-1, 4).astype(float)
    given = images.reshape(-1, 4).astype(float)
    spread = np.sqrt(np.diag(np.cov(given.T)))
    assert (np.abs(drawn.mean(0) - given.mean(0)) < 5 * spread / math.sqrt(4000) + 0.5).all()
    correlation = np.outer(spread, spread)
    np.testing.assert_allclose(np.cov(drawn.T) / correlation, np.cov(given.T) / correlation, atol=0.12)


@pytest.mark.parametrize("name", list(CLOSED_FORMS))
def test_they_fit_what_an_evaluation_asks(models, name):
    model = models[name]
    assert offers(model) == ("Samples", "HasLikelihood")
    said = likelihood_of(model)
    assert (said.kind, said.bits, said.shape) == ("exact", 8, (1, 8, 8))
    assert said.dequantisation == ("uniform" if name == "gaussian-pca" else "discrete")
    assert (model.num_classes, model.known_by_answers) == (0, False)


def test_the_identity_is_what_decides_the_answers(tmp_path):
    one, other = saved(tmp_path, small()), saved(tmp_path, small(seed=1))
    again = saved(tmp_path, small())
    specs = [
        f"categorical:{one}", f"categorical:{other}", f"categorical:{one}@smoothing=2",
        f"categorical:{one}@5bit", f"gaussian-pca:{one}", f"gaussian-pca:{one}@k=3", f"uniform:{one}",
        "uniform:3x4x3",
    ]  # fmt: skip
    found = [open_closed_form(spec).identity for spec in specs]
    assert len(set(found)) == len(specs)
    assert open_closed_form(f"categorical:{again}").identity == found[0]
    assert open_closed_form("uniform:3x2x3").identity == found[6]


# --------------------------------------------------------------------------------------------- spellings


def test_native_images_are_taken_at_their_own_size(tmp_path):
    large = from_native(small(20, 1, 8, 8), 2)
    model = open_closed_form(f"categorical:{saved(tmp_path, large)}@native")
    assert model.likelihood["shape"] == (1, 8, 8)
    assert model.sample(np.arange(2)).shape == (2, 3, 16, 16)
    coloured = from_native(small(20, 3, 8, 8), 2)
    assert open_closed_form(f"uniform:{saved(tmp_path, coloured)}@native").likelihood["shape"] == (3, 8, 8)
    grey = small(20, 1, 8, 8).repeat(3, 1)
    assert open_closed_form(f"uniform:{saved(tmp_path, grey)}@native").likelihood["shape"] == (1, 8, 8)
    assert open_closed_form(f"uniform:{saved(tmp_path, grey)}").likelihood["shape"] == (3, 8, 8)


def test_uniform_takes_the_size_of_what_is_judged():
    real = ArraySource(small().transpose(0, 2, 3, 1), None, "data.npz")
    assert open_closed_form("uniform", real=real).likelihood["shape"] == (3, 2, 3)
    digits_source = resolve("bundled:digits:test")
    assert open_closed_form("uniform@native", real=digits_source).likelihood["shape"] == (1, 8, 8)
    with pytest.raises(UsageError, match="uniform needs the size of the images: give --data"):
        open_closed_form("uniform")


@pytest.mark.parametrize("spec", ["categorical:mnist:train", "uniform:mnist:test"])
def test_data_sets_are_looked_for_where_the_run_says(tmp_path, spec):
    with pytest.raises(SourceError, match=f"{tmp_path}.*--download"):
        open_closed_form(spec, root=tmp_path)


@pytest.mark.parametrize("spec", ["stylegan2:tiny-random", "package.module:factory", "model.safetensors", ""])
def test_other_spellings_are_left_to_others(spec):
    assert open_closed_form(spec) is None


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("categorical", "categorical is fitted to images; say which: categorical:DATA"),
        ("gaussian-pca:", "is fitted to images; say which"),
        (
            "categorical:bundled:digits@k=3",
            "@k is no option of categorical; it takes @native, @5bit and @smooth",
        ),
        ("uniform:1x8x8@smoothing=3", "@smoothing is no option of uniform; it takes @native, @5bit$"),
        ("gaussian-pca:bundled:digits@k", "write @native, @5bit, @k=16 or @smoothing=1"),
        ("uniform:1x8x8@5bit=2", "write @native, @5bit"),
        ("categorical:bundled:digits@smoothing=-1", "smoothing is '-1'; give a number from 0 up"),
        ("gaussian-pca:bundled:digits@native@k=2.5", "k is '2.5'; give a whole number from 0 up"),
        (f"gaussian-pca:{DIGITS}@k=64", "899 images of 64 dimensions have 1 to 63 components, and k is 64"),
        (f"gaussian-pca:{DIGITS}@k=0", "have 1 to 63 components, and k is 0"),
        (
            "uniform@8bit",
            "after @ stands no option, or one before the data; options end the spelling, as in uni",
        ),
        ("uniform@5bit:3x8x8", "after @ stands no option, or one before the data"),
        (f"gaussian-pca:{DIGITS}@k=3@k=4", "@k was given twice; give it once"),
        ("uniform:2x8x8", "write uniform:CxHxW with 1 or 3 channels"),
        ("uniform:3x0x8", "write uniform:CxHxW with 1 or 3 channels"),
        ("categorical:bundled:digit", "digit"),
    ],
)
def test_spellings_that_cannot_be_are_refused(spec, words):
    with pytest.raises(UsageError, match=words):
        open_closed_form(spec)


def test_images_that_cannot_be_fitted_are_refused(tmp_path):
    with pytest.raises(UsageError, match="neither enlarged nor grey; leave it out"):
        open_closed_form(f"uniform:{saved(tmp_path, small(4, 3, 8, 8))}@native")
    with pytest.raises(SourceError, match="has 1 image, and a model is fitted to 2 or more"):
        open_closed_form(f"categorical:{saved(tmp_path, small(1))}")
    np.savez(tmp_path / "stats.npz", mu=np.zeros(4), sigma=np.eye(4))
    with pytest.raises(SourceError, match="holds statistics of images, and a model is fitted to images"):
        open_closed_form(f"categorical:{tmp_path / 'stats.npz'}")
    with pytest.raises(UsageError, match=r"has 2 images of 3,145,728 dimensions, which is too much"):
        open_closed_form(f"categorical:{saved(tmp_path, np.zeros((2, 3, 1024, 1024), np.uint8))}")


def test_images_of_several_sizes_are_refused(tmp_path):
    from PIL import Image

    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, side in enumerate((4, 4, 5)):
        Image.new("RGB", (side, 4)).save(folder / f"{number}.png")
    with pytest.raises(SourceError, match=r"2.png.* has 5x4 pixels and others have 4x4"):
        open_closed_form(f"categorical:{folder}")


def test_images_of_another_size_and_labels_are_refused(models):
    with pytest.raises(
        UsageError, match=r"has a likelihood of images of \(1, 8, 8\), and was given \(3, 8, 8\)"
    ):
        models["categorical"].nats(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), seeds=np.arange(2))
    with pytest.raises(UsageError, match="knows no classes and was given labels"):
        models["uniform"].sample(np.arange(2), np.arange(2))


def test_what_was_never_seen_is_impossible_without_smoothing(tmp_path):
    model = open_closed_form(f"categorical:{saved(tmp_path, np.zeros((3, 3, 2, 2), np.uint8))}@smoothing=0")
    images = np.zeros((2, 3, 2, 2), np.uint8)
    images[1, 0, 0, 0] = 9
    assert model.nats(torch.from_numpy(images), seeds=np.arange(2)).tolist() == [0.0, math.inf]
    assert not model.sample(np.arange(50)).any()
