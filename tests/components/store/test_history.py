from datetime import UTC, date, datetime

import numpy as np
from sqlalchemy import Engine

from components.settings import EventSettings, Settings
from components.store.history import Interaction, read_documents, read_histories, write_documents
from tests.support.loading import ingest
from tests.support.raw_events import NOW, raw_events, shop

EARLY = Settings(events=EventSettings(earliest=date(1970, 1, 1)))
MAY, JUNE = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)


def store_users(store: Engine, *users: str) -> None:
    """Stores an event of each user."""
    events = raw_events([(user, "a", 1, "view") for user in users])
    ingest(store, shop(events), EARLY, source="test", now=NOW)


def test_history_is_the_latest_events_oldest_first(store: Engine) -> None:
    events = raw_events([("u", item, at, "view") for at, item in enumerate("abcde")] + [("v", "a", 9, "view")])
    ingest(store, shop(events), EARLY, source="test", now=NOW)
    with store.connect() as connection:
        histories = read_histories(connection, ["u", "v", "nobody"], 3)
    latest = [Interaction(item, "view", None, float(at)) for at, item in enumerate("abcde")][2:]
    assert histories == {"u": latest, "v": [Interaction("a", "view", None, 9.0)], "nobody": []}


def test_events_with_equal_times_keep_the_order_of_arrival(store: Engine) -> None:
    events = raw_events([("u", item, 7, "view") for item in "dbeac"])
    ingest(store, shop(events), EARLY, source="test", now=NOW)
    with store.connect() as connection:
        assert [event.item_id for event in read_histories(connection, ["u"], 4)["u"]] == list("beac")


def test_documents_are_read_as_written(store: Engine) -> None:
    long = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    short = np.stack([long[1], np.zeros(8, np.float32)])
    store_users(store, "u", "v")
    assert write_documents(store, "minilm", ["u", "v"], [MAY, JUNE], long, short) == 2
    with store.connect() as connection:
        read = read_documents(connection, ["u", "v", "nobody"], "minilm")
        assert read.keys() == {"u", "v"}
        np.testing.assert_array_equal(read["u"], np.stack([long[0], short[0]]))
        np.testing.assert_array_equal(read["v"], np.stack([long[1], np.zeros(8, np.float32)]))
        assert read_documents(connection, ["u"], "another encoder") == {}


def test_documents_of_unknown_users_are_not_stored(store: Engine) -> None:
    store_users(store, "u")
    vectors = np.ones((2, 4), np.float32)
    assert write_documents(store, "minilm", ["u", "erased meanwhile"], [MAY, MAY], vectors, vectors) == 1
    with store.connect() as connection:
        assert read_documents(connection, ["erased meanwhile"], "minilm") == {}


def test_only_newer_documents_replace_stored_ones(store: Engine) -> None:
    old, new = np.ones((1, 4), np.float32), np.full((1, 4), 2, np.float32)
    store_users(store, "u")
    assert write_documents(store, "minilm", ["u"], [JUNE], new, new) == 1
    assert write_documents(store, "minilm", ["u"], [MAY], old, old) == 0
    with store.connect() as connection:
        np.testing.assert_array_equal(read_documents(connection, ["u"], "minilm")["u"][0], new[0])
