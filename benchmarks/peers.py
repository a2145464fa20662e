"""FID of two folders, whole process, beside torch-fidelity's command line and clean-fid: time, memory, value.

All read the same PNG files and the same full-size network with random weights (no weights can be assumed to
be at hand; time does not depend on their values). The runs of a round follow one another, so that a change of
the machine's speed hits all of them; medians over rounds are reported with their ratios.

    python benchmarks/peers.py --num 500 --size 256 --rounds 3

writes ``benchmarks/results/peers.md`` and ``peers.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

import random_weights
from common import RESULTS, ROOT, machine, markdown, save

PAIR = (("a", 0), ("b", 1))
BFLOAT16 = "evalkit: fid in bfloat16 (a protocol of its own)"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=500, help="images in each folder")
    parser.add_argument("--size", type=int, default=256, help="their side in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take medians over")
    parser.add_argument("--threads", type=int, default=2, help="threads each program may use")
    parser.add_argument(
        "--bfloat16", action="store_true", help="measure bfloat16 too; slow where the processor has none"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(Path(folder), arguments)
    save(arguments.output, "peers", report(rows, arguments), rows)


def compare(folder: Path, arguments: argparse.Namespace) -> list[dict]:
    """Runs every program, round by round; medians of what each used."""
    weights = random_weights.write_inception(folder / "random-inception.pth")
    fake, real = (write_images(folder / name, arguments.num, arguments.size, seed) for name, seed in PAIR)
    cache = folder / "cache"
    run_eval = [
        sys.executable, str(ROOT / "run_eval.py"), "run", "--samples", str(fake), "--data", str(real),
        "--weights", f"inception-tf2015={weights}", "--device", "cpu", "--cache-dir", str(cache),
        "--output", str(folder / "results"), "--json", "--metrics",
    ]  # fmt: skip
    fidelity = [
        shutil.which("fidelity", path=str(Path(sys.executable).parent)) or "fidelity", "--input1", str(fake),
        "--input2", str(real), "--json", "--no-cache", "--silent",
        "--feature-extractor-weights-path", str(weights),
    ]  # fmt: skip
    subset = str(min(1000, arguments.num))
    clean = [sys.executable, str(ROOT / "benchmarks" / "cleanfid_cli.py"), str(fake), str(real), str(weights)]
    programs = {
        "torch-fidelity: fid": ([*fidelity, "--fid"], False),
        "evalkit: fid": ([*run_eval, "fid"], True),
        "evalkit: fid again (features on file)": ([*run_eval, "fid"], False),
        "torch-fidelity: fid kid is": (
            [*fidelity, "--fid", "--kid", "--isc", "--kid-subset-size", subset], False,
        ),
        "evalkit: fid kid is": ([*run_eval, "fid,kid,is"], True),
        "clean-fid: fid": (clean, False),
        "evalkit: fid_clean": ([*run_eval, "fid_clean"], True),
    }  # fmt: skip
    if arguments.bfloat16:
        programs[BFLOAT16] = ([*run_eval, "fid", "--precision", "bfloat16"], True)
    rows: dict[str, list[dict]] = {name: [] for name in programs}
    for _ in range(arguments.rounds):
        for name, (command, fresh) in programs.items():
            if fresh:
                shutil.rmtree(cache, ignore_errors=True)
            rows[name].append(measure(command, arguments.threads))
            print(name, {k: v for k, v in rows[name][-1].items()}, file=sys.stderr, flush=True)
    summary = []
    for name, runs in rows.items():
        row = {"program": name, "value": runs[0]["value"], "failure": runs[0]["failure"]}
        for figure in ("cpu_s", "wall_s", "peak_mb"):
            row[figure] = statistics.median(run[figure] for run in runs)
        summary.append(row)
    return summary


def measure(command: list[str], threads: int) -> dict:
    """Runs one program and asks the system what it used."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    # From a process that is itself small: the system counts what a parent held as its child's peak.
    launcher = [sys.executable, "-S", str(Path(__file__).with_name("launch.py"))]
    with tempfile.NamedTemporaryFile() as used, tempfile.TemporaryFile() as out:
        done = subprocess.run(
            [*launcher, used.name, *command], stdout=out, stderr=subprocess.PIPE, env=environment, check=False
        )
        out.seek(0)
        words = done.stderr.decode().strip()
        usage = json.loads(Path(used.name).read_text())
        failed = usage.pop("exit_code") != 0
        if failed and "run_eval.py" in " ".join(command):
            raise SystemExit(f"{command} failed:\n{words[-2000:]}")
        # A peer that gives up (clean-fid does, on too few images) is reported, with what it used until then.
        failure = (words.splitlines() or ["it said nothing"])[-1] if failed else None
        return {
            "value": None if failure else value_of(out.read().decode()),
            "failure": failure,
            **usage,
        }


