from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Engine

from components.settings import Settings
from components.store.history import Behaviour, read_documents, read_history, write_documents
from components.store.ingest import ingest
from tests.components.store.conftest import NOW, raw_events, shop

MAY, JUNE = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)


def known(store: Engine, *users: str) -> None:
    """Makes the users known to the store."""
    events = raw_events([(user, "a", 1, "view") for user in users])
    ingest(store, shop(events), Settings(), source="test", now=NOW)


def test_history_is_the_latest_events_oldest_first(store: Engine) -> None:
    events = raw_events([("u", item, at, "view") for at, item in enumerate("abcde")] + [("v", "a", 9, "view")])
    ingest(store, shop(events), Settings(), source="test", now=NOW)
    with store.connect() as connection:
        history = read_history(connection, "u", 3)
    assert history == [Behaviour(item, "view", None, float(at)) for at, item in enumerate("abcde")][2:]


def test_ties_keep_the_order_of_arrival(store: Engine) -> None:
    events = raw_events([("u", item, 7, "view") for item in "dbeac"])
    ingest(store, shop(events), Settings(), source="test", now=NOW)
    with store.connect() as connection:
        assert [one.item_id for one in read_history(connection, "u", 4)] == list("beac")


def test_an_unknown_user_has_an_empty_history(store: Engine) -> None:
    with store.connect() as connection:
        assert read_history(connection, "nobody", 10) == []


def test_documents_come_back_as_they_were_written(store: Engine) -> None:
    long = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    short = np.stack([long[1], np.zeros(8, np.float32)])
    known(store, "u", "v")
    assert write_documents(store, "minilm", ["u", "v"], [MAY, JUNE], long, short) == 2
    with store.connect() as connection:
        as_of, read_long, read_short = read_documents(connection, "u", "minilm") or (None, None, None)
        assert as_of == MAY
        np.testing.assert_array_equal(read_long, long[0])
        np.testing.assert_array_equal(read_short, short[0])
        second = read_documents(connection, "v", "minilm")
        assert second is not None
        assert second[2] is None
        assert read_documents(connection, "u", "another encoder") is None
        assert read_documents(connection, "nobody", "minilm") is None


def test_no_documents_are_kept_of_who_is_not_there(store: Engine) -> None:
    known(store, "u")
    vectors = np.ones((2, 4), np.float32)
    assert write_documents(store, "minilm", ["u", "erased meanwhile"], [MAY, MAY], vectors, vectors) == 1
    with store.connect() as connection:
        assert read_documents(connection, "erased meanwhile", "minilm") is None


def test_newer_documents_replace_older_ones_only(store: Engine) -> None:
    old, new = np.ones((1, 4), np.float32), np.full((1, 4), 2, np.float32)
    known(store, "u")
    assert write_documents(store, "minilm", ["u"], [JUNE], new, new) == 1
    assert write_documents(store, "minilm", ["u"], [MAY], old, old) == 0
    with store.connect() as connection:
        kept = read_documents(connection, "u", "minilm")
        assert kept is not None
        np.testing.assert_array_equal(kept[1], new[0])
