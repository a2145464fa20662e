"""A sweep as a picture: a panel a metric, its value with the 95 % interval against psi; precision on recall.

The interval is the record's own: where a bias is known it is centred on the value without it, so the line of
a Fréchet distance may run above its band.
"""

from __future__ import annotations

from pathlib import Path

from evalkit.engine.charts import new_figure, save_png
from evalkit.engine.curves import draw_curve, draw_trade
from evalkit.engine.sweep import Sweep
from evalkit.errors import MetricError

_ACROSS = 3


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
        draw_curve(axes, metric, points, "truncation psi")
    for axes, protocol in zip(panels[len(curves) :], pairs, strict=False):
        title = f"{protocol}: the trade, psi at each point"
        recalls, precisions = curves[f"{protocol}_recall"], curves[f"{protocol}_precision"]
        draw_trade(axes, title, recalls, precisions, "recall", "precision")
    for axes in panels[count:]:
        axes.set_axis_off()
    save_png(figure, path)
