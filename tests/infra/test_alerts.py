"""Somebody is told of each problem once, and once when it is over: by a webhook or by mail."""

import logging
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from components.registry import Problem
from components.settings import MonitoringSettings
from infra.watch.alerts import MIN_CHECKS, Alerts
from tests.support.listeners import mail_server, webhook

PROBLEM = Problem("no_champion", "version 3 serves, but no version bears the alias", "duotempo promote 3")
OTHER = Problem("prefect_down", "prefect is down", "see its log")


def look(alerts: Alerts, settings: MonitoringSettings, *problems: Problem, times: int = MIN_CHECKS) -> None:
    for _ in range(times):
        alerts.update(problems, settings)


def test_a_problem_is_told_once_and_its_end_once_also_over_restarts(tmp_path: Path) -> None:
    file = tmp_path / "alerts.json"
    with webhook() as heard:
        settings = MonitoringSettings(notify=SecretStr(heard.url))
        look(Alerts(file, "here"), settings, PROBLEM, times=MIN_CHECKS - 1)
        assert heard.got == [], "what a restart fixes in a moment wakes nobody"
        look(Alerts(file, "here"), settings, PROBLEM)
        look(Alerts(file, "here"), settings, PROBLEM, OTHER, times=MIN_CHECKS - 1)
        look(Alerts(file, "here"), settings)
    begun, over = heard.got
    assert (begun["state"], begun["name"], begun["remedy"]) == ("problem", "no_champion", "duotempo promote 3")
    assert begun["text"] == f"duotempo: {PROBLEM.what}" and begun["platform"] == "here" and begun["since"]
    assert (over["state"], over["text"]) == ("over", f"duotempo: over: {PROBLEM.what}")


def test_whom_nobody_could_reach_is_told_later_and_no_log_has_the_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    alerts = Alerts(tmp_path / "alerts.json", "here")
    with webhook() as heard:
        settings = MonitoringSettings(notify=SecretStr(heard.url))
        heard.refuses = True
        look(alerts, settings, PROBLEM)
        assert "the notification failed: monitoring.notify: 127.0.0.1 answers 503" in caplog.text
        heard.refuses = False
        look(alerts, settings, PROBLEM, times=1)
        heard.refuses = True
        look(alerts, settings, times=1)
        heard.refuses = False
        look(alerts, settings)
    assert [one["state"] for one in heard.got] == ["problem", "over"]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("infra")]
    assert not any("secret-token" in line for line in ours)
    assert not any("secret-token" in line for line in repr(settings).splitlines())


def test_what_cannot_be_judged_is_neither_new_nor_over(tmp_path: Path) -> None:
    alerts = Alerts(tmp_path / "alerts.json", "here")
    with webhook() as heard:
        settings = MonitoringSettings(notify=SecretStr(heard.url))
        look(alerts, settings, PROBLEM)
        alerts.update([], settings, unknown=[PROBLEM.name])
        assert [one["state"] for one in heard.got] == ["problem"]
        alerts.update([], settings)
    assert [one["state"] for one in heard.got] == ["problem", "over"]


def test_mail_says_what_is_wrong_and_how_to_heal_it(tmp_path: Path) -> None:
    with mail_server() as heard:
        settings = MonitoringSettings(notify=SecretStr("mailto:ann@shop.example"), smtp=SecretStr(heard.url))
        look(Alerts(tmp_path / "alerts.json", "here"), settings, PROBLEM)
    (message,) = heard.got
    assert "To: ann@shop.example" in message and f"Subject: duotempo: {PROBLEM.what}" in message
    assert "remedy: duotempo promote 3" in message and "platform: here" in message


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "alerts.json"
    file.write_text("[1")
    look(Alerts(file, "here"), MonitoringSettings(), PROBLEM)
    assert "no_champion" in file.read_text()


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"notify": "ftp://host"}, "neither https"),
        ({"notify": "mailto:nobody"}, "neither https"),
        ({"notify": "mailto:a@b.example"}, "set smtp"),
        ({"smtp": "mail.example:25"}, "not like smtp://"),
    ],
)
def test_an_address_that_tells_nobody_is_refused(values: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        MonitoringSettings.model_validate(values)
