"""The ingest flow on a real Prefect, from a shop's database: counts, failures, and its deployment."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prefect.artifacts import Artifact
from prefect.client.schemas.objects import Artifact as Kept
from prefect.testing.utilities import prefect_test_harness

from flows.ingest import SourcesFailed, ingest
from tests.support.postgres import emptied, stored
from tests.support.source_database import ShopDatabase, shop_database

SETTINGS = """
[ingest.sources.orders]
address = "{address}"
query = "SELECT * FROM orders"
watermark = "updated_at"
overlap = 3600
role = "events"
mapping = "orders.toml"

[ingest.sources.products]
address = "products.csv"
role = "items"
mapping = "products.toml"
"""
ORDERS = (
    '[events]\nuser_id = "customer"\nitem_id = "product"\ntimestamp = "ordered_at"\nevent = { constant = "purchase" }\n'
)
PRODUCTS = '[items]\nitem_id = "sku"\ntitle = "name"\n'


@pytest.fixture
def shop(database: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShopDatabase]:
    """A platform with two sources, below a Prefect server of its own."""
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    with (
        emptied(database),
        shop_database(postgres_url, [(1, "u1", "a"), (2, "u2", "b")]) as shop,
        prefect_test_harness(120),
    ):
        (tmp_path / "duotempo.toml").write_text(SETTINGS.format(address=shop.address))
        (tmp_path / "orders.toml").write_text(ORDERS)
        (tmp_path / "products.toml").write_text(PRODUCTS)
        (tmp_path / "products.csv").write_text("sku,name\na,pot\nb,pan\n")
        monkeypatch.setenv("DUOTEMPO_SETTINGS_FILE", str(tmp_path / "duotempo.toml"))
        monkeypatch.setenv("DUOTEMPO_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("DUOTEMPO_DATABASE_URL", database)
        monkeypatch.setenv("DUOTEMPO_SOURCE_ORDERS_SECRET", shop.password)
        yield shop


def test_new_rows_of_all_sources_are_loaded_and_a_failed_source_keeps_no_other_out(
    shop: ShopDatabase, database: str, tmp_path: Path
) -> None:
    first = ingest()
    assert list(first) == ["products", "orders"]
    assert (first["products"]["items_added"], first["orders"]["accepted"], first["orders"]["rejected"]) == (2, 2, 0)
    assert stored(database, "SELECT item_id, title FROM items ORDER BY 1") == [("a", "pot"), ("b", "pan")]
    table = Artifact.get("ingest")
    assert isinstance(table, Kept) and isinstance(table.data, str)
    assert [row["source"] for row in json.loads(table.data)] == ["products", "orders"]
    assert [counts["accepted"] for counts in ingest().values()] == [0, 0]

    shop.order((3, " ", "a"), (4, "  ", "a"), (5, "   ", "a"))
    (tmp_path / "products.csv").write_text("sku,name\na,pot\nb,pan\nc,wok\n")
    with pytest.raises(SourcesFailed, match=r"orders: 60% of the rows would be rejected \(missing_user_id: 3\)"):
        ingest()
    assert stored(database, "SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM quarantine)") == [(3, 0)]
    shop.run("DELETE FROM orders WHERE id > 3")
    counts = ingest("orders")["orders"]
    assert (counts["accepted"], counts["duplicates"], counts["rejected"]) == (0, 2, 1)
    assert list((tmp_path / "home" / "ingest").iterdir()) == []


def test_the_deployment_is_scheduled_where_there_are_sources() -> None:
    deployments = yaml.safe_load(Path("prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    deployment = next(one for one in deployments if one["entrypoint"] == "flows/ingest.py:ingest")
    assert (ingest.name, deployment["name"], deployment["work_pool"]) == ("ingest", "local", {"name": "cpu"})
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert deployment["schedules"][0]["active"] == "{{ $DUOTEMPO_INGEST_SCHEDULE }}"
