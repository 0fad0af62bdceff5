"""Implements `duotempo demo`: runs every stage once, as a user would, and prints a table of the results."""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

import typer

from cli.console import busy, err, load_settings, out, styled_prefix, table
from cli.file_session import FileRequest, FileSession
from cli.memory import PeakMemory
from components.core.errors import DuotempoError
from components.datasets import named
from components.datasets.opened_files import EVENTS_IN, shift_times
from components.datasets.sources import dataset_files
from components.settings import Settings
from components.store.engine import make_engine
from components.store.history import count_feedback
from infra.deploy.promotion import promote
from infra.deploy.service import ask_service
from infra.home.databases import Databases
from infra.home.home import Home
from infra.local.platform import Platform
from infra.orchestration.client import run_deployment

DATASET = "ml-100k"
RETRAIN_SECONDS = 3600
QUICK = {
    "DUOTEMPO_FUSION__EPOCHS": "2",
    "DUOTEMPO_FUSION__FINISH_EPOCHS": "0",
    "DUOTEMPO_INTERESTS__ANCHORS": "0",
}
"""Settings of the first training, so that the page is available soon; the second version trains in full."""


def run_demo(folder: Path | None) -> None:
    """Runs the demo on ml-100k, or on a dataset folder. Exits with 1 and names the stage if one fails."""
    os.environ.setdefault("DUOTEMPO_PRESET", "demo")
    os.environ.setdefault("DUOTEMPO_PLATFORM__SCHEDULES", "false")
    base = load_settings()
    base.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = Home(base.home / "demo")
    external = Platform(base).external
    if external:
        external = replace(external, duotempo=external.duotempo.set(database=f"duotempo_demo_{home.id}"))
    settings = load_settings(home=home.path, database_url=external.url if external else None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_on_signal)
    demo = Demo(settings, folder, base.home / "demo.json", external)
    try:
        demo.run()
        demo.wait_for_user()
    except KeyboardInterrupt as interrupt:
        err.print(f"interrupted in the stage {demo.stage}")
        raise typer.Exit(130) from interrupt
    except Exception as error:
        err.print(styled_prefix(f"the stage {demo.stage} failed:", "bold red", demo.explain(error)), soft_wrap=True)
        raise typer.Exit(1) from error
    finally:
        demo.stop()


def _exit_on_signal(number: int, _frame: object) -> NoReturn:
    """Signal handler: exits with the signal's code after cleaning up; prints nothing after a hang-up."""
    out.quiet = err.quiet = number == signal.SIGHUP
    sys.exit(128 + number)


