"""The quickstart: four small models and real images on one leaderboard, with no network and no GPU.

`make quickstart` runs it. It fits three models to the training half of scikit-learn's handwritten digits,
holds them, real images and plain noise against the other half, and writes a leaderboard with an error bar on
every number. Read it as a tutorial: a model is a function of seeds, and measuring it is one call.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

import evalkit
import leaderboards
from evalkit.engine.progress import reporter
from evalkit.files import atomic_write, write_text

Images = npt.NDArray[np.uint8]  # (n, 3, h, w)
Sampler = Callable[[Sequence[int]], Images]

TRAIN, TEST = "bundled:digits:train", "bundled:digits:test"
METRICS = "mini"  # the protocols on the bundled network: nothing is downloaded
SIDE = 32


def sampler(draw: Callable[[int], npt.NDArray[np.floating]]) -> Sampler:
    """A model as evalkit takes it: a function from seeds to uint8 images, the image of a seed its own.

    Args:
        draw: Grey levels of one image, 0 to 255, from one seed.
    """

    def images(seeds: Sequence[int]) -> Images:
        grey = np.stack([draw(int(seed)).reshape(SIDE, SIDE) for seed in seeds])
        rounded = np.rint(grey).clip(0, 255).astype(np.uint8)
        return np.repeat(rounded[:, None], 3, axis=1)

    return images


def fit_models(train: Images, components: int = 30) -> dict[str, Sampler]:
    """Three classic models of ``train``, all in the space of its first principal components, and noise."""
    pixels = train[:, 0].reshape(len(train), -1).astype(np.float64)
    pca = PCA(components, random_state=0).fit(pixels)
    latents = pca.transform(pixels)
    mixture = GaussianMixture(10, reg_covar=100.0, random_state=0).fit(latents)
    density = KernelDensity(bandwidth=150.0).fit(latents)

    def gaussian(seed: int) -> npt.NDArray[np.floating]:
        latent = np.random.default_rng(seed).normal(size=components) * np.sqrt(pca.explained_variance_)
        return pca.inverse_transform(latent[None])

    def gaussian_mixture(seed: int) -> npt.NDArray[np.floating]:
        return pca.inverse_transform(mixture.set_params(random_state=seed).sample(1)[0])

    def kernel_density(seed: int) -> npt.NDArray[np.floating]:
        return pca.inverse_transform(density.sample(1, random_state=seed))

    def noise(seed: int) -> npt.NDArray[np.floating]:
        return np.random.default_rng(seed).uniform(0, 255, SIDE * SIDE)

    return {
        "Gaussian mixture": sampler(gaussian_mixture),
        "kernel density": sampler(kernel_density),
        "Gaussian": sampler(gaussian),
        "uniform noise": sampler(noise),
    }


def draw_grid(rows: dict[str, Images], path: Path) -> None:
    """A picture with a line of samples for every model."""
    lines = [np.concatenate([image[0] for image in images], axis=1) for images in rows.values()]
    picture = np.concatenate(lines, axis=0)
    figure = Figure(figsize=(0.62 * picture.shape[1] / SIDE + 1.6, 0.62 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    axes.set_yticks([SIDE * (i + 0.5) for i in range(len(rows))], list(rows))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


def main(argv: Sequence[str] | None = None) -> None:
    """Fits, samples, measures, and writes the leaderboard."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=Path("quickstart-results"), help="where results go")
    output: Path = parser.parse_args(argv).output
    started = time.perf_counter()

    # A source is anything evalkit can read images from: a folder, an archive, an npz, a data set by name ...
    source = evalkit.resolve(TRAIN)
    train = np.stack(source.load(range(len(source))))
    print(f"Fitting three models to {len(train)} handwritten digits ...", flush=True)
    models: dict[str, str | Sampler] = {"real images": TRAIN, **fit_models(train)}

    # The real side is the half that no model has seen, so nothing is compared with itself.
    for name, samples in models.items():
        print(f"Measuring: {name}", flush=True)
        evalkit.evaluate(
            samples=samples,
            data=TEST,
            metrics=METRICS,
            num=len(train),
            name=name,
            data_name="digits",
            output=output / "records",
            reporter=reporter(),
        )

    boards = leaderboards.leaderboard_tables(output / "records")
    for form in ("md", "csv", "html"):
        write_text(output / f"leaderboard.{form}", leaderboards.render(boards, form))
    leaderboards.plot(boards, output / "leaderboard.png")
    draw_grid(
        {name: train[:14] if isinstance(each, str) else each(range(14)) for name, each in models.items()},
        output / "samples.png",
    )

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
