"""What makes StyleGAN3 equivariant? Its ablations on small networks, and the trained references beside them.

Karras et al. 2021 (figure 3) begin with StyleGAN2 and end with StyleGAN3; here each row takes one ingredient
away from a small StyleGAN3-T with wide margins, with random weights of several seeds. Equivariance is a
property of the architecture, so random weights show it; training spends some of it.

    python benchmarks/equivariance.py

writes ``benchmarks/results/equivariance.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import evalkit
import reference_models
from common import RESULTS, ROOT, machine, markdown, save
from evalkit.engine.progress import reporter

METRICS = ("eqt_int", "eqt_frac", "eqr")
WIDE: Mapping[str, Any] = {"margin_size": 8}
NOISE = 0.1
NETWORKS = ROOT / "leaderboards" / "references"
TRANSLATIONS = METRICS[:2]  # rotations need more than 8 pixels
TRAINED: Mapping[str, Sequence[str]] = {
    **{f"digits32/{name}-32": METRICS for name in ("stylegan2", "stylegan3-t", "stylegan3-r")},
    **{f"digits/{name}": TRANSLATIONS for name in ("stylegan", "stylegan2", "stylegan3-t", "stylegan3-r")},
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One configuration.

    Attributes:
        title: In the table.
        model: Name in the catalogue.
        preset: Of its sizes.
        changes: Fields of the generator's config that differ.
        noise: Strength of the noise that is added to the features of every layer; 0 is none.
    """

    title: str
    model: str = "stylegan3"
    preset: str = "tiny"
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    noise: float = 0.0


ROWS = (
    Row(title="StyleGAN, its constant moved", model="stylegan"),
    Row(title="StyleGAN2, its constant moved", model="stylegan2"),
    Row(title="StyleGAN3-T", changes=WIDE),
    Row(title="… with noise inputs", changes=WIDE, noise=NOISE),
    Row(title="… without filtered nonlinearities", changes={**WIDE, "lrelu_upsampling": 1}),
    Row(title="… without margins", changes={"margin_size": 0}),
    Row(
        title="… with narrow transition bands",
        changes={**WIDE, "first_stopband": 2.2, "last_stopband_rel": 1.05},
    ),
    Row(title="… with short filters", changes={**WIDE, "filter_size": 2}),
    Row(title="StyleGAN3-R", preset="tiny-r", changes={"margin_size": 4}),
)


def build(row: Row, seed: int) -> Any:  # noqa: ANN401 - models are known by shape
    """The network of a row, with random weights of ``seed``."""
    model = reference_models.build(row.model, preset=row.preset, seed=seed, **row.changes)
    if row.noise:
        add_noise(model, row.noise)
    return model


def add_noise(model: Any, strength: float) -> None:  # noqa: ANN401
    """Gives a StyleGAN3 the stored noise maps that StyleGAN2 has: normal numbers, added to every layer."""
    synthesis = model.generator.synthesis
    rng = torch.Generator().manual_seed(0)
    for name in synthesis.layer_names[:-1]:  # the last one makes the image
        layer = getattr(synthesis, name)
        width, height = layer.plan.out_size
        noise = strength * torch.randn(1, 1, height, width, generator=rng)
        layer.register_forward_hook(lambda module, given, made, noise=noise: made + noise.to(made))
    model.identity += f"|noise={strength}"  # what is on file of the network without noise is not this one's


def measure(
    model: Any,  # noqa: ANN401
    num: int,
    cache: Path,
    metrics: Sequence[str] = METRICS,
) -> dict[str, evalkit.Record]:
    """Records of equivariances by metric."""
    records = evalkit.evaluate(
        model=model, metrics=metrics, num=num, output=None, cache_dir=cache, reporter=reporter()
    )
    return {record.metric: record for record in records}


def main(argv: Sequence[str] | None = None) -> None:
    """Measures all rows and files the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=64, help="images of each network")
    parser.add_argument("--seeds", type=int, default=3, help="random networks of each row")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the table")
    arguments = parser.parse_args(argv)
    random_rows, trained_rows, found = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for row in ROWS:
            runs = [measure(build(row, seed), arguments.num, Path(folder)) for seed in range(arguments.seeds)]
            values = {metric: [run[metric].value for run in runs] for metric in METRICS}
            random_rows.append([row.title, *(_spread(values[metric]) for metric in METRICS)])
            found.append({"row": row.title, **values})
        for name, metrics in TRAINED.items():
            model = reference_models.load_checkpoint(NETWORKS / f"{name}.safetensors")
            run = measure(model, arguments.num, Path(folder), metrics)
            shown = [_shown(run[metric]) if metric in run else "–" for metric in METRICS]
            trained_rows.append([f"`{name}`", *shown])
            intervals = {metric: {"value": r.value, "ci95": r.ci95} for metric, r in run.items()}
            found.append({"row": name, **intervals})
    text = f"""# Equivariance in dB, and what it rests on

## Random weights: mean (smallest to largest) of {arguments.seeds} networks, {arguments.num} images each

{markdown(["network", *METRICS], random_rows)}

Noise inputs are stored normal maps of strength {NOISE}, added to every layer's features, as StyleGAN2 has
them. Without filtered nonlinearities, rectifiers act at the features' own rate (`lrelu_upsampling=1`) instead
of at twice it.

## Trained on handwritten digits, at 32x32 and at 8x8: value and 95 % interval, {arguments.num} images

{markdown(["network", *METRICS], trained_rows)}

{machine()}; `python benchmarks/equivariance.py`.
"""
    save(arguments.output, "equivariance", text, found)


def _spread(values: Sequence[float | None]) -> str:
    known = np.array(values, dtype=np.float64)
    return f"{known.mean():.1f} ({known.min():.1f} to {known.max():.1f})"


def _shown(record: evalkit.Record) -> str:
    assert record.value is not None
    assert record.ci95 is not None
    return f"{record.value:.1f} ({record.ci95[0]:.1f} to {record.ci95[1]:.1f})"


if __name__ == "__main__":
    main()
