"""Each problem is notified once, and its end once, by webhook or mail."""

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


def update_repeatedly(
    alerts: Alerts, settings: MonitoringSettings, *problems: Problem, times: int = MIN_CHECKS
) -> None:
    for _ in range(times):
        alerts.update(problems, settings)


def test_problem_and_its_end_are_notified_once_across_restarts(tmp_path: Path) -> None:
    file = tmp_path / "alerts.json"
    with webhook() as receiver:
        settings = MonitoringSettings(notify=SecretStr(receiver.url))
        update_repeatedly(Alerts(file, "here"), settings, PROBLEM, times=MIN_CHECKS - 1)
        assert receiver.got == [], "a problem that a quick restart fixes is not notified"
        update_repeatedly(Alerts(file, "here"), settings, PROBLEM)
        update_repeatedly(Alerts(file, "here"), settings, PROBLEM, OTHER, times=MIN_CHECKS - 1)
        update_repeatedly(Alerts(file, "here"), settings)
    opened, over = receiver.got
    assert (opened["state"], opened["name"], opened["remedy"]) == ("problem", "no_champion", "duotempo promote 3")
    assert opened["text"] == f"duotempo: {PROBLEM.what}" and opened["platform"] == "here" and opened["since"]
    assert (over["state"], over["text"]) == ("over", f"duotempo: over: {PROBLEM.what}")


def test_failed_notification_is_retried_and_logs_hide_the_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    alerts = Alerts(tmp_path / "alerts.json", "here")
    with webhook() as receiver:
        settings = MonitoringSettings(notify=SecretStr(receiver.url))
        receiver.refuses = True
        update_repeatedly(alerts, settings, PROBLEM)
        assert "the notification failed: monitoring.notify: 127.0.0.1 answers 503" in caplog.text
        receiver.refuses = False
        update_repeatedly(alerts, settings, PROBLEM, times=1)
        receiver.refuses = True
        update_repeatedly(alerts, settings, times=1)
        receiver.refuses = False
        update_repeatedly(alerts, settings)
    assert [message["state"] for message in receiver.got] == ["problem", "over"]
    log_lines = [record.getMessage() for record in caplog.records if record.name.startswith("infra")]
    assert not any("secret-token" in line for line in log_lines)
    assert not any("secret-token" in line for line in repr(settings).splitlines())


def test_unknown_problems_keep_their_state(tmp_path: Path) -> None:
    alerts = Alerts(tmp_path / "alerts.json", "here")
    with webhook() as receiver:
        settings = MonitoringSettings(notify=SecretStr(receiver.url))
        update_repeatedly(alerts, settings, PROBLEM)
        alerts.update([], settings, unknown=[PROBLEM.name])
        assert [message["state"] for message in receiver.got] == ["problem"]
        alerts.update([], settings)
    assert [message["state"] for message in receiver.got] == ["problem", "over"]


def test_mail_contains_problem_and_remedy(tmp_path: Path) -> None:
    with mail_server() as receiver:
        settings = MonitoringSettings(notify=SecretStr("mailto:ann@shop.example"), smtp=SecretStr(receiver.url))
        update_repeatedly(Alerts(tmp_path / "alerts.json", "here"), settings, PROBLEM)
    (message,) = receiver.got
    assert "To: ann@shop.example" in message and f"Subject: duotempo: {PROBLEM.what}" in message
    assert "remedy: duotempo promote 3" in message and "platform: here" in message


def test_damaged_file_is_rewritten(tmp_path: Path) -> None:
    file = tmp_path / "alerts.json"
    file.write_text("[1")
    update_repeatedly(Alerts(file, "here"), MonitoringSettings(), PROBLEM)
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
def test_invalid_notify_address_is_rejected(values: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        MonitoringSettings.model_validate(values)
