"""The reference models' operations: the fast path beside the reference path, at shapes of full-size networks.

Both paths get the same tensors, take turns, and are held against each other first. On a GPU the time is also
put beside the floor: the bytes that must be read and written at least, over the bandwidth a plain copy
reaches.

    python benchmarks/ops.py --rounds 5 --threads 1
    python benchmarks/ops.py --generators --rounds 3

write ``benchmarks/results/ops.md`` and ``ops.json``, and ``generators.md`` and ``generators.json``.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from common import RESULTS, machine, markdown, save
from reference_models import ops

PATHS = ("reference", "fast")
GENERATORS = (
    ("progan", "celebahq1024"),
    ("stylegan", "ffhq1024"),
    ("stylegan2", "ffhq1024"),
    ("stylegan3", "stylegan3-t"),
    ("stylegan3", "stylegan3-r"),
)
Operation = Callable[..., torch.Tensor]


class Case(NamedTuple):
    """One operation at one place of a network.

    Attributes:
        name: The operation.
        place: Where it occurs, with its size.
        run: The operation as a function of the tensors.
        shapes: Shapes of those tensors; the first is the picture.
    """

    name: str
    place: str
    run: Operation
    shapes: tuple[tuple[int, ...], ...]


def cases(device: str) -> Iterator[Case]:
    """Layers of StyleGAN2 at 1024 (generator and discriminator) and of StyleGAN3-T and -R at 1024."""
    blur = ops.setup_filter([1, 3, 3, 1]).to(device)

    def low_pass(taps: int, cutoff: float, width: float, rate: float, radial: bool = False) -> torch.Tensor:
        made = ops.design_lowpass_filter(taps, cutoff, width, rate, radial=radial)
        assert made is not None
        return made.to(device)

    yield Case(
        "upsample2d", "StyleGAN2 image 3 x 512", lambda x: ops.upsample2d(x, blur), ((1, 3, 512, 512),)
    )
    yield Case(
        "downsample2d",
        "StyleGAN2 D image 3 x 1024",
        lambda x: ops.downsample2d(x, blur),
        ((1, 3, 1024, 1024),),
    )
    yield Case("filter2d", "StyleGAN2 D 32 x 1024", lambda x: ops.filter2d(x, blur), ((1, 32, 1024, 1024),))
    yield Case(
        "upfirdn2d, factor 2",
        "StyleGAN2 resnet 512 x 32",
        lambda x: ops.upsample2d(x, blur),
        ((1, 512, 32, 32),),
    )
    for channels, size in ((512, 64), (32, 1024)):
        yield Case(
            "bias_act lrelu, clamped",
            f"StyleGAN2 {channels} x {size}",
            lambda x, b: ops.bias_act(x, b, act="lrelu", clamp=256.0),
            ((1, channels, size, size), (channels,)),
        )
    for before, after, size in ((512, 512, 32), (64, 32, 512)):
        yield Case(
            "modulated_conv2d, up 2",
            f"StyleGAN2 {before} x {size} to {after} x {2 * size}",
            lambda x, w, s: ops.modulated_conv2d(
                x, w, s, up=2, padding=1, resample_filter=blur, flip_weight=False
            ),
            ((1, before, size, size), (after, before, 3, 3), (1, before)),
        )
    yield Case(
        "conv2d_resample, down 2",
        "StyleGAN2 D 32 x 1024 to 64 x 512",
        lambda x, w: ops.conv2d_resample(x, w, blur, down=2, padding=1),
        ((1, 32, 1024, 1024), (64, 32, 3, 3)),
    )
    yield Case(
        "conv2d_resample 1x1, down 2",
        "StyleGAN2 D 32 x 1024 to 64 x 512",
        lambda x, w: ops.conv2d_resample(x, w, blur, down=2),
        ((1, 32, 1024, 1024), (64, 32, 1, 1)),
    )
    # Filters by the tables of the layers: up, down, padding, cutoffs, widths and rate.
    lrelus = (
        ("T L3, 512 x 54", 512, 54, 2, (9, 8), (12, 5.04, 21.92, 64), (12, 8.0, 16.0, 64), False),
        (
            "T L7, 80 of 323 x 150", 80, 150, 4, (-6, -9), (24, 32.0, 64.0, 512), (12, 50.8, 154.4, 512),
            False,
        ),
        (
            "T L12, 16 of 32 x 1046", 16, 1046, 2, (9, 8), (12, 322.5, 378.9, 2048),
            (12, 512.0, 236.7, 2048), False,
        ),
        (
            "R L11, 16 of 102 x 1044", 16, 1044, 2, (11, 10), (12, 203.2, 617.6, 2048),
            (12, 322.5, 378.9, 2048), True,
        ),
    )  # fmt: skip
    for place, channels, size, up, (lo, hi), rise, fall, radial in lrelus:
        fu, fd = low_pass(*rise), low_pass(*fall, radial=radial)
        yield Case(
            "filtered_lrelu, radial" if radial else "filtered_lrelu",
            f"StyleGAN3-{place}",
            lambda x, b, fu=fu, fd=fd, up=up, lo=lo, hi=hi: ops.filtered_lrelu(
                x, fu, fd, b, up=up, down=2, padding=(lo, hi, lo, hi), clamp=256.0
            ),
            ((1, channels, size, size), (channels,)),
        )


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def timed(run: Callable[[], Any], device: str) -> float:
    """Seconds of one call."""
    synchronise(device)
    started = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - started


def forward(case: Case, tensors: list[torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return case.run(*tensors)


def both_ways(case: Case, tensors: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Gradients of all tensors for a gradient of ones."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    y = case.run(*leaves)
    return torch.autograd.grad(y, leaves, torch.ones_like(y))


def compare(case: Case, arguments: argparse.Namespace, bandwidth: float | None) -> dict[str, Any]:
    """Median times of both paths, forward and with the backward pass, and how far they are apart."""
    device = arguments.device
    maker = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=maker).to(device) for shape in case.shapes]
    row: dict[str, Any] = {"operation": case.name, "place": case.place}
    apart = []
    for part, run in (("forward", forward), ("both", both_ways)):
        seconds: dict[str, list[float]] = {path: [] for path in PATHS}
        results = {}
        for path in PATHS:  # the first call also warms up
            with ops.use(path):
                made = run(case, tensors)
            results[path] = made if isinstance(made, tuple) else (made,)
        for want, got in zip(results["reference"], results["fast"], strict=True):
            apart.append(float((got - want).abs().max() / want.abs().max()))
        moved = sum(tensor.nbytes for tensor in (*tensors, *results["fast"]))
        del results, made, want, got
        for _ in range(arguments.rounds):
            for path in PATHS:
                with ops.use(path):
                    seconds[path].append(timed(lambda run=run: run(case, tensors), device))
        medians = {path: statistics.median(found) for path, found in seconds.items()}
        row[part] = {**medians, "ratio": medians["reference"] / medians["fast"]}
        if bandwidth is not None and part == "forward":
            row["floor"] = moved / bandwidth
    row["apart"] = max(apart)
    print(case.name, case.place, row["forward"], row["both"], file=sys.stderr, flush=True)
    return row


def copy_bandwidth(device: str) -> float:
    """Bytes a second, read and written, that copying a quarter of a gigabyte reaches: the best of ten."""
    source = torch.empty(1 << 26, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.nbytes / min(timed(lambda: target.copy_(source), device) for _ in range(10))


def report(rows: list[dict[str, Any]], arguments: argparse.Namespace, bandwidth: float | None) -> str:
    """The times as a table."""
    headings = ["operation", "place", "reference", "fast", "ratio", "with backward", "fast", "ratio", "apart"]
    table = []
    for row in rows:
        cells = [row["operation"], row["place"]]
        for part in ("forward", "both"):
            found = row[part]
            cells += [
                f"{found['reference'] * 1e3:.2f}", f"{found['fast'] * 1e3:.2f}", f"{found['ratio']:.1f}x"
            ]  # fmt: skip
        cells.append(f"{row['apart']:.0e}")
        if bandwidth is not None:
            cells += [f"{row['floor'] * 1e3:.3f}", f"{row['forward']['fast'] / row['floor']:.1f}x"]
        table.append(cells)
    how = f"{machine()}; {arguments.threads} threads; {arguments.device}; float32, one image, milliseconds; "
    how += f"medians of {arguments.rounds} interleaved rounds. Apart: largest difference over largest value."
    if bandwidth is not None:
        headings += ["floor", "fast over floor"]
        how += f" Floor: input and output at the {bandwidth / 1e9:.0f} GB/s of a copy."
    return f"# Operations: fast path beside reference path\n\n{how}\n\n{markdown(headings, table)}\n"


def generators(arguments: argparse.Namespace) -> None:
    """Images a second of each full-size generator, random weights, through both paths."""
    import numpy as np

    import reference_models

    rows = []
    for name, preset in GENERATORS:
        if arguments.models and preset not in arguments.models and name not in arguments.models:
            continue
        model = reference_models.build(name, preset=preset).to(arguments.device)
        seeds = np.arange(arguments.batch, dtype=np.int64)
        pictures, seconds = {}, {path: [] for path in PATHS}
        for path in PATHS:
            with ops.use(path):
                pictures[path] = model.sample(seeds).int()
        off = int((pictures["fast"] - pictures["reference"]).abs().max())
        for _ in range(arguments.rounds):
            for path in PATHS:
                with ops.use(path):
                    made = functools.partial(model.sample, seeds)
                    seconds[path].append(timed(made, arguments.device))
        rates = {path: arguments.batch / statistics.median(found) for path, found in seconds.items()}
        rows.append(
            {"model": name, "preset": preset, "levels_apart": off, **rates}
            | {"ratio": rates["fast"] / rates["reference"]}
        )
        print(rows[-1], file=sys.stderr, flush=True)
        del model
    table = [
        [
            row["model"], row["preset"], f"{row['reference']:.3f}", f"{row['fast']:.3f}",
            f"{row['ratio']:.2f}x", str(row["levels_apart"]),
        ]
        for row in rows
    ]  # fmt: skip
    lines = markdown(["model", "preset", "reference", "fast", "ratio", "levels apart"], table)
    how = (
        f"{machine()}; {arguments.threads} threads; {arguments.device}; float32, batches of "
        f"{arguments.batch}, images a second, random weights, from seeds to uint8; medians of "
        f"{arguments.rounds} interleaved rounds."
    )
    save(arguments.output, "generators", f"# Full-size generators\n\n{how}\n\n{lines}\n", rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take medians over")
    parser.add_argument("--threads", type=int, default=1, help="threads each may use")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )
    parser.add_argument("--only", nargs="*", help="operations whose name or place holds one of these")
    parser.add_argument("--generators", action="store_true", help="whole generators instead of operations")
    parser.add_argument("--models", nargs="*", help="with --generators: these models or presets alone")
    parser.add_argument("--batch", type=int, default=1, help="with --generators: images in a batch")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # TF32 would round the convolutions of both paths to 10 bits.
    torch.backends.cudnn.allow_tf32 = False
    if arguments.generators:
        generators(arguments)
        return
    bandwidth = copy_bandwidth("cuda") if arguments.device == "cuda" else None
    wanted = arguments.only or [""]
    rows = [
        compare(case, arguments, bandwidth)
        for case in cases(arguments.device)
        if any(text in f"{case.name} {case.place}" for text in wanted)
    ]
    save(arguments.output, "ops", report(rows, arguments, bandwidth), rows)


if __name__ == "__main__":
    main()
