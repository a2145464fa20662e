"""Distances between stored features, beside SciPy and torch-fidelity: time, peak memory, value.

Every contender runs in a process of its own on the same random features; rounds follow one another, so that a
change of the machine's speed hits all of them. Medians and ratios are reported.

    python benchmarks/distances.py --rounds 3

writes ``benchmarks/results/distances.md`` and ``distances.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from common import RESULTS, machine, markdown, save


def features(num: int, width: int, seed: int) -> np.ndarray:
    """Rectified, correlated features, as networks have them."""
    rng = np.random.default_rng(seed)
    rank = width // 8
    mix = np.random.default_rng(5).normal(size=(rank, width)) * np.linspace(1, 0.1, rank)[:, None] / 8
    values = rng.normal(size=(num, rank)) @ mix + 0.3 * rng.normal(size=(num, width)) + 0.02 * seed
    return np.maximum(values, 0).astype(np.float32)


def covariances(num: int) -> tuple[np.ndarray, ...]:
    x, y = features(num, 2048, 1), features(num, 2048, 2)
    return x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False)


def scipy_sqrtm(num: int) -> Callable[[], float]:
    from scipy.linalg import sqrtm

    m1, s1, m2, s2 = covariances(num)
    rest = ((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2)
    return lambda: float(rest - 2 * np.trace(sqrtm(s1 @ s2)).real)


def fidelity_frechet(num: int) -> Callable[[], float]:
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    m1, s1, m2, s2 = covariances(num)
    one, other = {"mu": m1, "sigma": s1}, {"mu": m2, "sigma": s2}
    return lambda: float(fid_statistics_to_metric(one, other, False)["frechet_inception_distance"])


def evalkit_frechet(num: int) -> Callable[[], float]:
    from evalkit.metrics.distribution.fid import frechet_distance_statistics

    given = covariances(num)
    return lambda: frechet_distance_statistics(*given)


def evalkit_frechet_from_rows(num: int) -> Callable[[], float]:
    from evalkit.metrics.distribution.fid import frechet_distance
    from evalkit.metrics.moments import moments

    x, y = features(num, 2048, 1), features(num, 2048, 2)
    return lambda: frechet_distance(moments(x), moments(y), ddof=1)


def evalkit_frechet_with_error(num: int) -> Callable[[], float]:
    from evalkit.metrics.distribution.fid_influence import FrechetInfluence
    from evalkit.metrics.moments import moments

    x, y = features(num, 2048, 1), features(num, 2048, 2)

    def run() -> float:
        error = FrechetInfluence(moments(x), moments(y), ddof=1)
        error.observe_first(x)
        error.observe_second(y)
        error.finish()
        return error.distance

    return run


def fidelity_precision(num: int) -> Callable[[], float]:
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    x, y = (torch.from_numpy(features(num, 4096, seed)) for seed in (1, 2))
    options = {"prc_neighborhood": 3, "prc_batch_size": 10000, "save_cpu_ram": True, "verbose": False}
    return lambda: float(prc_features_to_metric(x, y, **options)["precision"])


def evalkit_precision(num: int) -> Callable[[], float]:
    from evalkit.metrics.distribution.prdc import neighbours

    x, y = features(num, 4096, 1), features(num, 4096, 2)
    return lambda: neighbours(y, x, k=3, inside="<=").precision


CONTENDERS = {
    "Fréchet, full rank: scipy.linalg.sqrtm": (scipy_sqrtm, 6000, ""),
    "Fréchet, full rank: torch-fidelity": (fidelity_frechet, 6000, ""),
    "Fréchet, full rank: evalkit": (evalkit_frechet, 6000, "Fréchet, full rank: torch-fidelity"),
    "Fréchet, 1,000 rows for 2,048 features: torch-fidelity": (fidelity_frechet, 1000, ""),
    "Fréchet, 1,000 rows for 2,048 features: evalkit": (
        evalkit_frechet, 1000, "Fréchet, 1,000 rows for 2,048 features: torch-fidelity",
    ),
    "Fréchet from 2 x 6,000 rows: evalkit": (evalkit_frechet_from_rows, 6000, ""),
    "Fréchet from 2 x 6,000 rows with standard error and bias: evalkit": (
        evalkit_frechet_with_error, 6000, "Fréchet from 2 x 6,000 rows: evalkit",
    ),
    "precision and recall, 2 x 10,000 x 4,096: torch-fidelity": (fidelity_precision, 10_000, ""),
    "precision and recall, 2 x 10,000 x 4,096: evalkit": (
        evalkit_precision, 10_000, "precision and recall, 2 x 10,000 x 4,096: torch-fidelity",
    ),
}  # fmt: skip


def measure(name: str) -> dict[str, float]:
    """One contender, here and now: seconds of the call alone, peak memory of the process."""
    prepare, num, _ = CONTENDERS[name]
    call = prepare(num)
    started = time.perf_counter()
    value = call()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mb": peak, "value": value}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take medians over")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(arguments.rounds):
        for name in CONTENDERS:
            done = subprocess.run(
                [sys.executable, __file__, "--one", name], capture_output=True, text=True, check=True
            )
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(name, runs[name][-1], file=sys.stderr, flush=True)
    rows = {}
    for name, found in runs.items():
        rows[name] = {key: statistics.median(run[key] for run in found) for key in found[0]}
    table = []
    for name, row in rows.items():
        against = CONTENDERS[name][2]
        ratio = f"{rows[against]['seconds'] / row['seconds']:.2f}x" if against else ""
        table.append([name, f"{row['value']:.6f}", f"{row['seconds']:.2f}", ratio, f"{row['peak_mb']:,.0f}"])
    lines = markdown(
        ["what", "value", "seconds", "quicker than the line it is held against", "peak MB"], table
    )
    text = (
        f"# Distances between stored features\n\n{machine()}; medians of {arguments.rounds} rounds; "
        f"`python benchmarks/distances.py --rounds {arguments.rounds}`.\nPeak memory is the whole process, "
        "features "
        f"and imports included.\n\n{lines}\n"
    )
    save(arguments.output, "distances", text, rows)


if __name__ == "__main__":
    main()
