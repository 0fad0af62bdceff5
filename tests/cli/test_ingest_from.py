"""`duotempo ingest --from` and `inspect --from`: names of the settings and addresses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.command_result import Answer, Run
from tests.support.postgres import emptied, stored
from tests.support.source_database import ShopDatabase, shop_database
from tests.support.web_server import Page, web_server

ORDERS = "SELECT customer AS user_id, product AS item_id, ordered_at AS timestamp, updated_at FROM orders"
CSV = b"user_id,item_id,timestamp\nu1,a,2026-01-05 12:00:00\nu2,b,2026-01-05 13:00:00\n"
PURCHASES = ("--map", "event=purchase,user_id=user_id,item_id=item_id,timestamp=timestamp")


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    with emptied(database) as engine:
        yield engine


@pytest.fixture
def shop(postgres_url: str) -> Iterator[ShopDatabase]:
    with shop_database(postgres_url, [(1, "u1", "a"), (2, "u2", "b"), (3, "u1", "b")]) as shop:
        yield shop


@pytest.fixture
def named(shop: ShopDatabase, tmp_path: Path) -> ShopDatabase:
    """The shop as the source `orders` of duotempo.toml."""
    (tmp_path / "duotempo.toml").write_text(
        f'[ingest.sources.orders]\naddress = "{shop.address}"\nquery = "{ORDERS}"\nwatermark = "updated_at"\n'
        'role = "events"\nmapping = "orders.toml"\n'
    )
    secrets = tmp_path / "home" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "source-orders").write_text(shop.password)
    return shop


def accepted(answer: Answer) -> int:
    assert answer.code == 0, answer.text
    [line] = [line for line in answer.out.splitlines() if " accepted " in line]
    return int(line.split("│")[-2])


def test_a_named_source_is_inspected_and_then_loaded_incrementally(
    duotempo: Run, engine: Engine, database: str, named: ShopDatabase, tmp_path: Path
) -> None:
    looked = duotempo("inspect", "--from", "orders")
    assert looked.code == 0 and "orders.toml is written" in looked.text
    mapping = tmp_path / "orders.toml"
    assert 'user_id = "user_id"' in mapping.read_text()
    asked = duotempo("ingest", "--from", "orders", DUOTEMPO_DATABASE_URL=database)
    assert (asked.code, 'event = { constant = "view" }' in looked.text) == (1, True)
    mapping.write_text(mapping.read_text().replace("[events]", '[events]\nevent = { constant = "purchase" }'))
    assert "would be accepted: 3 events" in duotempo("inspect", "--from", "orders").out
    assert accepted(duotempo("ingest", "--from", "orders", DUOTEMPO_DATABASE_URL=database)) == 3
    again = duotempo("ingest", "--from", "orders", DUOTEMPO_DATABASE_URL=database)
    assert (again.code, again.out.strip()) == (0, "orders: nothing new")
    named.order((4, "u3", "a"))
    assert accepted(duotempo("ingest", "--from", "orders", DUOTEMPO_DATABASE_URL=database)) == 1
    assert stored(database, "SELECT count(*), min(event), min(source) FROM events") == [(4, "purchase", "orders")]
    assert list((tmp_path / "home" / "ingest").iterdir()) == []


def test_a_query_is_loaded_from_an_address(
    duotempo: Run, engine: Engine, database: str, shop: ShopDatabase, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", shop.password)
    query = ("--from", shop.address, "--query", ORDERS, *PURCHASES)
    for rows in (3, 0):
        assert accepted(duotempo("ingest", *query, DUOTEMPO_DATABASE_URL=database)) == rows
    empty = ("--from", shop.address, "--query", f"{ORDERS} WHERE id > 9")
    assert "nothing new" in duotempo("ingest", *empty, DUOTEMPO_DATABASE_URL=database).out
    assert list((cache / "ingest").iterdir()) == []


def test_a_page_and_a_file_are_loaded_from_their_addresses(
    duotempo: Run, engine: Engine, database: str, tmp_path: Path
) -> None:
    with web_server({"/export/orders.csv": Page(CSV)}) as server:
        page = ("--from", f"{server.url}/export/orders.csv", *PURCHASES)
        assert accepted(duotempo("ingest", *page, DUOTEMPO_DATABASE_URL=database)) == 2
        missing = duotempo("ingest", "--from", f"{server.url}/none.csv?key=s3cret")
    assert missing.code == 1 and "does not exist" in missing.text and "s3cret" not in missing.text
    (tmp_path / "orders.csv").write_bytes(CSV)
    file = ("--from", (tmp_path / "orders.csv").as_uri(), *PURCHASES)
    assert accepted(duotempo("ingest", *file, DUOTEMPO_DATABASE_URL=database)) == 0
    assert stored(database, "SELECT DISTINCT source FROM events") == [("orders",)]


def test_a_password_in_an_address_is_not_printed(duotempo: Run, shop: ShopDatabase) -> None:
    address = shop.address.replace("@", ":s3cret@")
    answer = duotempo("inspect", "--from", address, "--query", ORDERS)
    assert answer.code == 1 and "password authentication failed" in answer.text and "s3cret" not in answer.text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--from", "orders"), 1, "there is no source 'orders': describe it in [ingest.sources.orders]"),
        (("--from", "https://x/y.csv", "z.csv"), 2, "--from and files exclude each other"),
        (("--query", "SELECT 1", "z.csv"), 2, "--query needs --from postgresql://"),
        (("--from", "https://x/y.csv", "--query", "SELECT 1"), 1, "query is for databases"),
    ],
)
def test_what_does_not_go_together_is_an_error(
    duotempo: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    answer = duotempo("inspect", *arguments)
    assert (answer.code, message in answer.text) == (code, True), answer.text
