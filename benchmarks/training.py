"""Training of the reference models: s/kimg and peak memory, by fast operations beside plain ones.

Every number comes from a process of its own, so that no peak is another one's; the two paths take turns. The
images are random. Growing networks are measured at their full size, and augmentation at the strength `ADA_P`.
Where the images that a recipe sends through the networks at once do not fit a GPU, half as many are tried.

    python benchmarks/training.py --rounds 3

writes ``benchmarks/results/training.md`` and ``training.json``: of the tiny presets on a CPU, of all on a
GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from common import RESULTS, machine, markdown, save
from reference_models import catalog, ops
from reference_models.catalog import MODELS, part
from reference_models.training import machine as training_machine
from reference_models.training.distributed import ProcessGroup
from reference_models.training.schedules import pyramid
from reference_models.training.task import Iteration, Reals, Task

PATHS = ("reference", "fast")
ADA_P = 0.2
KIMG = 25_000.0  # where the measured iterations stand: growing and fading are over
WARM_UP = 2
STEPS = 16  # a multiple of every interval of lazy regularisation
# These are other names of presets that are measured.
ALIASES = {("stylegan3", "stylegan3-t-1024"), ("stylegan3", "stylegan3-r-1024")}


class Case(NamedTuple):
    """One preset by one path of the operations.

    Attributes:
        model: Name in the catalogue.
        preset: One of its recipes.
        path: ``reference`` or ``fast``.
        device: ``cpu`` or ``cuda``.
        batch_gpu: Images that go through the networks at once; None is the recipe's own number.
    """

    model: str
    preset: str
    path: str
    device: str
    batch_gpu: int | None = None


class RandomFeed:
    """Random images, the same whenever they are made, kept where training takes place."""

    def __init__(self, task: Task, device: torch.device) -> None:
        rng = torch.Generator().manual_seed(0)
        shape = (task.batch, task.img_channels, task.img_resolution, task.img_resolution)
        images = torch.randint(256, shape, dtype=torch.uint8, generator=rng)
        self.levels = [level.to(device) for level in pyramid(images)]

    def reals(self, count: int, *, level: int = 0) -> Reals:
        images = self.levels[level]
        return Reals(images[torch.arange(count, device=images.device) % len(images)], None)

    def labels(self, count: int, rng: torch.Generator) -> None:
        del count, rng


def presets(device: str) -> list[tuple[str, str]]:
    """Models and their presets that can be measured on a device."""
    return [
        (model, preset)
        for model in MODELS
        for preset in part(model, "recipe").RECIPES
        if (model, preset) not in ALIASES and (device == "cuda" or preset.startswith("tiny"))
    ]


def make_task(case: Case) -> Task:
    """The training of a preset, with augmentation switched on where its recipe has any."""
    overrides: dict[str, object] = {}
    if getattr(part(case.model, "recipe").RECIPES[case.preset], "augment", "none") != "none":
        overrides["augment_p"] = ADA_P
    if case.batch_gpu is not None:
        overrides["batch_gpu"] = case.batch_gpu
    return catalog.make_task(case.model, case.preset, overrides=overrides)


def smaller(case: Case) -> Case | None:
    """The same with half as many images at once; None where the recipe cannot cut a batch further."""
    recipe = part(case.model, "recipe").RECIPES[case.preset]
    if not hasattr(recipe, "batch_gpu"):
        return None
    now = case.batch_gpu or recipe.batch_gpu or recipe.batch
    # Statistics over groups of four images need four.
    return case._replace(batch_gpu=now // 2) if now >= 8 and now % 2 == 0 else None


def measure(case: Case) -> dict[str, Any]:
    """Trains for some iterations, in this process, whose peak it is then.

    Returns:
        ``s_per_kimg`` and ``peak_mib``; or ``fits``, which is false.
    """
    device = training_machine.pick_device(case.device)
    try:
        with training_machine.numerics(device, deterministic=False), ops.use(case.path):
            task = make_task(case)
            task.to(device)
            feed, group, seen, started = RandomFeed(task, device), ProcessGroup(device=device), 0, 0.0
            for index in range(WARM_UP + STEPS):
                if index == WARM_UP:
                    seen, started = 0, _now(device)
                rng = torch.Generator(device)
                rng.manual_seed(index)
                seen += task.iterate(
                    Iteration(index=index, images=int(KIMG * 1000), feed=feed, rng=rng, group=group)
                ).images
            seconds = _now(device) - started
    except torch.cuda.OutOfMemoryError:
        return {"fits": False}
    memory = training_machine.memory(device)
    peak = memory.get("memory/gpu_peak_mib", memory["memory/rss_mib"])
    return {"fits": True, "s_per_kimg": seconds / seen * 1000, "peak_mib": peak, "images": seen}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def apart(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """`measure` in another process; what it does not finish in time or memory does not fit."""
    words = ["--measure", json.dumps(case), "--threads", str(arguments.threads)]
    try:
        done = subprocess.run(
            [sys.executable, __file__, *words], stdout=subprocess.PIPE, timeout=arguments.limit, check=True
        )
    except subprocess.TimeoutExpired:
        return {"fits": False, "why": f"over {arguments.limit} s"}
    except subprocess.CalledProcessError as error:
        return {"fits": False, "why": f"exit code {error.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row_of(model: str, preset: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both paths of a preset, in turns."""
    row: dict[str, Any] = {"model": model, "preset": preset}
    runs: dict[str, list[dict[str, Any]]] = {path: [] for path in PATHS}
    for _ in range(arguments.rounds):
        for path in PATHS:
            if runs[path] and not runs[path][-1]["fits"]:
                continue
            case: Case | None = Case(model, preset, path, arguments.device, row.get(f"batch_gpu_{path}"))
            found: dict[str, Any] = {"fits": False}
            while case is not None and not found["fits"] and "why" not in found:
                found = apart(case, arguments)
                row[f"batch_gpu_{path}"] = case.batch_gpu
                case = smaller(case)
            runs[path].append(found)
            print(model, preset, path, found, file=sys.stderr, flush=True)
    for path in PATHS:
        good = [found for found in runs[path] if found["fits"]]
        row[path] = None
        if good and len(good) == len(runs[path]):
            row[path] = {
                "s_per_kimg": statistics.median(found["s_per_kimg"] for found in good),
                "peak_mib": max(found["peak_mib"] for found in good),
            }
        else:
            row[f"why_{path}"] = runs[path][-1].get("why", "out of memory")
    return row


