"""A sweep as a picture: a panel a metric, its value with the 95 % interval against psi; precision on recall.

The interval is the record's own: where a bias is known it is centred on the value without it, so the line of
a Fréchet distance may run above its band.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.engine.charts import BLUE, RED, dress, new_figure, save_png
from evalkit.engine.sweep import Sweep
from evalkit.errors import MetricError
from evalkit.records.schema import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACROSS = 3
Points = Sequence[tuple[float, Record]]


def plot_sweep(result: Sweep, path: Path) -> None:
    """Draws a sweep into a PNG.

    Raises:
        MetricError: No metric has a value.
        StoreError: The place cannot be written.
    """
    curves = result.curves()
    if not curves:
        reasons = dict.fromkeys(r.reason for records in result.records for r in records if r.reason)
        raise MetricError(f"the sweep has no value to draw: {'; '.join(reasons) or 'nothing was measured'}")
    stems = [metric.removesuffix("_precision") for metric in curves if metric.endswith("_precision")]
    pairs = [stem for stem in stems if f"{stem}_recall" in curves]
    count = len(curves) + len(pairs)
    across = min(count, _ACROSS)
    down = -(-count // across)
    figure = new_figure(4.0 * across, 3.0 * down + 0.4)
    against = f" against {result.data}" if result.data else ""
    figure.suptitle(f"{result.model}{against}".replace("$", r"\$"), fontsize=11)
    panels = figure.subplots(down, across, squeeze=False).flatten()
    for axes, (metric, points) in zip(panels, curves.items(), strict=False):
        _curve(axes, metric, points)
    for axes, protocol in zip(panels[len(curves) :], pairs, strict=False):
        _trade(axes, protocol, curves[f"{protocol}_precision"], curves[f"{protocol}_recall"])
    for axes in panels[count:]:
        axes.set_axis_off()
    save_png(figure, path)


def _curve(axes: Axes, metric: str, points: Points) -> None:
    axes.plot([psi for psi, _ in points], _values(points), ".-", color=BLUE, linewidth=1.2)
    bands = [(psi, record.ci95) for psi, record in points if record.ci95 is not None]
    axes.fill_between(
        [psi for psi, _ in bands], [band[0] for _, band in bands], [band[1] for _, band in bands],
        color=BLUE, alpha=0.25, linewidth=0,
    )  # fmt: skip
    better = "higher" if points[0][1].higher_is_better else "lower"
    dress(axes, f"{metric} ({better} is better)", "truncation psi")


def _trade(axes: Axes, protocol: str, precisions: Points, recalls: Points) -> None:
    # One protocol gives both numbers or neither, so the points are those of the same psi.
    across, up = _values(recalls), _values(precisions)
    axes.plot(across, up, ".-", color=RED, linewidth=1.2)
    for (psi, _), recall, precision in zip(precisions, across, up, strict=True):
        axes.annotate(f"{psi:g}", (recall, precision), textcoords="offset points", xytext=(4, 4), fontsize=7)
    dress(axes, f"{protocol}: the trade, psi at each point", "recall", "precision")


def _values(points: Points) -> list[float]:
    return [record.value for _, record in points if record.value is not None]