def value_of(stdout: str) -> float:
    """FID as each program prints it in JSON."""
    found = json.loads(stdout[min(stdout.index(c) for c in "[{" if c in stdout) :])
    if isinstance(found, list):
        return next(record["value"] for record in found if record["metric"].startswith("fid"))
    return found["frechet_inception_distance"]


def write_images(folder: Path, num: int, size: int, seed: int) -> Path:
    """Pictures whose PNGs cost as much to decode as natural ones."""
    folder.mkdir()
    for start in range(0, num, 50):  # a few at a time: they are made in float64
        block = random_weights.pictures(min(50, num - start), size, seed * 10_000 + start)
        for i, picture in enumerate(block, start):
            Image.fromarray(picture).save(folder / f"{i:05d}.png")
    return folder


def report(rows: list[dict], arguments: argparse.Namespace) -> str:
    """A table with ratios to the peer that does the same."""
    by_name = {row["program"]: row for row in rows}
    pairs = {
        "evalkit: fid": "torch-fidelity: fid",
        "evalkit: fid again (features on file)": "torch-fidelity: fid",
        "evalkit: fid kid is": "torch-fidelity: fid kid is",
        "evalkit: fid_clean": "clean-fid: fid",
        BFLOAT16: "torch-fidelity: fid",
    }
    table = []
    for row in rows:
        peer = by_name.get(pairs.get(row["program"], ""))
        cells = [row["program"], "failed" if row["value"] is None else f"{row['value']:.6f}"]
        for key, form in (("cpu_s", ".1f"), ("wall_s", ".1f"), ("peak_mb", ",.0f")):
            cells.append(f"{row[key]:{form}}" + (f" ({peer[key] / row[key]:.2f}x)" if peer else ""))
        table.append(cells)
    options = f"--num {arguments.num} --size {arguments.size} --rounds {arguments.rounds}"
    head = f"# FID of 2 x {arguments.num} PNG of {arguments.size} x {arguments.size}, whole process"
    how = (
        f"{machine()}; {arguments.threads} threads; medians of {arguments.rounds} rounds; "
        f"`python benchmarks/peers.py {options}`.\n"
        "In brackets the peer's figure over evalkit's: above 1, evalkit needs less."
    )
    lines = markdown(["program", "value", "CPU seconds", "wall seconds", "peak MB"], table)
    few = (
        "\nWith fewer images than the 2,048 features the peers' values differ in the sixth digit: "
        "torch-fidelity takes\nsquare roots of eigenvalues that are rounding noise, clean-fid adds 1e-6 to "
        "the diagonals. "
        "evalkit's equal the\nnuclear norm of the cross Gram matrix, which is exact "
        "(`tests/metrics/test_frechet.py` holds them to it).\n"
    )
    failed = "".join(f"\n{row['program']} failed: {row['failure']}\n" for row in rows if row["failure"])
    return f"{head}\n\n{how}\n\n{lines}\n{few if arguments.num < 2048 else ''}{failed}"


if __name__ == "__main__":
    main()
