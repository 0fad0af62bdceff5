"""The records of what was promoted and what was shown."""

from datetime import UTC, datetime

from sqlalchemy import Engine, select

from components.store.impressions import record_impression
from components.store.promotions import list_promotions, record_promotion
from components.store.schema import Impression


def test_promotions_are_listed_in_their_order(store: Engine) -> None:
    record_promotion(store, "1", None, "registry", "gate passed", "promoted")
    record_promotion(store, "2", "1", "ann", "--force: trial", "refused")
    lines = [(line.version, line.from_version, line.actor, line.reason, line.state) for line in list_promotions(store)]
    assert lines == [("1", None, "registry", "gate passed", "promoted"), ("2", "1", "ann", "--force: trial", "refused")]


def test_an_impression_is_kept_once(store: Engine) -> None:
    items = [{"item_id": "a", "rank": 1, "score": 0.5, "propensity": 1.0}]
    served_at = datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC)
    for _ in range(2):
        with store.begin() as connection:
            record_impression(
                connection, request_id="r1", user_id="u", model_version="3", variant="champion",
                served_at=served_at, items=items,
            )  # fmt: skip
    with store.connect() as connection:
        kept = connection.execute(select(Impression.request_id, Impression.served_at, Impression.items)).all()
    assert [tuple(row) for row in kept] == [("r1", served_at, items)]
