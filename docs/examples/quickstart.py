"""The quickstart: small models and real images on one leaderboard, with no network and no GPU.

`make quickstart` runs it. It fits three models to the training half of scikit-learn's handwritten digits,
holds them, the reference networks that come with evalkit, real images and plain noise against the other half,
and writes a leaderboard with an error bar on every number. Read it as a tutorial: a model is a function of
seeds or a checkpoint, and measuring it is one call.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

import evalkit
import leaderboards
import reference_models
from evalkit.engine.progress import reporter
from evalkit.files import atomic_write, write_text
from evalkit.sources.base import ImageSource

Images = npt.NDArray[np.uint8]  # (n, 3, h, w)
Floats = npt.NDArray[np.floating]
Sampler = Callable[[Sequence[int]], Images]

TRAIN, TEST = "bundled:digits:train", "bundled:digits:test"
# Protocols on the bundled network, so nothing is downloaded. `is_mini` is left out: it asks which of the
# classes of CIFAR-10 an image shows, and digits are none of them.
METRICS = "fd_mini,kd_mini,prdc_mini"
# Of networks that say how likely images are: bits per dimension, by a bound of ten posterior samples.
LIKELIHOOD = "bpd_iwae10"
# Networks that `make references` trained on the same half, and their names in tables.
REFERENCES = Path(leaderboards.__file__).parent / "references" / "digits"
TITLES = {
    "progan": "ProGAN",
    "stylegan": "StyleGAN",
    "stylegan2": "StyleGAN2",
    "stylegan3-t": "StyleGAN3-T",
    "stylegan3-r": "StyleGAN3-R",
    "vdvae": "VDVAE",
    "nvae": "NVAE",
    "ncp-vae": "NCP-VAE",
}
SIDE, SCALE, WHITE = 8, 4, 16  # a digit is 8x8 levels from 0 to 16; its image shows each as a square of 4x4


def sampler(draw: Callable[[int], Floats]) -> Sampler:
    """A model as evalkit takes it: a function from seeds to uint8 images, where a seed decides its image.

    Args:
        draw: The 64 levels of one digit, from one seed.
    """

    def sample(seeds: Sequence[int]) -> Images:
        levels = np.stack([draw(int(seed)).reshape(SIDE, SIDE) for seed in seeds])
        grey = np.rint(np.rint(levels).clip(0, WHITE) * (255 / WHITE)).astype(np.uint8)
        large = grey.repeat(SCALE, axis=1).repeat(SCALE, axis=2)
        return np.repeat(large[:, None], 3, axis=1)

    sample.__qualname__ = draw.__name__  # what plans and records call it
    return sample


def fit_models(train: Images) -> dict[str, Sampler]:
    """Three classic models of ``train``, in the space of its principal components, and plain noise."""
    levels = train[:, 0, ::SCALE, ::SCALE].reshape(len(train), -1) * (WHITE / 255)
    pca = PCA(30, random_state=0).fit(levels)
    codes = pca.transform(levels)
    mixture = GaussianMixture(10, reg_covar=0.5, random_state=0).fit(codes)
    density = KernelDensity(bandwidth=3.0).fit(codes)  # what cross-validation picks
    spreads = np.linalg.cholesky(mixture.covariances_)

    def decode(code: Floats) -> Floats:
        decoded: Floats = pca.inverse_transform(code[None])
        return decoded

    def gaussian_mixture(seed: int) -> Floats:
        rng = np.random.default_rng(seed)
        part = rng.choice(len(spreads), p=mixture.weights_)
        return decode(mixture.means_[part] + spreads[part] @ rng.normal(size=30))

    def kernel_density(seed: int) -> Floats:
        return decode(density.sample(1, random_state=seed)[0])

    def gaussian(seed: int) -> Floats:
        return decode(np.random.default_rng(seed).normal(size=30) * np.sqrt(pca.explained_variance_))

    def noise(seed: int) -> Floats:
        return np.random.default_rng(seed).uniform(0, WHITE, SIDE * SIDE)

    return {
        "Gaussian mixture": sampler(gaussian_mixture),
        "kernel density": sampler(kernel_density),
        "Gaussian": sampler(gaussian),
        "uniform noise": sampler(noise),
    }


def load_references(folder: Path) -> dict[str, Any]:
    """The trained networks of ``folder``, oldest design first; none where there are none."""
    order = list(TITLES)
    files = sorted(
        folder.glob("*.safetensors"),
        key=lambda file: (order.index(file.stem) if file.stem in order else len(order), file.stem),
    )
    found = {}
    for file in files:
        model = reference_models.load_checkpoint(file)
        model.name = file.name  # in records, wherever evalkit is installed
        found[f"{TITLES.get(file.stem, file.stem)} (reference)"] = model
    return found


def draw_grid(rows: dict[str, Images], path: Path) -> None:
    """A picture with a line of samples for every model."""
    framed = {name: np.pad(images[:, 0], ((0, 0), (2, 2), (2, 2))) for name, images in rows.items()}
    picture = np.concatenate([np.concatenate(list(images), axis=1) for images in framed.values()], axis=0)
    side = len(picture) / len(rows)
    figure = Figure(figsize=(0.017 * picture.shape[1] + 1.6, 0.017 * len(picture)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_yticks([side * (line + 0.5) for line in range(len(rows))], list(rows))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110, bbox_inches="tight")


def main(argv: Sequence[str] | None = None) -> None:
    """Fits, samples, measures, and writes the leaderboard."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=Path("quickstart-results"), help="where results go")
    output: Path = parser.parse_args(argv).output
    started = time.perf_counter()

    # A source is anything evalkit can read images from: a folder, an archive, an npz, a data set by name ...
    source = evalkit.resolve(TRAIN)
    assert isinstance(source, ImageSource)  # and not a file of reference statistics, which it takes too
    train = np.stack(source.load(range(len(source))))
    print(f"Fitting three models to {len(train)} handwritten digits ...", flush=True)
    fitted = fit_models(train)
    trained = load_references(REFERENCES)
    judged: dict[str, dict[str, Any]] = {
        "real images": {"samples": TRAIN},
        # A function or a network makes as many images as it is asked for.
        **{name: {"samples": sample, "num": len(train)} for name, sample in fitted.items()},
        **{name: {"model": model, "num": len(train)} for name, model in trained.items()},
    }

    # The real side is the half that no model has seen, so nothing is compared with itself.
    for name, images in judged.items():
        print(f"Measuring: {name}", flush=True)
        evalkit.evaluate(
            **images,
            data=TEST,
            metrics=f"{METRICS},{LIKELIHOOD}" if hasattr(images.get("model"), "likelihood") else METRICS,
            name=name,
            data_name="digits",
            output=output / "records",
            reporter=reporter(),
        )

    boards = leaderboards.leaderboard_tables(output / "records")
    for form in ("md", "csv", "html"):
        write_text(output / f"leaderboard.{form}", leaderboards.render(boards, form))
    leaderboards.plot(boards, output / "leaderboard.png")
    first = {
        "real images": train[:14],
        **{name: sample(range(14)) for name, sample in fitted.items()},
        **{name: model.sample(np.arange(14)).cpu().numpy() for name, model in trained.items()},
    }
    # A folder may hold records of an earlier, edited version of this file as well: they have no samples here.
    ranked = [row.model for row in boards[0].rows if row.model in first]
    draw_grid({name: first[name] for name in ranked}, output / "samples.png")

    print(f"\n{leaderboards.render(boards, 'md')}")
    print(f"Done in {time.perf_counter() - started:.0f} s. Look at")
    for file in ("leaderboard.html", "leaderboard.png", "samples.png"):
        print(f"  {output / file}")
    print("Next: put your own samples on it, a folder or an npz of images:")
    print(f"  evalkit run --samples FOLDER --data {TEST} --data-name digits --metrics {METRICS} \\")
    print(f"    --name 'my model' --output {output / 'records'}")
    print(f"  evalkit table {output / 'records'}")


if __name__ == "__main__":
    main()