def report(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    """The times and peaks as a table."""
    table = []
    for row in rows:
        cells = [row["model"], row["preset"], _at_once(row)]
        for key, form in (("s_per_kimg", "{:.2f}"), ("peak_mib", "{:,.0f}")):
            shown = [None if row[path] is None else row[path][key] for path in PATHS]
            words = [
                row[f"why_{path}"] if value is None else form.format(value)
                for path, value in zip(PATHS, shown, strict=True)
            ]
            both = None not in shown
            cells += [*words, f"{shown[0] / shown[1]:.2f}x" if both else ""]
        table.append(cells)
    peak = "of the GPU's memory" if arguments.device == "cuda" else "of the whole process"
    how = (
        f"{machine()}; {arguments.threads} threads; {arguments.device}; float32; {STEPS} iterations after "
        f"{WARM_UP}, networks at full size, augmentation (where the recipe has any) at p = {ADA_P}; medians "
        f"of {arguments.rounds} rounds. Peaks are {peak}. At once: images that go through the networks "
        "together where the recipe's own number does not fit (plain, fast). Ratio: plain over fast."
    )
    headings = [
        "model",
        "preset",
        "at once",
        "s/kimg, plain",
        "fast",
        "ratio",
        "peak MiB, plain",
        "fast",
        "ratio",
    ]
    return f"# Training: fast operations beside plain ones\n\n{how}\n\n{markdown(headings, table)}\n"


def _at_once(row: dict[str, Any]) -> str:
    counts = [row.get(f"batch_gpu_{path}") for path in PATHS]
    if counts == [None, None]:
        return "recipe's"
    return ", ".join("recipe's" if count is None else str(count) for count in counts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1, help="rounds to take medians over")
    parser.add_argument("--threads", type=int, default=2, help="threads each may use")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda")
    )
    parser.add_argument("--only", nargs="*", help="those whose model:preset holds one of these")
    parser.add_argument("--limit", type=int, default=600, help="seconds for one measurement")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.measure is not None:
        print(json.dumps(measure(Case(*json.loads(arguments.measure)))))
        return
    wanted = arguments.only or [""]
    rows = [
        row_of(model, preset, arguments)
        for model, preset in presets(arguments.device)
        if any(text in f"{model}:{preset}" for text in wanted)
    ]
    save(arguments.output, "training", report(rows, arguments), rows)


if __name__ == "__main__":
    main()
