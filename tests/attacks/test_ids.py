"""Ids that could bypass a user's consent, erasure or export: values of other types, other spellings."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import psycopg
import pyarrow as pa
import pytest

from components.core.ids import PersonId, clean_id
from components.datasets.sources import Dataset
from components.ingestion.clean import clean_events, clean_items
from components.settings import EventSettings, PrivacySettings, Settings
from components.store.consent import claim_key, export_user, set_consent
from components.store.engine import make_engine
from components.store.erasure import forget_all
from components.store.privacy import Privacy
from components.store.snapshot import is_user
from tests.support.loading import ingest
from tests.support.postgres import stored
from tests.support.service_client import SECRET

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SPELLINGS = [" kim ", "\ufeffkim", "kim\u200b", "jose\u0301", "\u00a0jose\u0301\u2060"]


@pytest.mark.parametrize(
    "value", [True, False, 1.5, Decimal("1.5"), math.inf, b"kim", ["kim"], {"id": 1}, datetime(2026, 1, 1)]
)
def test_only_texts_and_whole_numbers_are_ids(value: object) -> None:
    event = {"user_id": "kim", "item_id": "a1", "event": "view", "timestamp": 1.7e9}
    for column in ("user_id", "item_id", "event_id"):
        raw_events = [{**event, column: value}]
        (rejected,) = clean_events(
            raw_events, source="test", settings=EventSettings(), known_items={"a1"}, now=NOW
        ).rejected
        assert rejected.reason.startswith(f"bad_{column}: "), rejected.reason
    assert clean_items([{"item_id": value}], source="test").rejected[0].reason.startswith("bad_item_id: ")


@pytest.mark.parametrize("value", [7, 7.0, Decimal("7.00"), "7", " 7\u200b"])
def test_a_whole_number_becomes_its_decimal_text(value: object) -> None:
    event = {"user_id": value, "item_id": value, "event": "view", "timestamp": 1.7e9, "request_id": value}
    (row,) = clean_events([event], source="test", settings=EventSettings(), known_items={"7"}, now=NOW).rows
    assert (row.user_id, row.item_id, row.request_id) == ("7", "7", "7")


@pytest.mark.parametrize("filler", ["\u3164", "\u2800", "\ufe0f", "\u034f", "\u115f"])
def test_invisible_characters_do_not_distinguish_ids(filler: str) -> None:
    assert clean_id(f"{filler}kim{filler}") == "kim"
    event = {"user_id": f"k{filler}im", "item_id": "a1", "event": "view", "timestamp": 1.7e9}
    (rejected,) = clean_events([event], source="test", settings=EventSettings(), known_items={"a1"}, now=NOW).rejected
    assert rejected.reason.startswith("bad_user_id: ")


def test_file_rows_match_every_spelling_of_an_id() -> None:
    users = pa.chunked_array([["josé", "jose\u0301", "jose"], ["\ufeffjosé", "jo\u200bsé", "josé2", ""]])
    assert is_user(users, "josé").to_pylist() == [True, True, False, True, True, False, False]
    assert is_user(users, "jose").to_pylist() == [False, False, True, False, False, False, False]


@pytest.fixture(params=[False, True], ids=["ids", "pseudonyms"])
def privacy(request: pytest.FixtureRequest, tmp_path: Path) -> Privacy:
    return Privacy(settings(request.param, tmp_path))


def settings(pseudonyms: bool, home: Path) -> Settings:
    return Settings(home=home, privacy=PrivacySettings.model_validate({"key": SECRET, "pseudonyms": pseudonyms}))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_consent_erasure_and_export_cover_earlier_spellings(
    database: str, privacy: Privacy, spelling: str, tmp_path: Path
) -> None:
    """Earlier versions stored this user under another id: rejection, export and erasure apply to that id, too."""
    name, *earlier = names = privacy.names(PersonId(clean_id(spelling) or "", spelling))
    assert earlier

    def ingest_event() -> dict[str, int]:
        events = pd.DataFrame([{"user_id": spelling, "item_id": "a1", "event": "view", "timestamp": 1.7e9}])
        dataset = Dataset("shop", events, pd.DataFrame({"item_id": ["a1"]}))
        chosen = settings(privacy.pseudonyms, tmp_path)
        return ingest(engine, dataset, chosen, source=f"{datetime.now(UTC)}", now=NOW).rejected

    engine = make_engine(database)
    try:
        with engine.begin() as connection:
            claim_key(connection, privacy)
        for old in earlier:
            with psycopg.connect(database) as raw:
                raw.execute("INSERT INTO users (user_id, consent) VALUES (%s, false)", [old])
            assert ingest_event() == {"no_consent": 1}
            with engine.begin() as connection:
                assert old in {row["user_id"] for row in export_user(connection, privacy, names)["user"]}
                assert forget_all(connection, privacy, [name, old]).removed["users"] >= 1
                set_consent(connection, privacy, [name], True)  # the tombstone of the other id stays
            assert ingest_event() == {"forgotten_user": 1}
            with engine.begin() as connection:
                set_consent(connection, privacy, names, True)
            assert ingest_event() == {}
            with engine.begin() as connection:
                assert forget_all(connection, privacy, names).removed["events"] == 1
                set_consent(connection, privacy, names, True)
        assert stored(database, "SELECT count(*) FROM tombstones") == [(0,)]
        with engine.begin() as connection:
            forget_all(connection, privacy, names)
            set_consent(connection, privacy, names, False)
        assert stored(database, "SELECT user_id FROM users WHERE consent") == []
    finally:
        with psycopg.connect(database) as raw:
            raw.execute("TRUNCATE tombstones, privacy_key, users")
        engine.dispose()
