"""The journal of loads: exclusive use, claims of events that several loads had, the undo of a load with twins."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from components.settings import Settings
from components.store.engine import make_engine
from components.store.erasure import forget
from components.store.event_chunks import EventChunk, store_chunk
from components.store.loads import (
    COMPLETE,
    Bound,
    LoadError,
    LoadRun,
    begin_load,
    exclusive,
    plan_chunks,
    read_load,
    set_state,
)
from components.store.partitions import ensure_partitions
from components.store.privacy import Privacy
from components.store.undo import undo_load
from tests.support.postgres import emptied

MONTH = datetime(2024, 1, 1, tzinfo=UTC)
PRIVACY = Privacy(Settings())


@pytest.fixture
def store(database: str) -> Iterator[Engine]:
    with emptied(database) as engine:
        ensure_partitions(engine.begin, [MONTH])
        with engine.begin() as connection:
            connection.execute(text("TRUNCATE tombstones, erasures, privacy_key"))
            connection.execute(text("INSERT INTO items (item_id, content_hash) VALUES ('i', '')"))
        yield engine


def load(engine: Engine, digest: str, events: Sequence[str]) -> LoadRun:
    """Loads events of the users of the same name."""
    run, _ = begin_load(engine, "test", digest)
    plan_chunks(engine, run.load_id, [Bound(0, 0, 0)])
    time, null = f"{MONTH.isoformat()}", "\\N"
    lines = [
        "\t".join([e, e, "i", "view", null, null, time, null, null, null, null, "test", time]) for e in sorted(events)
    ]
    keys = "".join(f"{e}\t{time}\t{run.load_id}\n" for e in sorted(events))
    chunk = EventChunk(len(events), sorted(events), keys, {MONTH: "".join(f"{line}\n" for line in lines)})
    store_chunk(engine, PRIVACY, run, 0, chunk)
    set_state(engine, run.load_id, COMPLETE)
    return run


def column(engine: Engine, query: str) -> list[object]:
    with engine.connect() as connection:
        return list(connection.scalars(text(query)))


def events(engine: Engine) -> list[object]:
    found = column(engine, "SELECT event_id FROM events ORDER BY 1")
    assert found == column(engine, "SELECT event_id FROM event_keys ORDER BY 1")
    return found


def test_a_load_is_held_by_one_connection_at_a_time(store: Engine, database: str) -> None:
    run, resumed = begin_load(store, "test", "d")
    assert not resumed and begin_load(store, "test", "d") == (run, True)
    other = make_engine(database)
    with exclusive(store, run.load_id):
        for held in (lambda: undo_load(other, run.load_id), lambda: exclusive(other, run.load_id).__enter__()):
            with pytest.raises(LoadError, match="in use by another process"):
                held()
    with exclusive(other, run.load_id):
        pass
    other.dispose()


def test_what_several_loads_had_goes_with_the_last_of_them(store: Engine) -> None:
    first, second, third = (load(store, digest, given) for digest, given in (("1", "ab"), ("2", "bc"), ("3", "bd")))
    assert undo_load(store, second.load_id).events == 1
    assert events(store) == ["a", "b", "d"]
    assert undo_load(store, first.load_id).events == 1
    assert events(store) == ["b", "d"]
    assert undo_load(store, third.load_id).events == 2
    assert not events(store) and not column(store, "SELECT event_id FROM load_claims")


def test_the_same_files_loaded_again_make_no_claims(store: Engine) -> None:
    first, again = load(store, "1", "ab"), load(store, "1", "abc")
    assert not column(store, "SELECT event_id FROM load_claims")
    assert undo_load(store, first.load_id).events == 0
    assert events(store) == ["a", "b", "c"]
    assert undo_load(store, again.load_id).events == 3


def test_the_undo_of_the_second_of_equal_loads_leaves_the_first(store: Engine) -> None:
    first, again = load(store, "1", "ab"), load(store, "1", "abc")
    assert undo_load(store, again.load_id).events == 1
    assert events(store) == ["a", "b"]
    assert undo_load(store, first.load_id).events == 2


def test_claims_of_equal_loads_are_kept_for_the_later_one(store: Engine) -> None:
    other, first, again = load(store, "o", "ab"), load(store, "1", "bc"), load(store, "1", "bc")
    assert len(column(store, "SELECT event_id FROM load_claims")) == 1
    undo_load(store, first.load_id)
    assert undo_load(store, other.load_id).events == 1
    assert events(store) == ["b", "c"]
    assert undo_load(store, again.load_id).events == 2


def test_an_erasure_takes_the_claims_with_it(store: Engine) -> None:
    first, second = load(store, "1", "ab"), load(store, "2", "ab")
    with store.begin() as connection:
        forget(connection, PRIVACY, "a")
    assert column(store, "SELECT event_id FROM load_claims") == ["b"]
    undo_load(store, first.load_id)
    assert events(store) == ["b"]
    undo_load(store, second.load_id)
    assert not events(store) and column(store, "SELECT user_hash FROM tombstones")


def test_a_load_that_does_not_exist(store: Engine) -> None:
    with pytest.raises(LoadError, match="--list"):
        read_load(store, 10**9)
