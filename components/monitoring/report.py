"""Renders measurements as tables (terminal, Markdown) and plots (PNG)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from components.core import markdown
from components.core.files import atomic_write
from components.evaluation.plots import GREY, INK, LONG, SHORT
from components.monitoring.drift import PSI_MODERATE, PSI_SIGNIFICANT, TEXTS, Drift
from components.monitoring.online import CHAMPION, Estimate, VariantComparison

DASH = "-"
_DPI = 144


class Table(NamedTuple):
    columns: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        return markdown.table(self.columns, self.rows)


def online_table(online: VariantComparison) -> Table:
    """A table with a row per metric and a column per variant, each followed by its difference to the champion."""
    metrics = list(online.variants[0].figures) if online.variants else []
    columns, cells = ["metric"], [["version", "impressions", "users", *metrics]]
    for variant in online.variants:
        columns.append(variant.name)
        counts = [variant.model_version, str(variant.impressions), str(variant.users)]
        cells.append(counts + [format_estimate(variant.figures[metric]) for metric in metrics])
        if differences := variant.against_champion:
            columns.append(f"{variant.name} - {CHAMPION}")
            cells.append(
                [DASH] * len(counts) + [format_estimate(differences.get(metric, Estimate())) for metric in metrics]
            )
    return Table(columns, [list(row) for row in zip(*cells, strict=True)])


def drift_table(drifts: Sequence[Drift]) -> Table:
    """A table with a row per feature."""
    rows = [[drift.feature, DASH if drift.value is None else f"{drift.value:.3f}", drift.note] for drift in drifts]
    return Table(["feature", "drift", "reading"], rows)


def format_estimate(estimate: Estimate) -> str:
    """Formats an estimate with its bounds; a dash where it cannot be measured."""
    if estimate.mean is None:
        return DASH
    bounds = "" if estimate.low is None or estimate.high is None else f" [{estimate.low:.4g}, {estimate.high:.4g}]"
    return f"{estimate.mean:.4g}{bounds}"


def plot_drift(file: Path, drifts: Sequence[Drift]) -> Path:
    """Plots each measured PSI as a bar, with both thresholds."""
    measured = {drift.feature: drift.value for drift in drifts if drift.value is not None and drift.feature != TEXTS}
    canvas = Canvas(figsize=(7, 1.4 + 0.45 * len(measured)), layout="constrained")
    axes = canvas.subplots()
    colours = [
        SHORT if value > PSI_SIGNIFICANT else LONG if value >= PSI_MODERATE else GREY for value in measured.values()
    ]
    axes.barh(list(measured), list(measured.values()), height=0.6, color=colours)
    for row, value in enumerate(measured.values()):
        axes.annotate(f"{value:.3f}", (value, row), (5, 0), textcoords="offset points", va="center", fontsize=9)
    for limit, name in ((PSI_MODERATE, "some"), (PSI_SIGNIFICANT, "much")):
        axes.axvline(limit, color=INK, linewidth=1, linestyle="--")
        axes.annotate(
            name, (limit, 1), (4, -2), xycoords=("data", "axes fraction"), textcoords="offset points", va="top"
        )
    axes.set_xlim(0, max(1.2 * PSI_SIGNIFICANT, 1.15 * max(measured.values(), default=0.0)))
    axes.set_ylim(max(len(measured), 1) - 0.5, -0.9)  # the first feature on top, below the labels of the thresholds
    _style(axes, "Drift (population stability index)" if measured else "Drift: too little to measure")
    return _save(canvas, file)


def plot_variants(file: Path, online: VariantComparison) -> Path:
    """Plots a panel per metric with bounds, showing every variant with its 95 % interval."""
    panels: dict[str, dict[str, Estimate]] = {}
    for variant in online.variants:
        for metric, estimate in variant.figures.items():
            if estimate.low is not None:
                panels.setdefault(metric, {})[variant.name] = estimate
    rows = max(1, -(-len(panels) // 2))
    canvas = Canvas(figsize=(10, rows * (1.2 + 0.4 * len(online.variants))), layout="constrained")
    grid = canvas.subplots(rows, 2, squeeze=False)
    for axes, (metric, estimates) in zip(grid.flat, panels.items(), strict=False):
        for name, (mean, low, high) in estimates.items():
            assert mean is not None and low is not None and high is not None
            colour = LONG if name == CHAMPION else SHORT
            axes.errorbar([mean], [name], xerr=[[mean - low], [high - mean]], fmt="o", color=colour, capsize=4)
        axes.margins(x=0.2, y=0.5)
        axes.invert_yaxis()
        _style(axes, metric)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    return _save(canvas, file)


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#e6e8ec", linewidth=0.8)
    axes.tick_params(colors=INK, length=0)


def _save(canvas: Canvas, file: Path) -> Path:
    """Saves the plot atomically."""
    with atomic_write(file) as part:
        canvas.savefig(part, format="png", dpi=_DPI, facecolor="white")
    return file
