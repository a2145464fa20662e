"""Images to features, beside torch-fidelity's extractors: images a second, one process, resize included.

Both run the same images through the same full-size random weights on the same threads. torch-fidelity gets
batches of 64, its command line's default, and of 8, what evalkit cuts batches into on a CPU. The contenders
take turns, so that a change of the machine's speed hits all of them; medians over rounds are reported.

    python benchmarks/network.py --rounds 5 --threads 1

writes ``benchmarks/results/network.md`` and ``network.json``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

import random_weights
from common import RESULTS, machine, markdown, save
from evalkit.features.catalog import load_extractor

NETWORKS = {
    "inception": ("inception-tf2015", "2048", FeatureExtractorInceptionV3),
    "vgg16": ("vgg16", "fc2_relu", FeatureExtractorVGG16),
}


def contenders(network: str, folder: Path, device: str) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Functions from uint8 images to features."""
    name, layer, peer_class = NETWORKS[network]
    weights = random_weights.once(folder, network)
    peer = peer_class(name, [layer], feature_extractor_weights_path=str(weights)).to(device)
    mine = load_extractor(name, layers=[layer], device=device, overrides={name: weights})

    def fidelity(batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
        def run(images: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                parts = [
                    peer(part.to(device))[0].cpu() for part in torch.from_numpy(images).split(batch_size)
                ]
            return torch.cat(parts).numpy()

        return run

    return {
        "torch-fidelity, batches of 64": fidelity(64),
        "torch-fidelity, batches of 8": fidelity(8),
        "evalkit": lambda images: mine(list(images))[layer],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--num", type=int, default=64, help="images in a run")
    parser.add_argument("--size", type=int, default=256, help="their side in pixels")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take medians over")
    parser.add_argument("--threads", type=int, default=1, help="threads each may use")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = np.ascontiguousarray(
        random_weights.pictures(arguments.num, arguments.size, 0).transpose(0, 3, 1, 2)
    )
    rows = []
    for network in arguments.network:
        with tempfile.TemporaryDirectory() as folder:
            rows += compare(network, contenders(network, Path(folder), arguments.device), images, arguments)
    save(arguments.output, "network", report(rows, arguments), rows)


def compare(
    network: str,
    programs: dict[str, Callable[[np.ndarray], np.ndarray]],
    images: np.ndarray,
    arguments: argparse.Namespace,
) -> list[dict]:
    """Rates of each contender, their ratio to the first, and how far features are apart."""
    warm = images[: min(8, len(images))]
    want = next(iter(programs.values()))(warm)
    apart = {name: np.linalg.norm(run(warm) - want) / np.linalg.norm(want) for name, run in programs.items()}
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(arguments.rounds):
        for name, run in programs.items():
            started = time.perf_counter()
            run(images)
            rates[name].append(len(images) / (time.perf_counter() - started))
            print(network, name, f"{rates[name][-1]:.2f} images/s", file=sys.stderr, flush=True)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    first = next(iter(medians.values()))
    return [
        {
            "network": network,
            "program": name,
            "images_per_second": rate,
            "ratio": rate / first,
            "apart": float(apart[name]),
        }
        for name, rate in medians.items()
    ]


def report(rows: list[dict], arguments: argparse.Namespace) -> str:
    """The rates as a table."""
    table = [
        [
            row["network"],
            row["program"],
            f"{row['images_per_second']:.2f}",
            f"{row['ratio']:.2f}x",
            f"{row['apart']:.1e}",
        ]
        for row in rows
    ]
    lines = markdown(["network", "program", "images/s", "ratio", "features apart (relative)"], table)
    how = (
        f"{machine()}; {arguments.threads} threads; {arguments.device}; {arguments.num} images of "
        f"{arguments.size} x {arguments.size}, resize included; medians of {arguments.rounds} rounds."
    )
    return f"# Images to features\n\n{how}\n\n{lines}\n"


if __name__ == "__main__":
    main()
