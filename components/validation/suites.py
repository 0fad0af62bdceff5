"""The suites: JSON files in the format of Great Expectations, one a frame, named as the frame.

Run-time values are written `{"$PARAMETER": "NAME"}`. To add an expectation, add it to the file.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from components.validation.results import ValidationError

if TYPE_CHECKING:
    from great_expectations.core.expectation_suite import ExpectationSuite

SUITES = Path(__file__).parents[2] / "expectations"


def suite_file(folder: Path, name: str) -> Path:
    """The file of a suite. Raises ValidationError naming the known ones when there is no such suite."""
    file = folder / f"{name}.json"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "none"
        raise ValidationError(
            f"no suite for {name!r} in {folder} (there: {known}): add {file.name} or rename the frame"
        )
    return file


def load_suite(file: Path) -> "ExpectationSuite":
    """Reads a suite. Raises ValidationError naming the file and what is wrong in it.

    Every expectation is built on its own first, because ExpectationSuite only logs one that it cannot build and goes on
    without it.
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
                    f"{file}: expectation {number} is no valid one ({' '.join(str(error).split())}): correct it"
                ) from error
        return ExpectationSuite(**document)
    except json.JSONDecodeError as error:
        raise ValidationError(f"{file} is no JSON ({error}): correct it there") from error
    except (GreatExpectationsError, KeyError, TypeError, ValueError) as error:
        raise ValidationError(f"{file} is no suite ({error!r}): it needs a name and a list of expectations") from error
