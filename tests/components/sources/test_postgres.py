"""Rows of a shop's database: all of them, the new ones, late ones, and what is wrong."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from components.sources.fetch import fetch
from components.sources.source import Fetched, Source, SourceError, SourceUnavailable
from tests.support.ports import free_port
from tests.support.source_database import ShopDatabase, shop_database

ORDERS = "SELECT * FROM orders"


@pytest.fixture
def shop(postgres_url: str) -> Iterator[ShopDatabase]:
    with shop_database(postgres_url, [(3, "u3", "c"), (1, "u1", "a"), (2, "u2", "b")]) as shop:
        yield shop


def source(shop: ShopDatabase, query: str = ORDERS, watermark: str | None = "updated_at", overlap: float = 0) -> Source:
    return Source("orders", shop.address, query, watermark, overlap, shop.password)


def ids(fetched: Fetched) -> list[int]:
    assert fetched.path is not None
    with fetched.path.open(encoding="utf-8", newline="") as stream:
        return [int(row["id"]) for row in csv.DictReader(stream)]


def test_all_rows_come_first_and_then_only_new_ones(shop: ShopDatabase, tmp_path: Path) -> None:
    first = fetch(source(shop), tmp_path)
    assert (ids(first), first.rows, first.watermark) == ([1, 2, 3], 3, "2026-01-05 15:00:00+00")
    assert fetch(source(shop), tmp_path, first.watermark) == Fetched(None, first.watermark)
    shop.order((4, "u4", "d"))
    second = fetch(source(shop), tmp_path, first.watermark)
    assert (ids(second), second.watermark) == ([3, 4], "2026-01-05 16:00:00+00")


@pytest.mark.parametrize(("column", "overlap"), [("updated_at", 2 * 3600), ("id", 2)])
def test_the_overlap_reads_late_rows(shop: ShopDatabase, tmp_path: Path, column: str, overlap: float) -> None:
    shop.order((6, "u6", "f"))
    first = fetch(source(shop, watermark=column, overlap=overlap), tmp_path)
    shop.order((7, "u7", "g"), (5, "late", "e"))
    assert ids(fetch(source(shop, watermark=column), tmp_path, first.watermark)) == [6, 7]
    assert ids(fetch(source(shop, watermark=column, overlap=overlap), tmp_path, first.watermark)) == [5, 6, 7]


def test_without_a_watermark_all_rows_come_each_time(shop: ShopDatabase, tmp_path: Path) -> None:
    whole = source(shop, f"{ORDERS} ORDER BY id -- all of them", watermark=None)
    assert [ids(fetch(whole, tmp_path)) for _ in range(2)] == [[1, 2, 3], [1, 2, 3]]
    assert fetch(source(shop, f"{ORDERS} WHERE id > 9;", watermark=None), tmp_path).path is None


def test_texts_come_as_they_are_and_percent_and_braces_in_a_query_mean_nothing(
    shop: ShopDatabase, tmp_path: Path
) -> None:
    shop.order((9, 'say "hi", {you}\nand %s', "d'or"))
    fetched = fetch(source(shop, "SELECT * FROM orders WHERE customer LIKE 'say%{you}%'"), tmp_path)
    assert fetched.path is not None
    with fetched.path.open(encoding="utf-8", newline="") as stream:
        [row] = csv.DictReader(stream)
    assert (row["customer"], row["product"]) == ('say "hi", {you}\nand %s', "d'or")


@pytest.mark.parametrize("watermark", ["'; DROP TABLE orders; --", "2026-01-05') OR (true"])
def test_a_watermark_is_a_value_and_never_a_statement(shop: ShopDatabase, tmp_path: Path, watermark: str) -> None:
    with pytest.raises(SourceError, match="invalid input syntax"):
        fetch(source(shop), tmp_path, watermark)
    assert ids(fetch(source(shop), tmp_path)) == [1, 2, 3]


def test_a_query_cannot_write(shop: ShopDatabase, tmp_path: Path) -> None:
    shop.run("CREATE FUNCTION wipe() RETURNS bigint LANGUAGE sql AS 'DELETE FROM orders RETURNING id'")
    owner = Source("orders", shop.url, "SELECT wipe()")
    with pytest.raises(SourceError, match="read-only transaction"):
        fetch(owner, tmp_path)
    assert ids(fetch(source(shop), tmp_path)) == [1, 2, 3]


def test_what_is_wrong_is_said_without_the_secret(shop: ShopDatabase, tmp_path: Path) -> None:
    wrong = {
        "no column changed_at, which is its watermark; it has id, customer, product": source(
            shop, watermark="changed_at"
        ),
        'relation "order_lines" does not exist': source(shop, "SELECT * FROM order_lines"),
        "overlap needs a column of times or numbers, and customer is text": source(
            shop, watermark="customer", overlap=1
        ),
        "password authentication failed": replace(source(shop), secret="s3cret"),
        "needs a query": source(shop, ""),
    }
    for message, described in wrong.items():
        with pytest.raises(SourceError, match=message) as caught:
            fetch(described, tmp_path)
        assert "s3cret" not in str(caught.value) and shop.password not in str(caught.value)
        assert not isinstance(caught.value, SourceUnavailable)


def test_rows_without_a_watermark_are_an_error(shop: ShopDatabase, tmp_path: Path) -> None:
    shop.run("UPDATE orders SET updated_at = NULL WHERE id = 2")
    with pytest.raises(SourceError, match=r"1 rows have no updated_at .* coalesce\(updated_at, created_at\)"):
        fetch(source(shop), tmp_path)


def test_a_server_that_is_away_may_be_tried_again(tmp_path: Path) -> None:
    address = f"postgresql://me:s3cret@127.0.0.1:{free_port()}/shop"
    with pytest.raises(SourceUnavailable, match=r"me@127\.0\.0\.1:\d+/shop.*check its host") as caught:
        fetch(Source("orders", address, ORDERS), tmp_path)
    assert "s3cret" not in str(caught.value)
