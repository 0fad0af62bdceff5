"""Tables on an 80-column terminal: no name, figure or address wraps, and dropped columns are named."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from rich.cells import cell_len

from cli import console, models, platform, recommendations
from components.monitoring.online import compare
from components.monitoring.report import online_table
from components.settings import Settings
from tests.support.impressions import exposures, feedback

WIDTH = 80
FIGURES = {
    "hr@10": 0.1234, "ndcg@10": 0.0512, "ndcg@10_interval": (0.04, 0.06), "mrr@10": 0.03, "coverage@10": 1234,
    "novelty@10": 3.2, "diversity@10": 0.4, "fit_s": 12.3, "rank_s": 1.2,
}  # fmt: skip
EVALUATED = {
    "dataset": "movielens-latest-small", "split": "rolling", "test_users": 610, "slices": {},
    "models": dict.fromkeys(("duotempo", "pop", "my_fusion:Mine"), FIGURES),
}  # fmt: skip
URL = "postgresql://duotempo:***@127.0.0.1:45433/duotempo"
SERVICE = {"healthy": True, "url": URL, "pid": 1234567}
STATUS = {
    "services": {"postgres": SERVICE, "bento": SERVICE}, "served": {"model_version": "3", "bento_tag": "duotempo:v3-a"},
    "variants": [], "problems": [], "state": "healthy", "unserved": None,
}  # fmt: skip
ITEM = {"rank": 1, "item_id": "item-1234", "title": "锅" * 60, "score": 0.5, "why": {"text": "like what you saw " * 9}}
ANSWER = {
    "user_state": "known", "model_version": "3", "degraded": False, "items": [ITEM],
    "interest": {"long_weight": 0.5, "short_weight": 0.5, "long": ["a"], "short": ["b"]},
}  # fmt: skip


def show_online() -> None:
    """Prints a table of two variants with intervals."""
    answers = [(f"r{n}", f"u{n % 5}", [("a", 1.0), ("b", 1.0)]) for n in range(20)]
    shown = pd.concat([exposures(answers[:10]), exposures(answers[10:], "challenger", "2")])
    feedback_rows = feedback(*((f"r{n}", "a", "click", None) for n in range(0, 20, 3)))
    table = online_table(compare(shown, feedback_rows, Settings().events, k=10, resamples=20))
    console.table("online", *table)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr(console.out, "width", WIDTH)


@pytest.mark.parametrize(
    ("show", "whole", "left_out"),
    [
        (lambda: models.show_figures(EVALUATED), ["my_fusion:Mine", "0.0512 [0.0400, 0.0600]"], "diversity@10"),
        (lambda: platform.show(STATUS), ["postgres", URL], ""),
        (lambda: recommendations.show_answer(ANSWER, True), ["item-1234", "0.500"], ""),
        (show_online, ["champion", "positive_rate"], "challenger - champion"),
    ],
    ids=["evaluate", "status", "recommend", "report online"],
)
@pytest.mark.usefixtures("narrow")
def test_table_fits_terminal_without_wrapping_names(
    capsys: pytest.CaptureFixture[str], show: Callable[[], Any], whole: list[str], left_out: str
) -> None:
    show()
    output = capsys.readouterr().out
    assert all(cell_len(line) <= WIDTH for line in output.splitlines()), output
    assert all(text in output for text in whole), output
    assert left_out in output.partition("left out, as 80 columns are too few")[2]


def test_table_without_terminal_keeps_all_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(console.out, "width", WIDTH)
    models.show_figures(EVALUATED)
    output = capsys.readouterr().out
    assert "diversity@10" in output and "rank_s" in output and "left out" not in output


@pytest.mark.parametrize(
    ("passed", "advice"), [(True, "serve it with: duotempo promote 3"), (False, "duotempo promote 3 --force --why")]
)
def test_failed_gate_suggests_force_only(capsys: pytest.CaptureFixture[str], passed: bool, advice: str) -> None:
    models.show_version(
        {
            "version": "3", "unchanged": False, "metrics": {"duotempo": FIGURES}, "validation": [],
            "embedding": {"encoder": "e", "computed": 1, "reused": 0, "warnings": []},
            "gate": {"passed": passed, "reasons": ["below popularity"]},
        }
    )  # fmt: skip
    output = " ".join(capsys.readouterr().out.split())
    assert advice in output
    assert ("serve it with" in output) is passed
