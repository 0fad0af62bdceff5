"""Titles, categories and names with markup, links or control codes: pages, tables and logs show them as text."""

import io
import logging
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from typer import Exit

from cli.console import Terminal, fail, styled_prefix
from cli.recommendations import show_answer
from components.core.logs import visible
from components.core.markdown import escaped, table
from components.evaluation.plots import exposure_bars
from components.evaluation.report import report
from components.monitoring.drift import Drift
from components.monitoring.report import drift_table
from components.settings import Settings
from components.validation.results import Check, SuiteResult, write_report
from serving.telemetry.logs import OWN_LOGGERS, set_up

TEXTS = [
    "[here](javascript:alert(1))",
    "![](http://evil.example/pixel.png)",
    "[a][b] and [b]: http://evil.example",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "&lt;b&gt; <b>&#x3c;",
    "<javascript:alert(1)> <http://evil.example> <a@evil.example>",
    "http://evil.example www.evil.example https://evil.example",
    "a | b || c \\| d \\\\| e",
    "line\n\n# heading\n- point\r\n| 1 | 2 |\n```\ncode",
    "`code` ``| a`` ***bold*** \\",
    "\x1b[31mred\x1b]8;;http://evil.example\x07 \x9b2J \x00 \x08\x08",
    "[bold red]markup[/] [link=http://evil.example]x[/link] :smile:",
    "\u202egnp.exe\u202c \u2066x\u2069 one\u2028two\u0085three \ud800",
    "$x^{$ and \\frac$ $$",
    "\n2026-01-01 00:00:00,000 ERROR serving - the store is gone",
    "word " * 400,
]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


def html(page: str) -> str:
    return MARKDOWN.render(page)


@pytest.mark.parametrize("text", TEXTS)
def test_markdown_escapes_texts(text: str) -> None:
    for page in (f"- {escaped(text)}", table([text, "b"], [["1", text], [text, "2"]])):
        rendered = html(page)
        assert set(re.findall(r"<(\w+)", rendered)) <= {"ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
        assert not CONTROL.search(page)
    assert rendered.count("<td") == 4
    assert not re.search(r"\w://|www\.", escaped(text))  # GitHub and Prefect link bare addresses, too
    assert (
        html(escaped("NDCG@10 [0.1, 0.2], 5 % & a_b: 1 < 2")) == "<p>NDCG@10 [0.1, 0.2], 5 % &amp; a_b: 1 &lt; 2</p>\n"
    )


def test_a_report_and_its_plots_accept_any_category(tmp_path: Path) -> None:
    shares = {"items": 0.1, "events": 0.2, "models": {"duotempo": 0.3}}
    groups = {f"category {text}": shares for text in TEXTS}
    figures = {"ndcg@3": 0.5, "ndcg@3_interval": (0.4, 0.6), "hr@3": 0.5, "hr@3_interval": (0.4, 0.6)}
    slices = {name: {"targets": 1, "models": {"duotempo": figures}} for name in groups}
    facts = dict.fromkeys(TEXTS, TEXTS[0])
    by_user = {"all": {name: {"duotempo": 0.5} for name in groups}}
    rendered = html(report(TEXTS[3], facts, {}, slices, groups, by_user, None, [], 3))
    assert not re.search(r"<(a|img|script|em|strong|code|pre|h3)\b", rendered)
    assert rendered.count("<td>category ") == 3 * len(TEXTS)
    exposure_bars(groups).savefig(tmp_path / "exposure.png")
    drifts = [Drift(text, 0.5, text) for text in TEXTS]
    assert html(drift_table(drifts).markdown()).count("<td") == 3 * len(TEXTS)


def test_a_validation_page_accepts_any_value(tmp_path: Path) -> None:
    checks = [Check("expect_x", text, text, "critical", False, 1, 2, None, "", [text], [], "") for text in TEXTS[:-4]]
    page = write_report([SuiteResult("events", 2, 0.1, checks)], tmp_path, datetime(2026, 1, 1, tzinfo=UTC), TEXTS[3])
    rendered = page.read_text(encoding="utf-8", errors="replace")
    assert not re.search(r"<(a|img|script|b|javascript)\b", rendered)


@pytest.mark.parametrize("text", TEXTS)
def test_terminal_output_escapes_texts(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    item = {"rank": 1, "item_id": text, "title": text, "score": 1.0, "why": {"text": text}}
    interest = {"long": [text], "short": [text], "long_weight": 0.5, "short_weight": 0.5}
    answer = {"items": [item], "interest": interest, "user_state": "known", "model_version": text, "degraded": True}
    show_answer(answer, explain=True)
    with pytest.raises(Exit):
        fail(text)
    captured = capsys.readouterr()
    for printed in (captured.out, captured.err):
        assert not CONTROL.search(printed)
    assert f"error: {visible(text)}\n" == captured.err
    coloured = io.StringIO()
    Terminal(file=coloured, force_terminal=True, markup=False, emoji=False, color_system="standard").print(
        styled_prefix("error:", "red", text), soft_wrap=True
    )
    assert coloured.getvalue().count("\x1b") == 2  # our own colour, and its reset


@pytest.mark.parametrize("form", ["plain", "json"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_cannot_leave_its_log_record(text: str, form: str, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers, {name: logging.getLogger(name).level for name in OWN_LOGGERS}
    try:
        set_up(Settings.model_validate({"serving": {"log_format": form}}))
        logger = logging.getLogger("serving.attack")
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception("%s failed", text)
    finally:
        root.handlers, levels = before
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    captured = capfd.readouterr().err
    assert not CONTROL.search(captured)
    assert "Logging error" not in captured
    first, *rest = captured.splitlines()
    assert "serving.attack" in first
    assert all(line.startswith("  ") for line in rest)
