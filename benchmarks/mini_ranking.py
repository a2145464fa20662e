"""Does the bundled extractor see what people and the FID network's first layers see? CIFAR-10, spoiled.

CIFAR-10 test images are spoiled in four ways, each in steps that a person would put in the same order:
noise, blur, classes left out, classes made rare. ``fd_mini`` and FID-192 (the genuine first layers of the
FID network) judge every step against the other half of the test images; the bundled network was trained on
neither half.

    python benchmarks/mini_ranking.py --cifar cifar10.npz --stem inception_2015_12_05_stem192.npz

writes ``benchmarks/results/mini_ranking.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import kendalltau, spearmanr

import evalkit
from common import RESULTS, machine, markdown, save

Images = np.ndarray  # uint8 (n, h, w, 3)
NUM = 1000


def noise(images: Images, sigma: float) -> Images:
    """Gaussian noise of ``sigma`` grey levels."""
    grain = np.random.default_rng(0).normal(0, sigma, images.shape)
    return np.clip(np.rint(images + grain), 0, 255).astype(np.uint8)


def blur(images: Images, sigma: float) -> Images:
    """Gaussian blur of ``sigma`` pixels."""
    return np.rint(gaussian_filter(images.astype(np.float64), (0, sigma, sigma, 0))).astype(np.uint8)


def drop(images: Images, labels: np.ndarray, dropped: int) -> Images:
    """Without the last ``dropped`` of ten classes."""
    return images[labels < 10 - dropped][:NUM]


def imbalance(images: Images, labels: np.ndarray, ratio: float) -> Images:
    """Classes whose shares fall geometrically; the first is ``ratio`` times as frequent as the last."""
    shares = ratio ** -(np.arange(10) / 9)
    counts = np.floor(shares / shares.sum() * NUM).astype(int)
    return np.concatenate([images[labels == c][: counts[c]] for c in range(10)])


def sets(images: Images, labels: np.ndarray) -> dict[str, list[tuple[str, Images]]]:
    """Families of sets; within each, every step is worse than the one before."""
    plain = images[:NUM]
    levels: dict[str, list[tuple[str, Callable[[], Images]]]] = {
        "noise": [(f"noise, sigma {s} grey levels", lambda s=s: noise(plain, s)) for s in (4, 8, 16, 32)],
        "blur": [(f"blur, sigma {s} pixels", lambda s=s: blur(plain, s)) for s in (0.5, 0.75, 1, 2)],
        "mode drop": [
            (f"{n} of 10 classes left out", lambda n=n: drop(images, labels, n)) for n in (2, 4, 6, 8)
        ],
        "class imbalance": [
            (f"most frequent class {r} times the rarest", lambda r=r: imbalance(images, labels, r))
            for r in (4, 16, 64)
        ],
    }
    made = {family: [(name, make()) for name, make in steps] for family, steps in levels.items()}
    return {"untouched": [("held-out images", plain)], **made}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar", type=Path, required=True, help="npz with test_images, test_labels")
    parser.add_argument("--stem", type=Path, required=True, help="first layers of the FID network")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with np.load(arguments.cifar, allow_pickle=False) as file:
        real = file["test_images"][:5000]
        families = sets(file["test_images"][5000:], file["test_labels"][5000:])
    rows: list[dict] = []
    for family, steps in families.items():
        for step, (name, images) in enumerate(steps):
            row: dict = {"family": family, "step": step, "images": name, "num": len(images)}
            for key, metrics, layer in (("fd_mini", "fd_mini", None), ("fid@192", "fid", "192")):
                (record,) = evalkit.evaluate(
                    samples=images, data=real, metrics=metrics, layer=layer, output=None, name=name,
                    weights={"inception-tf2015": arguments.stem} if layer else None,
                )  # fmt: skip
                row[key] = {"value": record.value, "se": record.standard_error, "bias": record.bias}
            rows.append(row)
            print(name, row["fd_mini"], row["fid@192"], flush=True)
    save(arguments.output, "mini_ranking", report(rows), rows)


def report(rows: list[dict]) -> str:
    """A table with each value, and how well both distances agree on the order."""
    table = [
        [row["family"], row["images"], f"{row['num']:,}"]
        + [f"{row[key]['value']:.3f} ± {row[key]['se']:.3f}" for key in ("fd_mini", "fid@192")]
        for row in rows
    ]
    lines = ["# fd_mini and FID-192 on CIFAR-10, spoiled step by step", ""]
    lines += [
        "Value ± standard error against 5,000 other test images; every family gets worse downwards.",
        "",
    ]
    lines += [markdown(["family", "images", "n", "fd_mini", "FID-192"], table), ""]
    for key, title in (("fd_mini", "fd_mini"), ("fid@192", "FID-192")):
        wrong = []
        for family in dict.fromkeys(row["family"] for row in rows):
            values = [rows[0][key]["value"]] + [
                row[key]["value"] for row in rows[1:] if row["family"] == family
            ]
            if any(after <= before for before, after in itertools.pairwise(values)):
                wrong.append(family)
        lines.append(
            f"{title}: {'every family in order' if not wrong else 'out of order in ' + ', '.join(wrong)}."
        )
    pairs = [[row[key]["value"] for row in rows] for key in ("fd_mini", "fid@192")]
    rho, tau = spearmanr(*pairs).statistic, kendalltau(*pairs).statistic
    lines.append(f"Both distances on all {len(rows)} sets: Spearman {rho:.2f}, Kendall {tau:.2f}.")
    lines += ["", f"{machine()}; `python benchmarks/mini_ranking.py --cifar … --stem …`.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
