"""Plots of an evaluation as PNG files, without matplotlib's global state or a display."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from components.core.logs import one_line
from components.evaluation.results import ModelResult, Summary

LONG, SHORT, GREY, INK = "#35508f", "#e2793f", "#a9b1bd", "#2b2f36"
SERIES = (LONG, SHORT, "#5b9a8b", "#8c6bb1", "#c9a227", "#7f7f7f")
_DPI = 144
_MAX_LABEL = 60
"""Maximum characters of a label, to leave room for the bars."""


def label(text: str) -> str:
    """Text safe for a plot: on one line and with dollar signs escaped, which matplotlib would parse as a formula."""
    return one_line(text, _MAX_LABEL).replace("$", r"\$")


def write_plots(
    folder: Path,
    results: Sequence[ModelResult],
    summaries: dict[str, Summary],
    slices: dict[str, dict[str, Any]],
    exposure: dict[str, dict[str, Any]],
    popularity: NDArray[np.number],
    long_share: NDArray[np.floating] | None,
    k: int,
) -> list[Path]:
    """Writes all plots into `folder`, creating it if needed, and returns their paths.

    Args:
        results: The first one is highlighted.
        popularity: Training events per item (items,).
        long_share: Share of the long-term interest in each list (targets,); None if the model has none.
        k: Length of the lists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "metrics": metric_bars(summaries, k),
        "slices": slice_bars({name: part for name, part in slices.items() if "category" not in name}, f"ndcg@{k}"),
        "exposure": exposure_bars(exposure),
        "long_tail": long_tail(popularity, results),
    }
    if long_share is not None:
        figures["long_share"] = long_share_histogram(long_share)
    paths = [folder / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        figure.savefig(path, dpi=_DPI, bbox_inches="tight", facecolor="white")
    return paths


def metric_bars(summaries: dict[str, Summary], k: int) -> Figure:
    """One panel per metric with a bar per model and its 95 % interval."""
    metrics = [f"{name}@{k}" for name in ("ndcg", "hr", "mrr", "coverage")]
    figure = Figure(figsize=(10, 1.6 + 0.8 * len(summaries)), layout="constrained")
    panels = figure.subplots(2, 2, sharey=True)
    names = list(summaries)
    for axes, metric in zip(panels.flat, metrics, strict=True):
        values = np.array([summaries[name][metric] for name in names])
        bounds = np.array([summaries[name][f"{metric}_interval"] for name in names])
        colours = [LONG, *[GREY] * (len(names) - 1)]
        axes.barh(names, values, height=0.62, color=colours)
        axes.errorbar(values, names, xerr=_error_bars(values, bounds), fmt="none", ecolor=INK, elinewidth=1, capsize=3)
        for row, (value, high) in enumerate(zip(values, bounds[:, 1], strict=True)):
            text = f"{value:.0f}" if metric.startswith("coverage") else f"{value:.4f}"
            axes.annotate(text, (high, row), (5, 0), textcoords="offset points", va="center", fontsize=9, color=INK)
        axes.set_xlim(0, max(float(bounds[:, 1].max()) * 1.18, 1e-4))
        _style(axes, _title(metric), grid="x")
    panels.flat[0].invert_yaxis()  # shared: the first model on top
    return figure


def slice_bars(slices: dict[str, dict[str, Any]], metric: str) -> Figure:
    """A group of bars per slice with a bar per model and 95 % intervals."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    models = list(next(iter(slices.values()))["models"]) if slices else []
    width = 0.8 / max(len(models), 1)
    positions = np.arange(len(slices))
    for number, model in enumerate(models):
        figures = [content["models"][model] for content in slices.values()]
        values = np.array([figure[metric] for figure in figures])
        bounds = np.array([figure[f"{metric}_interval"] for figure in figures])
        x = positions + (number - (len(models) - 1) / 2) * width
        axes.bar(x, values, width * 0.92, label=model, color=SERIES[number % len(SERIES)])
        axes.errorbar(x, values, _error_bars(values, bounds), fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    axes.set_xticks(positions, [f"{label(name)}\n{content['targets']:,} targets" for name, content in slices.items()])
    axes.set_ylim(bottom=0)
    _style(axes, f"{_title(metric)} by slice", grid="y")
    if models:
        axes.legend(frameon=False, ncols=min(len(models), 5), loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return figure


def exposure_bars(exposure: dict[str, dict[str, Any]]) -> Figure:
    """A group of bars per item group: its share of the training events and of each model's exposure."""
    figure = Figure(figsize=(9, 1.2 + 0.55 * len(exposure)), layout="constrained")
    axes = figure.subplots()
    shares = [{"training events": content["events"], **content["models"]} for content in exposure.values()]
    series = list(shares[0]) if shares else []
    height = 0.8 / max(len(series), 1)
    positions = np.arange(len(exposure))
    for number, name in enumerate(series):
        y = positions + (number - (len(series) - 1) / 2) * height
        colour = GREY if not number else SERIES[(number - 1) % len(SERIES)]
        axes.barh(y, [share[name] for share in shares], height * 0.92, label=name, color=colour)
    axes.set_yticks(positions, list(map(label, exposure)))
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    _style(axes, "Share of the training events, and of the exposure", grid="x")
    if series:
        axes.legend(frameon=False, loc="lower right")
    return figure


def long_share_histogram(long_share: NDArray[np.floating]) -> Figure:
    """Histogram of the share of the long-term interest; lists of users without a history (NaN) are ignored."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, 1, 41)
    counts, _ = np.histogram(long_share, edges)
    centres = (edges[:-1] + edges[1:]) / 2
    axes.bar(centres, counts, width=0.0225, color=[LONG if centre >= 0.5 else SHORT for centre in centres])
    mean = float(np.nanmean(long_share)) if np.isfinite(long_share).any() else 0.0
    axes.axvline(mean, color=INK, linewidth=1, linestyle="--")
    axes.annotate(
        f"mean {mean:.0%}", (mean, 1), (5, -12), xycoords=("data", "axes fraction"), textcoords="offset points"
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, max(counts.max() * 1.15, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of the long-term interest  (left: mostly short-term, right: mostly long-term)")
    axes.set_ylabel("lists")
    _style(axes, "Share of the long-term interest", grid="y")
    return figure


def long_tail(popularity: NDArray[np.number], results: Sequence[ModelResult]) -> Figure:
    """Cumulative share of training events and of recommendations, over items from the most to the least popular."""
    order = np.argsort(-popularity, kind="stable")
    share = np.arange(1, len(order) + 1) / len(order)
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(share, _cumulative(popularity[order]), color=INK, linestyle="--", linewidth=1.4, label="training events")
    for number, result in enumerate(results):
        shown = np.bincount(result.lists[result.lists >= 0], minlength=len(order))[order]
        axes.plot(share, _cumulative(shown), color=SERIES[number % len(SERIES)], linewidth=2, label=result.name)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("items, the most popular first")
    axes.set_ylabel("share of all")
    _style(axes, "Popularity of the recommended items", grid="both")
    axes.legend(frameon=False, loc="lower right")
    return figure


def _cumulative(counts: NDArray[np.number]) -> NDArray[np.float64]:
    return np.cumsum(counts) / max(counts.sum(), 1)


def _error_bars(values: NDArray[np.float64], bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(bounds.T - values)


def _title(metric: str) -> str:
    name, k = metric.split("@")
    return f"{'Coverage (items)' if name == 'coverage' else name.upper()} at {k}"


def _style(axes: Axes, title: str, grid: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color="#e6e8ec", linewidth=0.8)  # type: ignore[arg-type]
    axes.tick_params(colors=INK, length=0)
