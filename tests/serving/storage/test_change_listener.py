"""Changes by other writers in Postgres reach the service's memory."""

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random

import httpx
import psycopg
import pytest

from components.ingestion.clean import clean_events
from components.settings import EventSettings
from components.store.engine import make_engine
from components.store.load import append_events
from tests.support.service import HISTORIES, RunningService, bento, wait_until_ready
from tests.support.service_client import colours, ids, recommend
from tests.support.toy_data import NAMES, chessboard, load, squares
from tests.support.waiting import eventually


def write_events(service: RunningService, users: list[str], items: list[str]) -> None:
    """Stores a purchase of each item by each user, like a bulk load."""
    now = datetime.now(UTC)
    raw = [
        {"user_id": u, "item_id": i, "event": "purchase", "timestamp": now.timestamp()} for u in users for i in items
    ]
    source = uuid.uuid4().hex
    cleaned = clean_events(raw, source=source, settings=EventSettings(), known_items=set(NAMES), now=now)
    engine = make_engine(service.database)
    with engine.begin() as connection:
        append_events(connection, cleaned.rows)
    engine.dispose()


@pytest.mark.parametrize(
    "others",
    [[], [f"crowd-{n}" for n in range(200)], [f"crowd-{n:0>190}" for n in range(60)]],
    ids=["one user", "many users", "more users than a notification names"],
)
def test_events_of_other_writers_count(client: httpx.Client, service: RunningService, others: list[str]) -> None:
    user = f"watched-{uuid.uuid4().hex}"
    assert recommend(client, user, k=20).user_state == "new"
    assert recommend(client, user, k=20).user_state == "new"
    bought = squares("white")[:6]
    write_events(service, [user, *others], bought)
    eventually(lambda: recommend(client, user, k=20).user_state == "known")
    after = recommend(client, user, k=5)
    assert not set(ids(after)) & set(bought)
    assert colours(after) == {"white"}


def test_deleted_events_no_longer_count(client: httpx.Client, service: RunningService) -> None:
    user = f"watched-{uuid.uuid4().hex}"
    write_events(service, [user], squares("black")[:3])
    eventually(lambda: recommend(client, user).user_state == "known")
    with psycopg.connect(service.database) as connection:
        connection.execute("DELETE FROM events WHERE user_id = %s", [user])
    eventually(lambda: recommend(client, user).user_state == "new")


def test_item_changes_of_other_writers_are_shown(client: httpx.Client, service: RunningService) -> None:
    user = f"watched-{uuid.uuid4().hex}"
    best = recommend(client, user, k=1).items[0].item_id
    change = "UPDATE items SET available = %s, title = %s WHERE item_id = %s RETURNING title"
    with psycopg.connect(service.database, autocommit=True) as connection:
        (before,) = connection.execute("SELECT title FROM items WHERE item_id = %s", [best]).fetchone() or ("",)
        connection.execute(change, [False, before, best])
        eventually(lambda: best not in ids(recommend(client, user, k=64)))
        connection.execute(change, [True, "Another name", best])
        eventually(lambda: best in ids(recommend(client, user, k=64)))
        assert recommend(client, user, k=1).items[0].title == "Another name"
        connection.execute(change, [True, before, best])
        eventually(lambda: recommend(client, user, k=1).items[0].title == before)


def test_the_listener_reconnects_after_its_connection_was_terminated(
    client: httpx.Client, service: RunningService
) -> None:
    user = f"watched-{uuid.uuid4().hex}"
    assert not recommend(client, user).degraded
    with psycopg.connect(service.database, autocommit=True) as connection:
        terminated = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'duotempo changes' AND datname = current_database()"
        ).fetchall()
    assert terminated == [(True,)]
    write_events(service, [user], squares("black")[:3])
    eventually(lambda: recommend(client, user).user_state == "known")
    eventually(lambda: not recommend(client, user).degraded)


@pytest.fixture(scope="module")
def short_history(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that reads only the latest five events of a user; with its own database, as it listens to changes."""
    folder = tmp_path_factory.mktemp("forgetful")
    chessboard().write(folder / "bundle")
    load(database, chessboard(), HISTORIES)
    with (
        bento(folder, database, DUOTEMPO_RANKING__HISTORY="5") as address,
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        wait_until_ready(address)
        yield client


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reader", ["client", "short_history"])
def test_incremental_updates_equal_a_full_read(request: pytest.FixtureRequest, reader: str, seed: int) -> None:
    """One user is cached before each event; the history of the other is read from Postgres."""
    client: httpx.Client = request.getfixturevalue(reader)
    random = Random(seed)
    incremental, read = (f"{name}-{uuid.uuid4().hex}" for name in ("incremental", "read"))
    now = time.time()
    events = [
        {"item_id": random.choice(NAMES), "event": random.choice(["view", "like", "hide", "purchase"])}
        | ({"event_id": random.choice("abc")} if random.random() < 0.2 else {})
        | {"timestamp": now - random.choice([0, 10, 86_400, 1e7])}
        for _ in range(12)
    ]
    batches = [events[start : start + 3] for start in range(0, 12, 3)]
    for user in (incremental, read):
        for batch in batches:
            if user == incremental:
                recommend(client, user)
            named = [
                event | {"user_id": user} | ({"event_id": f"{user}-{event['event_id']}"} if "event_id" in event else {})
                for event in batch
            ]
            assert client.post("/feedback", json={"events": named}).status_code == 200
    one, other = recommend(client, incremental, k=30), recommend(client, read, k=30)
    assert ids(one) == ids(other)
    assert [item.score for item in one.items] == pytest.approx([item.score for item in other.items], abs=1e-4)
    assert one.interest == other.interest
