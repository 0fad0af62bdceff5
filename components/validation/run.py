"""Validates frames with the suites of `expectations/`."""

import json
import logging
import math
import os
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from components.core.columns import EVENTS, MAX_CATEGORIES, MAX_ID, MAX_VALUE, Columns
from components.settings import ValidationSettings
from components.validation.checks import MAX_NAMED_ROWS, read_checks
from components.validation.frames import FEEDBACK, ValidationContext, prepare
from components.validation.results import SuiteResult, ValidationError, ValidationReport, remedy, write_report

if TYPE_CHECKING:
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.datasource.fluent.interfaces import Batch

SUITES = Path(__file__).parents[2] / "expectations"
logger = logging.getLogger(__name__)


def suite_file(folder: Path, name: str) -> Path:
    """The file of a suite. Raises ValidationError, listing the suites, when it does not exist."""
    file = folder / f"{name}.json"
    if not file.is_file():
        available = ", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "none"
        raise ValidationError(
            f"no suite for {name!r} in {folder} (there: {available}): add {file.name} or rename the frame"
        )
    return file


def load_suite(file: Path) -> "ExpectationSuite":
    """Reads a suite. Raises ValidationError with the file and the error.

    Every expectation is built separately first, because ExpectationSuite only logs invalid ones and skips them.
    """
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        for number, expectation in enumerate(document["expectations"], start=1):
            try:
                ExpectationConfiguration(**expectation).to_domain_obj()
            except (GreatExpectationsError, TypeError, ValueError) as error:
                raise ValidationError(
                    f"{file}: expectation {number} is invalid ({' '.join(str(error).split())}): correct it"
                ) from error
        return ExpectationSuite(**document)
    except json.JSONDecodeError as error:
        raise ValidationError(f"{file} is not valid JSON ({error}): correct it") from error
    except (GreatExpectationsError, KeyError, TypeError, ValueError) as error:
        raise ValidationError(
            f"{file} is not a suite ({error!r}): it needs a name and a list of expectations"
        ) from error


def validate(
    frames: Mapping[str, pd.DataFrame],
    folder: Path,
    *,
    cut: datetime,
    settings: ValidationSettings,
    previous_rows: Mapping[str, int] | None = None,
    references: Mapping[str, Collection[str]] | None = None,
    suites: Path = SUITES,
) -> ValidationReport:
    """Runs the suite of each frame and writes index.html and result.json into `folder`.

    Args:
        frames: By the name of their suite (events, items, interests, embeddings). The suite `feedback` runs on the
            explicit feedback among the events.
        cut: Timezone-aware, exclusive.
        previous_rows: Rows of the previous snapshot by frame.
        references: Known ids by column (`item_id`, `user_id`), besides those of `frames`.

    Raises:
        ValidationError: A suite is missing or broken, a reference is missing, or `folder` cannot be written.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    known_ids = {**_own_references(frames), **(references or {})}
    prepared = prepare(frames, ValidationContext(cut, known_ids))
    loaded = {name: load_suite(suite_file(suites, name)) for name in prepared}
    results = []
    for name, frame in prepared.items():
        parameters = _parameters(settings, (previous_rows or {}).get(name))
        results.append(_run_suite(frame, loaded[name], suite_file(suites, name), parameters))
    critical = [failure for result in results for failure in result.failures(critical=True)]
    warnings = [failure for result in results for failure in result.failures(critical=False)]
    for failure in critical + warnings:
        logger.warning("%s: %s", failure.suite, failure.message)
    command = remedy(results, folder)
    return ValidationReport(
        success=not critical,
        critical_failures=critical,
        warnings=warnings,
        docs=write_report(results, folder, cut, command),
        remedy=command,
        statistics={result.suite: result.statistics() for result in results},
    )


def _own_references(frames: Mapping[str, pd.DataFrame]) -> dict[str, Collection[str]]:
    sources = {Columns.ITEM: "items", Columns.USER: "events"}
    return {
        column: frames[name][column].dropna().unique()
        for column, name in sources.items()
        if name in frames and column in frames[name]
    }


def _parameters(settings: ValidationSettings, previous_rows: int | None) -> dict[str, Any]:
    """The values that suites can refer to as `{"$PARAMETER": ...}`."""
    return {
        "events": list(EVENTS),
        "feedback": list(FEEDBACK),
        "freshness_days": settings.freshness_days,
        "text_share": settings.text_share,
        "longest_id": MAX_ID,
        "least_value": -MAX_VALUE,
        "largest_value": MAX_VALUE,
        "most_categories": MAX_CATEGORIES,
        "minimum_rows": max(1, math.ceil(settings.volume_ratio * (previous_rows or 0))),
    }


def _run_suite(frame: pd.DataFrame, suite: "ExpectationSuite", file: Path, parameters: dict[str, Any]) -> SuiteResult:
    from great_expectations.exceptions import SuiteParameterError

    start = time.perf_counter()
    try:
        outcomes = _batch(file.stem, frame).validate(
            suite,
            expectation_parameters=parameters,
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": MAX_NAMED_ROWS},
        )
    except SuiteParameterError as error:
        raise ValidationError(f"{file}: {error}; the parameters are {', '.join(parameters)}") from error
    return SuiteResult(file.stem, len(frame), time.perf_counter() - start, read_checks(outcomes, frame))


def _batch(name: str, frame: pd.DataFrame) -> "Batch":
    """Wraps a frame for Great Expectations in an in-memory context, which writes no files."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset(name)
    return asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
