"""Measurements on a real Postgres, and their history."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from components.monitoring.measure import measure_drift, measure_online
from components.settings import MonitoringSettings, Settings
from components.store.analytics import (
    Window,
    count_events,
    count_events_since,
    drift_history,
    online_history,
    read_exposures,
    record_drift,
    record_online,
    serving_version,
)
from tests.support.impressions import NOW, show, store_feedback
from tests.support.toy_data import tiny_bundle

SETTINGS = Settings(monitoring=MonitoringSettings(min_events=100))


def test_only_clicks_in_the_window_count(store: Engine) -> None:
    for request, user, days in (("r1", "u", 1.0), ("r2", "v", 2.0), ("old", "u", 8.0), ("late", "u", 0.0)):
        show(store, request, user, [("i0", 1.0), ("i1", 1.0)], days_ago=days)
    store_feedback(store, [("u", "i1", "click", 0.5, "r1", None), ("u", "i0", "click", 7.5, "old", None),
                 ("u", "i0", "like", 1, None, None), ("v", "i0", "click", 1, "nobody", None)])  # fmt: skip
    online = measure_online(store, SETTINGS, NOW, 7).online
    (champion,) = online.variants
    assert (champion.impressions, champion.users, online.unmatched) == (2, 2, 1)
    assert champion.figures["ctr@10"].mean == pytest.approx(1 / 2)
    assert champion.figures["positive_rate"].mean == pytest.approx(1 / 4)
    assert champion.figures["mrr@10"].mean == pytest.approx(1 / 4)


def test_users_without_consent_are_not_counted(store: Engine) -> None:
    show(store, "r1", "u", [("i0", 1.0)])
    show(store, "r2", "v", [("i0", 1.0)])
    store_feedback(store, [("u", "i0", "click", 0.5, "r1", None), ("v", "i0", "click", 0.5, "r2", None)])
    with store.begin() as connection:
        connection.execute(text("UPDATE users SET consent = false WHERE user_id = 'v'"))
    online = measure_online(store, SETTINGS, NOW, 7).online
    assert (online.variants[0].users, online.unmatched) == (1, 0)
    assert count_events(store, Window.before(NOW, 7)).items == {"i0": 1}
    assert count_events_since(store, NOW - timedelta(days=1)) == 1


def test_an_empty_list_counts_as_an_impression(store: Engine) -> None:
    show(store, "r1", "u", [])
    frame = read_exposures(store, Window.before(NOW, 7))
    assert frame["request_id"].tolist() == ["r1"] and frame["item_id"].isna().all()
    (champion,) = measure_online(store, SETTINGS, NOW, 7).online.variants
    assert (champion.impressions, champion.figures["ctr@10"].mean) == (1, 0.0)
    assert champion.figures["positive_rate"].mean is None


def test_events_are_counted_by_kind_hour_and_item(store: Engine) -> None:
    store_feedback(store, [("u", "i0", "like", 1.0, None, None), ("u", "i1", "view", 1.25, None, None),
                 ("v", "i1", "view", 2.0, None, None), ("v", "i1", "view", 8.0, None, None)])  # fmt: skip
    counts = count_events(store, Window.before(NOW, 7))
    assert (counts.kinds, counts.hours, counts.items) == ({"like": 1, "view": 2}, {0: 2, 18: 1}, {"i0": 1, "i1": 2})
    assert counts.events == 3


def steady(item: int, kind: str, days: range, daily: int) -> list[tuple[object, ...]]:
    """`daily` events per day, evenly spread over the hours, on every second of twenty items from `item` on."""
    return [
        (f"u{n % 9}", f"i{item + 2 * (n % 10)}", kind, day + (n + 0.5) / daily, None, None)
        for day in days
        for n in range(daily)
    ]


def test_only_changed_behaviour_drifts(store: Engine) -> None:
    store_feedback(store, steady(0, "like", range(35), 50))
    stable = {drift.feature: drift for drift in measure_drift(store, SETTINGS, NOW, 7).drifts}
    for feature in ("events", "categories", "popularity", "hours"):
        assert stable[feature].note == "stable"
    store_feedback(store, steady(1, "view", range(7), 200))
    moved = {drift.feature: drift for drift in measure_drift(store, SETTINGS, NOW, 7).drifts}
    for feature in ("events", "categories", "popularity"):
        assert moved[feature].note == "much drift"
    assert moved["hours"].note == "stable"
    earlier = {drift.feature: drift for drift in measure_drift(store, SETTINGS, NOW - timedelta(days=7), 7).drifts}
    assert earlier["events"].note == "stable", "the windows end at the given time"


def test_an_empty_store_gives_notes_instead_of_values(store: Engine) -> None:
    report = measure_drift(store, SETTINGS, NOW, 7)
    assert [drift.feature for drift in report.drifts] == [
        "events",
        "categories",
        "popularity",
        "hours",
        "scores",
        "texts",
    ]
    assert all(drift.value is None and drift.note for drift in report.drifts)
    assert measure_online(store, SETTINGS, NOW, 7).online.variants == []


def test_scores_are_those_of_the_serving_version(store: Engine) -> None:
    for number in range(50):
        items = [("i0", 1.0), ("i1", 1.0), ("i2", 1.0)]
        show(store, f"a{number}", "u", items, days_ago=20, version="1")
        show(store, f"b{number}", "u", items, days_ago=10, version="2")
        show(store, f"c{number}", "u", items, days_ago=1, version="2")
        show(store, f"d{number}", "u", items[:1], days_ago=2, version="1")
        show(store, f"e{number}", "u", items[:1], days_ago=0.5, version="3", variant="canary")
    assert serving_version(store, Window.before(NOW, 7)) == "2"
    scores = next(drift for drift in measure_drift(store, SETTINGS, NOW, 7).drifts if drift.feature == "scores")
    assert scores.value == 0


def test_text_vectors_come_from_the_bundle_of_the_version(store: Engine, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"home": tmp_path})
    store_feedback(store, steady(0, "like", range(7, 35), 10) + steady(1, "like", range(7), 50))
    show(store, "r1", "u", [("i0", 1.0)], version="3")
    texts = measure_drift(store, settings, NOW, 7).drifts[-1]
    assert texts.value is None and "the bundle of version 3 is not in" in texts.note
    tiny_bundle().write(tmp_path / "bundles" / "3")
    texts = measure_drift(store, settings, NOW, 7).drifts[-1]
    assert texts.value is not None and texts.value > 0.1


def test_recording_a_measurement_twice_stores_it_once(store: Engine) -> None:
    show(store, "r1", "u", [("i0", 1.0)])
    store_feedback(store, [("u", "i0", "click", 0.5, "r1", None)])
    online, drift = measure_online(store, SETTINGS, NOW, 7), measure_drift(store, SETTINGS, NOW, 7)
    for _ in range(2):
        record_online(store, online.rows())
        record_drift(store, drift.rows())
    kept = {row["metric"]: row for row in online_history(store, NOW)}
    assert len(online_history(store, NOW)) == len(kept)
    assert (kept["impressions"]["mean"], kept["ctr@10"]["mean"], kept["rating"]["mean"]) == (1.0, 1.0, None)
    assert kept["ctr@10"]["window_from"] == NOW - timedelta(days=7)
    assert [row["value"] for row in drift_history(store, NOW)] == [None] * 6
    assert drift_history(store, NOW)[0]["reference_from"] == NOW - timedelta(days=35)
    assert drift_history(store, NOW + timedelta(seconds=1)) == []


def test_differences_are_stored_under_separate_names(store: Engine) -> None:
    for number in range(4):
        show(store, f"r{number}", f"u{number}", [("i0", 1.0)])
        show(store, f"q{number}", f"v{number}", [("i0", 1.0)], variant="canary", version="2")
    store_feedback(store, [("v0", "i0", "click", 0.5, "q0", None)])
    record_online(store, measure_online(store, SETTINGS, NOW, 7).rows())
    kept = {(row["variant"], row["metric"]): row["mean"] for row in online_history(store, NOW)}
    assert kept["canary", "difference.ctr@10"] == pytest.approx(1 / 4)
    assert ("champion", "difference.ctr@10") not in kept


def test_without_variants_nothing_is_recorded(store: Engine) -> None:
    record_online(store, measure_online(store, SETTINGS, NOW, 7).rows())
    assert online_history(store, NOW) == []
