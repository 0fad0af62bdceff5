"""Counts test functions and assertions: `python -m tests.count REVISION` compares a revision with the working tree.

An assertion is an `assert`, a `pytest.raises`, an `expect` of the browser, an `eventually`, or a call of a function
whose name begins with `assert_`, as those of numpy and pandas do.
"""

import argparse
import ast
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
CALLS = ("raises", "warns", "expect", "eventually")


@dataclass
class Count:
    tests: Counter[str] = field(default_factory=Counter)
    """Assertions by the name of the test function."""
    functions: int = 0
    long: set[str] = field(default_factory=set)
    """The tests that `make test-long` runs."""
    assertions: int = 0
    """Of all files, helpers included."""

    def add(self, source: str, *, is_test_file: bool) -> None:
        tree = ast.parse(source)
        self.assertions += count_assertions(tree)
        if not is_test_file:
            return
        whole = any(isinstance(node, ast.Assign) and is_long(node.value) for node in tree.body)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                self.tests[node.name] += count_assertions(node)
                self.functions += 1
                if whole or any(map(is_long, node.decorator_list)):
                    self.long.add(node.name)


def count_assertions(tree: ast.AST) -> int:
    found = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            found += not is_assertion(node.test)
        found += is_assertion(node)
    return found


def is_assertion(node: ast.AST) -> bool:
    """Whether it is a call that asserts."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in CALLS or name.startswith("assert_")


def is_long(node: ast.AST) -> bool:
    """Whether it names the marker `long`."""
    return any(
        isinstance(part, ast.Attribute) and part.attr == "long" and isinstance(part.value, ast.Attribute)
        for part in ast.walk(node)
    )


def of_revision(revision: str) -> Count:
    count = Count()
    for path in git("ls-tree", "-r", "--name-only", revision, "tests").split():
        if path.endswith(".py") and path != "tests/count.py":
            count.add(git("show", f"{revision}:{path}"), is_test_file=Path(path).name.startswith("test_"))
    return count


def of_working_tree() -> Count:
    count = Count()
    for path in (ROOT / "tests").rglob("*.py"):
        if path != Path(__file__):
            count.add(path.read_text(encoding="utf-8"), is_test_file=path.name.startswith("test_"))
    return count


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="what to compare with, such as HEAD~1")
    before, now = of_revision(parser.parse_args().revision), of_working_tree()
    rows = {
        "test functions": (before.functions, now.functions),
        "of them long": (len(before.long), len(now.long)),
        "assertions in tests": (before.tests.total(), now.tests.total()),
        "assertions with helpers": (before.assertions, now.assertions),
    }
    print(f"{'':24}{'before':>8}{'now':>8}")
    for name, (was, is_now) in rows.items():
        print(f"{name:24}{was:8}{is_now:8}")
    for name, number in sorted(before.tests.items()):
        if now.tests[name] < number:
            print(f"{name}: {number} assertions before, {now.tests[name]} now")


if __name__ == "__main__":
    main()
