"""Whether a noise contrastive prior makes a VAE's samples better: one network, its two priors, paired.

    python benchmarks/ncp_digits.py

The reference NCP-VAE of this repository (`benchmarks/references.py`) is sampled with its own base prior and
with the reweighted one, from the same seeds, and both are held against the digits that training never saw.
What both distances share through the real images cancels in the error of their difference
(`evalkit.uncertainty.influence.paired_difference`). The same for other numbers of proposals and of Langevin
steps, as in the paper's ablations (Aneja et al. 2021, arXiv:2010.02917).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import evalkit
import reference_models
from common import RESULTS, ROOT, machine, markdown, save
from evalkit.features.catalog import load_extractor
from evalkit.files import atomic_write
from evalkit.metrics.distribution.fid_influence import FrechetError, FrechetInfluence
from evalkit.metrics.moments import moments
from evalkit.sources.base import ImageSource
from evalkit.uncertainty.estimate import normal_interval
from evalkit.uncertainty.influence import paired_difference

NETWORK = ROOT / "leaderboards" / "references" / "digits" / "ncp-vae.safetensors"
TEST = "bundled:digits:test"
NUM = 2000
BASE: Mapping[str, Any] = {"prior": "base"}
PROPOSALS = (5, 50, 500, 5000)
STEPS = (10, 100, 1000)

Features = npt.NDArray[np.float32]


class Distance(NamedTuple):
    """A Fréchet distance from the real images, and what each row adds to it."""

    value: float
    error: FrechetError


class Difference(NamedTuple):
    """How much nearer a prior is than the base prior."""

    value: float
    standard_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        return normal_interval(self.value, self.standard_error)


def features(images: npt.NDArray[np.uint8]) -> Features:
    """Those that fd_mini compares, ``(n, 256)``."""
    extractor = load_extractor("mini", layers=["features"])
    parts = [
        extractor(list(images[start : start + extractor.micro_batch]))["features"]
        for start in range(0, len(images), extractor.micro_batch)
    ]
    return np.concatenate(parts)


def distance(fake: Features, real: Features) -> Distance:
    """fd_mini, with the influence of every row."""
    found = FrechetInfluence(moments(real), moments(fake), ddof=1)
    found.observe_first(real)
    found.observe_second(fake)
    return Distance(found.distance, found.finish())


def improvement(base: Distance, better: Distance) -> Difference:
    """The distance of ``base`` less that of ``better``: above 0 where ``better`` is nearer."""
    error = paired_difference(base.error.second, better.error.second, base.error.first - better.error.first)
    return Difference(base.value - better.value, error)


def settings(quick: bool) -> list[dict[str, Any]]:
    """The priors that are compared, the base prior first; of a quick look one other."""
    proposals, steps = (PROPOSALS[1:2], ()) if quick else (PROPOSALS, STEPS)
    return [
        dict(BASE),
        *({"method": "sir", "proposals": each} for each in proposals),
        *({"method": "langevin", "steps": each} for each in steps),
    ]


def measure(model: Any, num: int, quick: bool = False) -> list[dict[str, Any]]:  # noqa: ANN401
    """A row a prior: distance, and how much nearer than the base prior."""
    source = evalkit.resolve(TEST)
    assert isinstance(source, ImageSource)
    real = features(np.stack(source.load(range(len(source)))))
    base, rows = None, []
    for given in settings(quick):
        images = model.with_sampling(**given).sample(np.arange(num)).cpu().numpy()
        found = distance(features(images), real)
        base = base or found
        gained = improvement(base, found)
        rows.append(
            {
                "prior": named(given), "num": num, "fd_mini": found.value,
                "standard_error": found.error.standard_error, "bias": found.error.bias,
                "improvement": gained.value, "improvement_error": gained.standard_error,
                "improvement_ci95": gained.interval if found is not base else None,
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def named(given: Mapping[str, Any]) -> str:
    """A prior in words."""
    if given == BASE:
        return "base"
    if given["method"] == "sir":
        return f"resampling, {given['proposals']:,} proposals"
    return f"Langevin, {given['steps']:,} steps"


def report(rows: list[dict[str, Any]]) -> str:
    """The table, and what it says."""
    table = []
    for row in rows:
        span = row["improvement_ci95"]
        gained = "" if span is None else f"{row['improvement']:.4f} ({span[0]:.4f} to {span[1]:.4f})"
        table.append([row["prior"], f"{row['fd_mini']:.4f} ± {row['standard_error']:.4f}", gained])
    heads = ["prior", "fd_mini ± standard error", "less than the base prior's (95 % interval, paired)"]
    return (
        "# A VAE's samples under its own prior and under the noise contrastive one\n\n"
        f"{rows[0]['num']:,} samples of `{NETWORK.relative_to(ROOT)}` each, of the same seeds, against "
        f"`{TEST}`.\n\n{markdown(heads, table)}\n\n![fd_mini by prior](ncp_digits.png)\n\n"
        f"{machine()}; `python benchmarks/ncp_digits.py`.\n"
    )


def draw(rows: list[dict[str, Any]], model: Any, path: Path) -> None:  # noqa: ANN401
    """The distances, beside samples of both priors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, upper, lower = figure.subplot_mosaic([["a", "b"], ["a", "c"]]).values()
    places = np.arange(len(rows))
    errors = [1.96 * row["standard_error"] for row in rows]
    colours = ["C7", *("C0" if "resampling" in row["prior"] else "C1" for row in rows[1:])]
    left.barh(places, [row["fd_mini"] for row in rows], xerr=errors, color=colours, height=0.65)
    left.set_yticks(places, [row["prior"] for row in rows])
    left.invert_yaxis()
    left.set_xlabel("fd_mini (lower is better)")
    for axes, given, title in ((upper, BASE, "base prior"), (lower, {}, "noise contrastive prior")):
        images = model.with_sampling(**given).sample(np.arange(36)).cpu().numpy()[:, 0]
        grid = images.reshape(3, 12, *images.shape[1:]).transpose(0, 2, 1, 3)
        axes.imshow(grid.reshape(3 * images.shape[1], -1), cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


def main() -> None:
    """Measures, draws and files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=NUM, help="samples of each prior")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    model = reference_models.load_checkpoint(NETWORK)
    rows = measure(model, arguments.num)
    draw(rows, model, arguments.output / "ncp_digits.png")
    save(arguments.output, "ncp_digits", report(rows), rows)


if __name__ == "__main__":
    main()
