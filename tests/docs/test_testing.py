"""docs/testing.md lists the tests marked `long`."""

import re
from pathlib import Path

from tests.count import of_working_tree

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_exactly_the_long_tests_are_listed() -> None:
    part = PAGE.read_text(encoding="utf-8").split("## Long tests")[1].split("\n## ")[0]
    assert set(re.findall(r"`(test_\w+)`", part)) == of_working_tree().long
