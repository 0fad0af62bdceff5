"""The report of a validation: index.html, readable without a network, and result.json."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from components.validation.remedy import RESULT
from components.validation.results import SuiteResult, ValidationError


def write_report(results: Sequence[SuiteResult], folder: Path, cut: datetime, command: str) -> Path:
    """Writes both files into `folder`, which is made when it is missing; returns the path of index.html. command: the
    remedy, "" where there is none.

    Raises ValidationError when they cannot be written.
    """
    counts = {
        "critical": sum(len(result.failures(critical=True)) for result in results),
        "warnings": sum(len(result.failures(critical=False)) for result in results),
    }
    document = {
        "success": counts["critical"] == 0,
        "cut": cut.isoformat(),
        **counts,
        "suites": {
            result.suite: {**result.statistics(), "checks": list(map(asdict, result.checks))} for result in results
        },
    }
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    page = environment.get_template("report.html.jinja").render(results=results, cut=cut, command=command, **counts)
    docs = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        docs.write_text(page, encoding="utf-8")
        (folder / RESULT).write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise ValidationError(
            f"the report cannot be written to {folder} ({error}): free or choose the folder"
        ) from error
    return docs
