"""The table as curves: bits per pixel, on a logarithmic axis, against each LPIPS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smalti.recipes.rate_table.table import TITLES, Row
from smalti.tokenizers.errors import ModelError, UsageError

COLORS = {"AVIF": "#c2571a", "WebP": "#2a7f62", "JPEG": "#6b6b6b"}
TICKS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.16, 0.24, 0.32, 0.48, 0.64, 1, 1.5, 2, 3, 4)
OURS = ("#1f4e9c", "#8a2be2", "#00838f")


def draw(rows: Sequence[Row], metrics: Sequence[str], path: Path) -> None:
    """Write the figure as PNG: per LPIPS (or, without one, per metric) a panel; rivals only where they fit on every picture.

    Raises ModelError without matplotlib, UsageError where the file cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        raise ModelError("the figure needs the package matplotlib: pip install 'smalti[report]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    shown = [name for name in metrics if name.startswith("lpips")] or list(metrics)
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if row.fits == row.pictures:
            lines.setdefault(row.codec.partition(",")[0], []).append(row)
    figure, axes = pyplot.subplots(1, len(shown), figsize=(4.2 * len(shown), 3.4), squeeze=False)
    ours = [name for name in lines if name not in COLORS]
    for axis, metric in zip(axes[0], shown, strict=True):
        for name, found in lines.items():
            points = sorted((row.bits_per_pixel, row.scores[metric]) for row in found)
            color = COLORS.get(name) or OURS[ours.index(name) % len(OURS)]
            axis.plot(*zip(*points, strict=True), marker="o", markersize=4, color=color, linewidth=2 if name in ours else 1.2, label=name)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(FixedLocator(TICKS))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set(xlabel="bits per pixel, whole files", ylabel=TITLES.get(metric, metric))
        axis.grid(alpha=0.3, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper center", ncols=len(lines), frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    try:
        figure.savefig(path, dpi=90)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be written ({error}); name a .png file in a folder that exists") from None
    finally:
        pyplot.close(figure)
