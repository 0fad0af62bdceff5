"""The measurements as tables of text and as plots, for the terminal, as Markdown and as PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from components.core import markdown
from components.core.files import replacing
from components.evaluation.plots import GREY, INK, LONG, SHORT
from components.monitoring.drift import PSI_MODERATE, PSI_SIGNIFICANT, TEXTS, Drift
from components.monitoring.online import CHAMPION, Estimate, Online

DASH = "-"
_DPI = 144


class Table(NamedTuple):
    columns: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        return markdown.table(self.columns, self.rows)


def online_table(online: Online) -> Table:
    """A row a metric, a column a variant, and beside each but the champion the difference to it."""
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
    """A row a feature."""
    rows = [[one.feature, DASH if one.value is None else f"{one.value:.3f}", one.note] for one in drifts]
    return Table(["feature", "drift", "reading"], rows)


def format_estimate(figure: Estimate) -> str:
    """A figure with its bounds; a dash where it cannot be measured."""
    if figure.mean is None:
        return DASH
    bounds = "" if figure.low is None or figure.high is None else f" [{figure.low:.4g}, {figure.high:.4g}]"
    return f"{figure.mean:.4g}{bounds}"


def plot_drift(file: Path, drifts: Sequence[Drift]) -> Path:
    """A bar of each measured PSI, with the two limits of its usual reading."""
    measured = {one.feature: one.value for one in drifts if one.value is not None and one.feature != TEXTS}
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
    axes.set_ylim(max(len(measured), 1) - 0.5, -0.9)  # the first on top, above it the limits
    _style(axes, "Drift (population stability index)" if measured else "Drift: too little to measure")
    return _save(canvas, file)


def plot_variants(file: Path, online: Online) -> Path:
    """A panel for each metric that has bounds, in it every variant with its 95 % interval."""
    panels: dict[str, dict[str, Estimate]] = {}
    for variant in online.variants:
        for metric, figure in variant.figures.items():
            if figure.low is not None:
                panels.setdefault(metric, {})[variant.name] = figure
    rows = max(1, -(-len(panels) // 2))
    canvas = Canvas(figsize=(10, rows * (1.2 + 0.4 * len(online.variants))), layout="constrained")
    places = canvas.subplots(rows, 2, squeeze=False)
    for axes, (metric, figures) in zip(places.flat, panels.items(), strict=False):
        for name, (mean, low, high) in figures.items():
            assert mean is not None and low is not None and high is not None
            colour = LONG if name == CHAMPION else SHORT
            axes.errorbar([mean], [name], xerr=[[mean - low], [high - mean]], fmt="o", color=colour, capsize=4)
        axes.margins(x=0.2, y=0.5)
        axes.invert_yaxis()
        _style(axes, metric)
    for axes in places.flat[len(panels) :]:
        axes.set_axis_off()
    return _save(canvas, file)


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#e6e8ec", linewidth=0.8)
    axes.tick_params(colors=INK, length=0)


def _save(canvas: Canvas, file: Path) -> Path:
    """The file appears whole or not at all."""
    with replacing(file) as part:
        canvas.savefig(part, format="png", dpi=_DPI, facecolor="white")
    return file
