"""The page on testing names the tests that are long."""

import re
from pathlib import Path

from tests.count import of_working_tree

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_every_long_test_is_named_and_no_other() -> None:
    part = PAGE.read_text(encoding="utf-8").split("## Long tests")[1].split("\n## ")[0]
    assert set(re.findall(r"`(test_\w+)`", part)) == of_working_tree().long
