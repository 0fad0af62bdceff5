"""The measurements as tables of text: for the terminal and as Markdown."""

from collections.abc import Sequence
from typing import NamedTuple

from components.core import markdown
from components.monitoring.drift import Drift
from components.monitoring.online import CHAMPION, Figure, Online

DASH = "-"


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
        cells.append(counts + [shown(variant.figures[metric]) for metric in metrics])
        if differences := variant.against_champion:
            columns.append(f"{variant.name} - {CHAMPION}")
            cells.append([DASH] * len(counts) + [shown(differences.get(metric, Figure())) for metric in metrics])
    return Table(columns, [list(row) for row in zip(*cells, strict=True)])


def drift_table(drifts: Sequence[Drift]) -> Table:
    """A row a feature."""
    rows = [[one.feature, DASH if one.value is None else f"{one.value:.3f}", one.note] for one in drifts]
    return Table(["feature", "drift", "reading"], rows)


def shown(figure: Figure) -> str:
    """A figure with its bounds; a dash where it cannot be measured."""
    if figure.mean is None:
        return DASH
    bounds = "" if figure.low is None or figure.high is None else f" [{figure.low:.4g}, {figure.high:.4g}]"
    return f"{figure.mean:.4g}{bounds}"
