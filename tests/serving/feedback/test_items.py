"""POST /items changes the given fields only."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.support.postgres import stored
from tests.support.service import RunningService

COLUMNS = "title, description, category, available, published_at IS NOT NULL, image_uri, creator_id, attributes"
FULL = {
    "title": "A wok", "description": "Of steel.", "category": ["kitchen"], "available": True, "published_at": 1e9,
    "image_uri": "wok.png", "creator_id": " Ida ", "attributes": {"price": 12.5, "brand": "Lux"},
}  # fmt: skip
STORED = ("A wok", "Of steel.", ["kitchen"], True, True, "wok.png", "Ida", {"price": 12.5, "brand": "Lux"})


class Shop:
    """Items of one test."""

    def __init__(self, client: httpx.Client, service: RunningService, admin: Mapping[str, str]) -> None:
        self.client, self.service, self.admin = client, service, admin
        self.item = f"item-{uuid.uuid4().hex}"

    def post(self, *rows: dict[str, Any]) -> dict[str, Any]:
        items = [{"item_id": self.item} | row for row in rows]
        answer = self.client.post("/items", json={"items": items}, headers=self.admin)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def stored(self, columns: str = COLUMNS) -> tuple[object, ...]:
        [row] = stored(self.service.database, f"SELECT {columns} FROM items WHERE item_id = %s", self.item)
        return row


@pytest.fixture
def shop(client: httpx.Client, service: RunningService, admin: Mapping[str, str]) -> Shop:
    return Shop(client, service, admin)


def test_fields_that_are_left_out_keep_their_values(shop: Shop) -> None:
    shop.post(FULL)
    assert shop.stored() == STORED
    shop.post({"available": False})
    assert shop.stored() == (*STORED[:3], False, *STORED[4:])
    shop.post({"available": True}, {"title": "second"})
    assert shop.stored() == STORED, "of two rows of one item the first counts"
    updated = shop.stored("updated_at")
    shop.post({})
    assert shop.stored("updated_at") == updated


def test_a_new_item_has_defaults(shop: Shop) -> None:
    shop.post({"title": "A wok"})
    assert shop.stored() == ("A wok", "", [], True, False, None, None, {})


def test_null_and_empty_values_empty_a_field(shop: Shop) -> None:
    shop.post(FULL | {"available": False})
    shop.post(dict.fromkeys(FULL))
    assert shop.stored() == ("", "", [], True, False, None, None, {})
    shop.post(FULL)
    shop.post({"title": "", "category": [], "attributes": {}, "creator_id": ""})
    assert shop.stored() == ("", "Of steel.", [], True, True, "wok.png", None, {})


def test_attributes_are_added_to_the_stored_ones(shop: Shop) -> None:
    shop.post(FULL)
    shop.post({"attributes": {"price": 9, "colour": "black", "brand": None}})
    assert shop.stored("attributes") == ({"price": 9, "brand": "Lux", "colour": "black"},)
    shop.post({"attributes": {"price": None}})
    assert shop.stored("attributes") == ({"price": 9, "brand": "Lux", "colour": "black"},)


def test_bad_rows_are_rejected_one_by_one(shop: Shop) -> None:
    answer = shop.post(
        {"attributes": {"tags": ["a"]}},
        {"creator_id": "a\x07b"},
        {"attributes": "red"},
        {"title": "good"},
        {"attributes": {f"a{n}": n for n in range(51)}},
    )
    assert answer["accepted"] == 1
    assert [(row["index"], row["reason"].split(": ")[0]) for row in answer["rejected"]] == [
        (0, "bad_attributes"), (1, "bad_creator_id"), (2, "bad_attributes"), (4, "duplicate_item"),
    ]  # fmt: skip
    assert shop.stored("title") == ("good",), "the fields are those of the accepted row"


def test_attributes_have_a_limit_with_the_stored_ones(shop: Shop) -> None:
    shop.post({"attributes": {f"a{n}": n for n in range(50)}})
    answer = shop.post({"item_id": f"{shop.item}-2"}, {"attributes": {"b": 1}})
    [rejected] = answer["rejected"]
    assert rejected == {
        "index": 1, "reason": "bad_attributes: with the stored ones there are 51 names, more than 50",
    }  # fmt: skip
    assert answer["accepted"] == 1


def test_the_search_shows_creator_and_attributes(shop: Shop) -> None:
    title = f"wok {shop.item}"
    shop.post(FULL | {"title": title})
    [found] = shop.client.get("/items", params={"query": title}).json()["items"]
    assert (found["creator_id"], found["attributes"]) == ("Ida", {"price": 12.5, "brand": "Lux"})


def test_the_contract_describes_the_fields(shop: Shop) -> None:
    schema = json.dumps(shop.client.get("/openapi.json").json())
    for name in ("creator_id", "attributes", "keeps its value in the catalogue"):
        assert name in schema
