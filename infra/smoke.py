"""Starts a Bento beside the served one, asks it what callers ask, and says what is wrong with the answers."""

import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import Engine, delete, func, select

from components.errors import DuotempoError
from components.store.engine import make_engine
from components.store.keys import RECOMMEND, create_key
from components.store.schema import ApiKey, Event, Impression, Item
from infra.bento import environment, tail
from infra.local import ports

USUAL_PORT = 3100
K = 5
KNOWN_USERS = 3
RECENT_EVENTS = 1000
NEW_USER = "duotempo-smoke-test"
ANSWER_SECONDS = 15.0
STOP_SECONDS = 10.0
log = logging.getLogger(__name__)


class SmokeTestFailed(DuotempoError):
    """The Bento does not do what callers rely on; the message says what, with the end of its log."""


def smoke_test(tag: str, *, model_version: str, database_url: str, bentoml_home: Path, start_seconds: float) -> None:
    """Serves `tag` on a free port, asks for known users and a new one and for similar items, and stops it again.

    Nobody saw these answers, so the impressions that the service notes of them are taken back.
    Raises SmokeTestFailed, also when it is not ready within `start_seconds`; nothing of the Bento outlives the call.
    """
    engine = make_engine(database_url)
    users = [*known_users(engine, KNOWN_USERS), NEW_USER]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="duotempo-smoke-") as scratch:
        log_file = Path(scratch) / "bento.log"
        try:
            with _serve(tag, log_file, database_url, bentoml_home) as (server, url):
                _await_ready(server, url, start_seconds)
                log.info("%s is ready after %.1f s, asking for %d users", tag, time.monotonic() - started, len(users))
                _ask(url, users, model_version, engine)
        except (SmokeTestFailed, httpx.HTTPError) as error:
            words = log_file.read_text(encoding="utf-8", errors="replace").replace(database_url, "***")
            raise SmokeTestFailed(f"{tag} failed its smoke test: {error}. Its log ends with\n{tail(words)}") from error
        finally:
            engine.dispose()


def known_users(engine: Engine, count: int) -> list[str]:
    """Users of the latest events, the busiest first, of those who have met less than half of the catalogue."""
    latest = select(Event.user_id).order_by(Event.occurred_at.desc()).limit(RECENT_EVENTS).subquery()
    half = select(func.count() / 2).select_from(Item).scalar_subquery()
    busiest = (
        select(Event.user_id)
        .where(Event.user_id.in_(select(latest.c.user_id)))
        .group_by(Event.user_id)
        .having(func.count(Event.item_id.distinct()) < half)
        .order_by(func.count().desc(), Event.user_id)
        .limit(count)
    )
    with engine.connect() as connection:
        return list(connection.scalars(busiest))


@contextmanager
def _serve(
    tag: str, log_file: Path, database_url: str, bentoml_home: Path
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    port = ports.choose(USUAL_PORT, ())
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    variables = {**environment(bentoml_home), "DUOTEMPO_DATABASE_URL": database_url}
    with log_file.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=log_file.parent, env=variables, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield server, f"http://127.0.0.1:{port}"
        finally:
            _stop(server)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """Ends the server and all its descendants, whatever process group they are in."""
    if server.poll() is None:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        server.terminate()
        for process in psutil.wait_procs(family, timeout=STOP_SECONDS)[1]:
            process.kill()
    server.wait()


def _await_ready(server: "subprocess.Popen[bytes]", url: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    said = "no answer"
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SmokeTestFailed(f"it ended with code {server.returncode} before it was ready")
        try:
            answer = httpx.get(f"{url}/readyz", timeout=ANSWER_SECONDS)
        except httpx.TransportError as error:
            said = str(error)
        else:
            if answer.is_success:
                return
            said = answer.text
        time.sleep(0.2)
    raise SmokeTestFailed(f"it was not ready within {seconds:.0f} s (/readyz: {said})")


def _ask(url: str, users: Sequence[str], model_version: str, engine: Engine) -> None:
    asked: list[str] = []
    with engine.begin() as connection:
        key_id, key = create_key(connection, "smoke test", [RECOMMEND])
    try:
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, timeout=ANSWER_SECONDS, headers=headers) as client:
            _await_key(client)
            for user in users:
                answer = _post(client, "/recommend", {"user_id": user, "k": K, "explain": True})
                asked.append(answer["request_id"])
                check_answer(answer, K, model_version)
            item = answer["items"][0]["item_id"]
            check_answer(_post(client, "/similar", {"item_id": item, "k": K}), K, model_version)
    finally:
        with engine.begin() as connection:
            connection.execute(delete(Impression).where(Impression.request_id.in_(asked)))
            connection.execute(delete(ApiKey).where(ApiKey.key_id == key_id))


def _await_key(client: httpx.Client) -> None:
    """Until the service has read the new key; one that trusts this machine needs none."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while client.get("/items", params={"limit": 1}).status_code == 401 and time.monotonic() < deadline:
        time.sleep(0.2)


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    if not answer.is_success:
        raise SmokeTestFailed(f"{path} of {body} answered {answer.status_code}: {answer.text}")
    return dict(answer.json())


def check_answer(answer: dict[str, Any], k: int, model_version: str) -> None:
    """Raises SmokeTestFailed unless the answer is whole: k different items, ranked, of this model, not degraded."""
    items = answer["items"]
    if answer["model_version"] != model_version:
        raise SmokeTestFailed(f"the answer is of model version {answer['model_version']!r}, not of {model_version!r}")
    if answer["degraded"]:
        raise SmokeTestFailed("the answer is degraded: the database did not answer the service")
    if len({item["item_id"] for item in items}) != k:
        raise SmokeTestFailed(f"the answer has {len(items)} items, not {k} different ones: {items}")
    if [item["rank"] for item in items] != list(range(1, k + 1)):
        raise SmokeTestFailed(f"the answer's ranks are not 1 to {k}: {items}")
