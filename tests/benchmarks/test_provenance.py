"""A table names the commit that its figures were measured at."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import provenance


def git(*arguments: str, at: Path) -> str:
    author = ("-c", "user.name=me", "-c", "user.email=me@example.com")
    return subprocess.run(
        ["git", *author, *arguments], cwd=at, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "code.py").write_text("fast = True\n")
    (tmp_path / "docs" / "performance.md").write_text("a table\n")
    git("init", "--quiet", at=tmp_path)
    git("add", ".", at=tmp_path)
    git("commit", "--quiet", "--message", "all", at=tmp_path)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return tmp_path


def test_changes_in_docs_do_not_make_the_commit_dirty(checkout: Path) -> None:
    head = git("rev-parse", "--short=12", "HEAD", at=checkout)
    assert provenance.commit() == head
    (checkout / "docs" / "performance.md").write_text("another table\n")
    assert provenance.commit() == head
    (checkout / "code.py").write_text("fast = False\n")
    assert provenance.commit() == f"{head}-dirty"


def test_without_a_checkout_the_commit_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.commit() == "none"
