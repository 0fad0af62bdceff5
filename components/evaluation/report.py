"""The evaluation report in Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.core.markdown import escaped, table
from components.evaluation.gate import Verdict
from components.evaluation.results import Summary

_PLOTS = {
    "metrics": "Metrics with 95 % intervals",
    "slices": "Slices",
    "exposure": "Exposure of item groups",
    "long_tail": "Popularity of the recommended items",
    "long_share": "Share of the long-term interest",
}


def report(
    title: str,
    facts: Mapping[str, object],
    summaries: dict[str, Summary],
    slices: dict[str, dict[str, Any]],
    exposure: dict[str, dict[str, Any]],
    exposure_by_users: dict[str, dict[str, dict[str, float]]],
    verdict: Verdict | None,
    plots: Sequence[Path],
    k: int,
) -> str:
    """Renders the report: gate, models, slices, exposure overall and by user slice, facts, and plots.

    Args:
        facts: What was evaluated, by name (dataset, snapshot, cut, targets, …).
        verdict: None leaves out the gate.
        plots: From `write_plots`; linked by file name, so the report belongs in their folder.
        k: Length of the lists.
    """
    sections = [f"# {escaped(title)}"]
    if verdict:
        sections.append(_gate(verdict))
    sections += [
        _models(summaries, k),
        _slices(slices, k),
        _exposure(exposure),
        _exposure_by_users(exposure_by_users),
        "## What was evaluated\n\n" + table(["", ""], [[name, str(value)] for name, value in facts.items()]),
        *(f"## {_PLOTS[plot.stem]}\n\n![{_PLOTS[plot.stem]}]({plot.name})" for plot in plots),
    ]
    return "\n\n".join(sections) + "\n"


def _gate(verdict: Verdict) -> str:
    rows = [[clause.name, "passed" if clause.passed else "failed", clause.detail] for clause in verdict.clauses]
    word = "passed" if verdict.passed else "failed"
    return f"## Gate: {word}\n\n" + table(["clause", "", "figures"], rows)


def _models(summaries: dict[str, Summary], k: int) -> str:
    header = ["model", f"NDCG@{k}", f"HR@{k}", f"MRR@{k}", f"coverage@{k}", f"novelty@{k}", f"diversity@{k}"]
    rows = [
        [
            name,
            *(_bounded(summary, f"{metric}@{k}", 4) for metric in ("ndcg", "hr", "mrr")),
            _bounded(summary, f"coverage@{k}", 0),
            _bounded(summary, f"novelty@{k}", 2),
            _bounded(summary, f"diversity@{k}", 3),
        ]
        for name, summary in summaries.items()
    ]
    note = "Means over the targets; in brackets the 95 % interval by bootstrap over users."
    return f"## Models\n\n{note}\n\n" + table(header, rows)


def _slices(slices: dict[str, dict[str, Any]], k: int) -> str:
    rows = [
        [name, f"{content['targets']:,}", model, _bounded(summary, f"ndcg@{k}", 4), _bounded(summary, f"hr@{k}", 4)]
        for name, content in slices.items()
        for model, summary in content["models"].items()
    ]
    if not rows:
        return "## Slices\n\nNo target falls into a slice."
    return "## Slices\n\n" + table(["slice", "targets", "model", f"NDCG@{k}", f"HR@{k}"], rows)


def _exposure(exposure: dict[str, dict[str, Any]]) -> str:
    models = list(next(iter(exposure.values()))["models"]) if exposure else []
    rows = [
        [name, *(f"{share:.1%}" for share in (content["items"], content["events"], *content["models"].values()))]
        for name, content in exposure.items()
    ]
    note = "Shares of the items, of the training events, and of each model's exposure, 1 / log2(rank + 1) per position."
    return f"## Exposure\n\n{note}\n\n" + table(["items", "of all items", "of the events", *models], rows)


def _exposure_by_users(exposure: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = [
        [name, group, *(f"{share:.1%}" for share in models.values())]
        for name, groups in exposure.items()
        for group, models in groups.items()
    ]
    models = list(next(iter(next(iter(exposure.values())).values()))) if exposure else []
    note = "Shares of the exposure within each slice of users, weighted as above."
    return f"## Exposure by user\n\n{note}\n\n" + table(["users", "items", *models], rows)


def _bounded(summary: Summary, metric: str, digits: int) -> str:
    if summary[metric] is None:
        return "not measured"
    low, high = summary[f"{metric}_interval"]
    return f"{summary[metric]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
