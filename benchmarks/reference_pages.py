"""The page that stands beside reference networks: what lies there, and what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import markdown
from evalkit.adapters.baselines import BASELINES
from evalkit.records.schema import Record
from evalkit.records.store import read_records
from reference_networks import (
    BOUND,
    EQUIVARIANCE,
    LARGE,
    NUM,
    NUM_MOVED,
    NUM_RESTORED,
    REFERENCES,
    RESTORED,
    SCALE,
    TEST,
    TRAIN,
    Reference,
    named,
)

Found = Mapping[tuple[str, str], Record]
Columns = Sequence[tuple[str, str, int]]  # metric, heading, decimals

# What is asked of restorations: to be like the original, like it to the eye, faithful to what was given, of
# many kinds, and likely.
RESTORING: Columns = (
    ("psnr_rgb", "psnr_rgb, dB", 2), ("lpips_mini", "lpips_mini", 4), ("lr_psnr", "lr_psnr, dB", 2),
    ("sr_diversity_mini", "sr_diversity_mini, %", 1), ("sr_pixel_std", "sr_pixel_std", 3),
    ("sr_bpd", "sr_bpd, bits/dim", 3),
)  # fmt: skip


def interval(record: Record) -> tuple[float, float]:
    """The 95 % interval, or the value alone as one."""
    assert record.value is not None
    return record.ci95 or (record.value, record.value)


def table(folder: Path) -> str:
    """What lies in ``folder``, a row a network; those that restore in a table of their own, after it."""
    found = _found(folder)
    there = networks_in(folder)
    drawing = [each for each in there if not each.restores]
    restoring = [each for each in there if each.restores]
    parts = []
    if drawing:
        parts.append(_table(folder, found, drawing, _drawn_columns(drawing[-1])))
    if restoring:
        measured = {name for name, _ in found}
        baselines = [
            [name, "", f"no network: {words}", "", "", *_cells(found, name, RESTORING), ""]
            for name, words in BASELINES.items()
            if name in measured
        ]
        parts += _restored(found, restoring)
        parts.append(_table(folder, found, restoring, RESTORING, baselines))
    return "\n\n".join(parts)


def networks_in(folder: Path) -> list[Reference]:
    """The references whose networks lie in ``folder``."""
    return [each for each in REFERENCES.values() if (folder / f"{each.name}.safetensors").exists()]


def readme(folder: Path) -> str:
    """The page that stands beside the networks."""
    there = networks_in(folder)
    first, large = there[0], there[0].is_large
    size = (
        "at 32x32, where a digit's pixels are squares of 4x4"
        if large
        else "at its own 8x8 with seed 0; a pixel becomes a square of 4x4 in samples"
    )
    title = "Reference networks on handwritten digits" + (" at 32x32" if large else "")
    purpose = f"\n\n{LARGE}" if large else ""
    moved = (
        f"; equivariance with {NUM_MOVED}" if large else "; likelihoods are of all those images, as 8x8 grey"
    )
    shown = "leaderboards/references/" + ("digits32" if large else "digits")
    commands = [f"evalkit run --model {shown}/{first.name}.safetensors --data {TEST} --metrics mini"]
    commands += [
        f"evalkit run --sr-model {shown}/{each.name}.safetensors --hr {TEST} --scale {SCALE} "
        f"--samples {NUM_RESTORED} --metrics {RESTORED}"
        for each in there
        if each.restores
    ]
    example = "\n".join(f"    {command}" for command in commands)
    return f"""# {title}

Trained on `{TRAIN}` {size}. Measured with
{NUM} samples against `{TEST}`, which training never saw{moved}. Seconds of training are of one thread, while
others had their share of the machine. Written by `benchmarks/references.py`.{purpose}

{table(folder)}

`NAME.safetensors` and `NAME.json` are the network to sample from, `NAME.run.json` the settings of its
training, `NAME.curves.png` and `NAME.samples.png` what it looked like, `records/` what was measured.

{example}
    make references                                    # trains all of them again
    python benchmarks/references.py --check --measure  # measures these files again, and compares
"""


def _found(folder: Path) -> Found:
    if not (folder / "records").is_dir():
        return {}
    return {(record.samples.name, record.metric): record for record in read_records(folder / "records")}


def _drawn_columns(reference: Reference) -> Columns:
    first = [("fd_mini", "fd_mini (95 % interval)", 4)]
    if reference.is_large:
        return [*first, *((name, f"{name}, dB", 1) for name in EQUIVARIANCE)]
    return [*first, (BOUND, f"{BOUND}, bits/dim", 3)]


def _table(
    folder: Path,
    found: Found,
    references: Sequence[Reference],
    columns: Columns,
    beside: Sequence[Sequence[str]] = (),
) -> str:
    rows = []
    for reference in references:
        network = folder / f"{reference.name}.safetensors"
        about = json.loads((folder / f"{reference.name}.run.json").read_text())
        trained = json.loads(network.with_suffix(".json").read_text())
        preset = ", ".join(f"`{word}`" for word in (reference.preset, *reference.settings))
        rows.append(
            [
                f"[{reference.title}]({reference.name}.samples.png)", f"`{reference.model}`",
                preset, f"{trained['kimg']:g}", f"{about['seconds']:,.0f}",
                *_cells(found, named(reference.title), columns), f"{network.stat().st_size:,}",
            ]
        )  # fmt: skip
        for title, given in reference.also.items():
            words = ", ".join(f"`--sampling {name}={value}`" for name, value in given.items())
            again = _cells(found, named(title), columns)
            rows.append([title, f"`{reference.model}`", f"the same network, {words}", "", "", *again, ""])
    headings = [
        "network", "model", "preset", "kimg", "seconds of training",
        *(heading for _, heading, _ in columns), "bytes",
    ]  # fmt: skip
    return markdown(headings, [*rows, *beside])


def _restored(found: Found, references: Sequence[Reference]) -> list[str]:
    # How the restorations came about, as their records tell it.
    said = []
    for reference in references:
        record = found.get((named(reference.title), RESTORING[0][0]))
        if record is None or record.data is None:
            continue
        how, heat = record.extractor, record.extractor.get("temperature")
        warmth = "" if heat is None else f" at temperature {heat:g}"
        said.append(
            f"{reference.title}: {how['samples_per_image']} restorations{warmth} of each of the "
            f"{record.data.num:,} images of `{TEST}`,\nwhich MATLAB's bicubic `imresize` shrank to "
            f"1/{how['scale']}. Numbers are means over images, with 95 % intervals."
        )
    return said


def _cells(found: Found, name: str, columns: Columns) -> list[str]:
    return [_shown(found.get((name, metric)), decimals) for metric, _, decimals in columns]


def _shown(record: Record | None, decimals: int) -> str:
    if record is None or record.value is None:
        return "–"
    low, high = interval(record)
    if low == high:  # no two images differ
        return f"{record.value:.{decimals}f}"
    return f"{record.value:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"