class Demo:
    """Runs the stages in order and collects their results."""

    def __init__(self, settings: Settings, folder: Path | None, report: Path, external: Databases | None) -> None:
        self.settings = settings
        self.external = external
        self.folder = folder
        self.report_file = report
        self.platform = Platform(settings)
        self.stage = "set-up"
        self.rows: list[dict[str, Any]] = []
        self.results: dict[str, Any] = {}
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("DEMO_EXIT") != "1"
        self.started = False
        self.began = time.monotonic()
        self.memory = PeakMemory(self.platform.home.id)

    def run(self) -> None:
        """Runs all stages; each adds a row to the table."""
        self._measured("set-up", self._set_up)
        self._measured("data", self._data)
        self._measured("ingest", self._ingest)
        first_run = self._retrain("", QUICK)
        self.results.update({name: first_run[name] for name in ("snapshot", "validation", "metrics")})
        self.results["versions"] = [first_run["version"]]
        self._measured("promote and package", lambda: self._promote(first_run))
        self._measured("recommend", self._recommend)
        out.print(f"  the page         {self._page}", soft_wrap=True)
        self._measured("feedback", self._feedback)
        second_run = self._retrain("again: ")
        self.results["second_version"] = second_run["version"]
        self.results["versions"].append(second_run["version"])
        self._show()

    def wait_for_user(self) -> None:
        """Keeps the platform up until Ctrl-C, if there is a terminal."""
        if self.interactive:
            out.print("the platform is up until Ctrl-C")
            try:
                signal.pause()
            except KeyboardInterrupt:
                out.print()

    def stop(self) -> None:
        """Stops everything that this demo started, and nothing else."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.memory.stop()
        if self.started:
            with busy("stopping the platform"):
                self.platform.down()

    def explain(self, error: Exception) -> str:
        """Returns the message of an error; writes the traceback of an unexpected one to a log file and names it."""
        if isinstance(error, DuotempoError):
            return str(error)
        log = self.report_file.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        return f"{type(error).__name__}: {error}. The traceback is in {log}"

    def _measured(self, stage: str, step: Callable[[], str]) -> None:
        self.stage = stage
        began = time.monotonic()
        with busy(stage):
            result = step()
        self._add_row(stage, time.monotonic() - began, result)

    def _add_row(self, stage: str, seconds: float, result: str) -> None:
        self.rows.append({"stage": stage, "seconds": round(seconds, 1), "result": result})
        out.print(f"{stage:<28} {seconds:6.1f} s  {result}", soft_wrap=True)

    def _set_up(self) -> str:
        home = self.settings.home
        if self.platform.runs:
            remedy = f"stop it with Ctrl-C in its terminal, or with DUOTEMPO_HOME={home} duotempo down"
            raise DuotempoError(f"a demo is running in {home}: {remedy}")
        self.started = True
        self.platform.remove()
        if self.external:
            self.external.recreate()
        self.platform.up(lambda stage: out.print(f"  {stage}", soft_wrap=True))
        os.environ.update(self.platform.environment())
        return f"Postgres, Prefect, MLflow and two workers in {self.settings.home}"

    def _data(self) -> str:
        self.folder = self.folder or named.get(DATASET, self.settings)
        self.results["dataset"] = self.folder.resolve().name
        return str(self.folder)

    def _ingest(self) -> str:
        assert self.folder is not None
        engine = make_engine(self.platform.addresses.database_url)
        with FileSession(self.settings, FileRequest(dataset_files(self.folder))) as session:
            opened = session.open_settled()
            shift = shift_times(session.connection, datetime.now(UTC) - timedelta(hours=1))
            last = f"SELECT user_id FROM {EVENTS_IN} ORDER BY timestamp DESC NULLS LAST, row LIMIT 1"
            [(self.user,)] = session.connection.execute(last).fetchall()
            source = self.results["dataset"]
            report = session.load(opened, session.judge(opened, source, engine), source, engine)
        rejected = sum(report.rejected.values())
        return (
            f"{report.accepted:,} events accepted, {report.duplicates} duplicates, {rejected} in quarantine; all times "
            f"shifted by {shift / 86_400:,.0f} days, so that the last event is an hour ago"
        )

    def _retrain(self, prefix: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Runs the retraining deployment and adds a row for each of its tasks.

        Args:
            environment: Settings of this run that differ from the platform's.
        """
        began: dict[str, float] = {}

        def track(name: str, state: str) -> None:
            if state == "Running" and "/" not in name:
                self.stage = prefix + name
                began.setdefault(name, time.monotonic())
            elif state == "Completed" and "/" not in name:  # never seen running: shorter than the polling interval
                now = time.monotonic()
                self._add_row(prefix + name, now - began.pop(name, now), "")

        start = time.monotonic()
        self.stage = f"{prefix}retrain"
        result = run_deployment(
            "retrain/nightly", {}, environment=environment, timeout=RETRAIN_SECONDS, on_update=track
        )
        self._explain_tasks(prefix, result)
        gate = "passed" if result["gate"]["passed"] else "failed"
        ours = result["metrics"]["duotempo"]
        self._add_row(
            f"{prefix}retrain, all of it",
            time.monotonic() - start,
            f"version {result['version']}, NDCG@10 {ours['ndcg@10']:.4f}, gate {gate}: {result['gate']['reasons'][0]}",
        )
        return result

    def _explain_tasks(self, prefix: str, result: dict[str, Any]) -> None:
        """Fills in the results of the tasks, which are only available once the flow has returned."""
        embedded, ours = result["embedding"], result["metrics"]["duotempo"]
        results = {f"validate {check['stage']}": f"{len(check['warnings'])} warnings" for check in result["validation"]}
        results |= {
            "snapshot": Path(result["snapshot"]).name,
            "embed": f"{embedded['encoder']}: {embedded['computed']} computed, {embedded['reused']} from the cache",
            "earlier": "no earlier run with the same inputs",
            "fuse": f"on {result['training']['device']}, by {result['training']['worker']}",
            "evaluate": f"HR@10 {ours['hr@10']:.3f}, MRR {ours['mrr@10']:.3f}, {ours['coverage@10']} items covered",
            "register": f"version {result['version']}",
        }
        for row in self.rows:
            row["result"] = row["result"] or results.get(row["stage"].removeprefix(prefix), "")

    def _promote(self, trained: dict[str, Any]) -> str:
        """Promotes the first version; forces it, and says so, if the gate failed (too little data)."""
        forced = not trained["gate"]["passed"]
        why = "the gate failed, forced: the demo shows every stage" if forced else "the first version"
        promote(trained["version"], actor="demo", reason=why, force=forced, settings=self.settings)
        served = self.platform.served() or {}
        self.results["bento_tag"] = served["bento_tag"]
        return f"{served['bento_tag']} at {self.platform.addresses.serving_url} ({why})"

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return ask_service(self.platform.service_url, path, body)

    def _recommend(self) -> str:
        answer = self._post("/recommend", {"user_id": self.user, "k": 10, "explain": True})
        self.results["recommend"] = answer
        best, share = answer["items"][0], answer["interest"]["long_weight"]
        return f"user {self.user}, {share:.0%} long-term: {best['title']} ({best['why']['text']})"

    @property
    def _page(self) -> str:
        return f"{self.platform.addresses.serving_url}/?{urlencode({'user': self.user})}"

    def _feedback(self) -> str:
        before = self.results["recommend"]
        shown = [item["item_id"] for item in before["items"]]
        kinds = ["like", "like", "dislike", "click", "hide"]
        events = [
            {"user_id": self.user, "item_id": item, "event": kind, "request_id": before["request_id"]}
            for item, kind in zip(shown, kinds, strict=False)
        ]
        began = time.monotonic()
        answer = self._post("/feedback", {"events": events})
        stored = count_feedback(make_engine(self.platform.addresses.database_url), before["request_id"])
        after = self._post("/recommend", {"user_id": self.user, "k": 10})
        seconds = time.monotonic() - began
        changed = len(set(shown) - {item["item_id"] for item in after["items"]})
        if stored != answer["accepted"] or not changed:
            raise DuotempoError(
                f"{answer['accepted']} accepted, {stored} in Postgres, {changed} items changed: look at the log"
            )
        self.results["feedback"] = {"accepted": answer["accepted"], "seconds_to_effect": round(seconds, 3)}
        return f"{answer['accepted']} accepted and in Postgres; {changed} of 10 items differ {seconds:.2f} s later"

    def _show(self) -> None:
        """Prints the table and the addresses, and writes demo.json."""
        peak = self.memory.stop()
        total = time.monotonic() - self.began
        report = {
            **self.results,
            "stages": self.rows,
            "seconds": round(total, 1),
            "peak_memory_mb": round(peak / 2**20),
        }
        self.report_file.write_text(json.dumps(report, indent=1, ensure_ascii=False, default=str), encoding="utf-8")
        rows = [[row["stage"], f"{row['seconds']:.1f}", row["result"]] for row in self.rows]
        rows.append(["peak memory", "", f"{peak / 2**30:.1f} GB, of all processes together"])
        rows.append(["in all", f"{total:.1f}", ""])
        table("duotempo demo", ["stage", "seconds", "result"], rows)
        out.print(f"details in {self.report_file}")
        at = self.platform.addresses
        for name, url in {
            "recommendations": self._page,
            "Prefect": at.prefect_url,
            "MLflow": at.mlflow_url,
        }.items():
            out.print(f"  {name:<16} {url}")
