"""Items that come after the training: recommended by their texts within seconds, by every version of the Bento."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import psycopg
import pyarrow as pa
import pytest

from components.bundle import Bundle
from components.embedding.encoder import MULTILINGUAL, make_encoder
from components.fusion.catalogue import whiten
from components.settings import EmbeddingSettings
from components.store.engine import make_engine
from components.store.variants import begin_canary, put_champion
from serving.answers import Ready, RecommendAnswer, SimilarAnswer
from tests.support.calls import ids, recommend
from tests.support.service import ROOT, bento, wait_until_ready
from tests.support.toy_data import adding_tower, load, tiny_bundle

PROMISED = 10.0
"""Seconds from the answer of POST /items to the first list with the item."""
PATIENCE = 60.0
TEXTS = {
    "kitchen": ["Kettle for tea", "Frying pan of iron", "Bread knife", "Rice cooker", "Soup bowl", "Coffee grinder"],
    "music": ["Electric guitar", "Grand piano", "Violin bow", "Drum kit", "Trumpet mute", "Sheet music for cello"],
}
ITEMS = {f"{kind}-{n}": (kind, title) for kind, titles in TEXTS.items() for n, title in enumerate(titles)}


def two_worlds(version: str) -> Bundle:
    """Twelve items of the kitchen and of music, whose vectors are the multilingual encoder's, projected."""
    encoder = make_encoder(EmbeddingSettings(model=MULTILINGUAL))
    plain = tiny_bundle(len(ITEMS))
    texts = encoder.encode([f"{title}. {kind}" for kind, title in ITEMS.values()])
    mean, matrix = whiten(texts)
    columns = {
        "item_id": list(ITEMS),
        "title": [title for _, title in ITEMS.values()],
        "category": [[kind] for kind, _ in ITEMS.values()],
        **{name: plain.items[name] for name in ("available", "published_at", "popularity", "recent", "trained")},
    }
    return replace(
        plain,
        items=pa.table(columns),
        vectors=((texts - mean) @ matrix).astype(np.float32),
        texts=texts,
        text_mean=mean,
        text_matrix=matrix,
        tower=adding_tower(matrix.shape[1]),
        neighbours=plain.neighbours * 0,
        manifest=plain.manifest
        | {
            "encoder": encoder.key,
            "dimension": encoder.dimension,
            "model_version": version,
            "mixture": {"collaborative": 0.0, "popularity": 0.01, "recent": 0.01},
        },
    )


@contextmanager
def resident(database: str) -> Iterator[None]:
    """A running encoder."""
    environment = os.environ | {"DUOTEMPO_DATABASE_URL": database, "DUOTEMPO_EMBEDDING__MODEL": MULTILINGUAL}
    process = subprocess.Popen([sys.executable, "-m", "infra.encoder"], cwd=ROOT, env=environment)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def service(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Bento with two versions of the two worlds."""
    folder = tmp_path_factory.mktemp("new-items")
    for version in ("1", "2"):
        two_worlds(version).write(folder / version)
    (folder / "champion").write_text("1")
    load(database, two_worlds("1"), {"cook": [(f"kitchen-{n}", "like", 1.0 - n / 10) for n in range(3)]})
    with bento(folder, database) as address:
        wait_until_ready(address)
        yield address


@pytest.fixture
def client(service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service, timeout=30) as client:
        yield client


def soon(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.05)


def add(client: httpx.Client, title: str, category: str, item_id: str | None = None) -> str:
    item_id = item_id or f"new-{uuid.uuid4().hex[:8]}"
    answer = client.post("/items", json={"items": [{"item_id": item_id, "title": title, "category": [category]}]})
    assert answer.json() == {"accepted": 1, "rejected": []}
    return item_id


def notes(client: httpx.Client) -> list[str]:
    return Ready.model_validate(client.get("/readyz").json()).notes


def waiting(client: httpx.Client) -> list[float]:
    lines = client.get("/metrics").text.splitlines()
    return [float(line.split()[-1]) for line in lines if line.startswith("duotempo_items_waiting{")]


def everything(client: httpx.Client, user: str) -> RecommendAnswer:
    return recommend(client, user, k=50)


def test_items_wait_visibly_while_no_encoder_is_there_and_come_with_it(client: httpx.Client, database: str) -> None:
    pan, flute = add(client, "Wok of steel", "kitchen"), add(client, "Silver flute", "music")
    soon(lambda: any("new items that wait for an encoder: 2" in note for note in notes(client)))
    assert waiting(client) == [2.0, 2.0]
    assert not {pan, flute} & set(ids(everything(client, "cook")))
    with resident(database):
        soon(lambda: {pan, flute} <= set(ids(everything(client, "cook"))))
        found = ids(everything(client, "cook"))
        assert found.index(pan) < found.index(flute)
    assert waiting(client) == [0.0, 0.0]
    assert notes(client) == []


def test_a_new_item_is_recommended_within_what_is_promised_by_every_version(
    client: httpx.Client, database: str
) -> None:
    engine = make_engine(database)
    begin_canary(engine, "1", "2", 0.5)
    with resident(database):
        soon(lambda: encoder_is_up(database))
        spoon = add(client, "Wooden spoon for the soup", "kitchen")
        answered: set[str] = set()

        def by_both() -> bool:
            for n in range(20):
                answer = everything(client, f"visitor-{n}")
                if spoon in ids(answer):
                    answered.add(answer.model_version)
            return answered == {"1", "2"}

        soon(by_both, PROMISED)
        put_champion(engine, "1")
        engine.dispose()
        cook = everything(client, "cook")
        music = {item.item_id for item in cook.items if item.category == ["music"]}
        assert ids(cook).index(spoon) < min(ids(cook).index(item) for item in music)
        alike = SimilarAnswer.model_validate(client.post("/similar", json={"item_id": spoon, "k": 3}).json())
        assert {name for item in alike.items for name in item.category} == {"kitchen"}
        filtered = recommend(client, "cook", k=50, filters={"category_in": ["music"]})
        assert spoon not in ids(filtered)


def test_what_happens_to_a_new_item_counts_and_a_new_text_moves_it(client: httpx.Client, database: str) -> None:
    with resident(database):
        item = add(client, "Bass drum", "music")
        listener = f"listener-{uuid.uuid4().hex}"
        soon(lambda: item in ids(everything(client, "cook")))
        event = {"user_id": listener, "item_id": item, "event": "purchase"}
        assert client.post("/feedback", json={"events": [event]}).json()["accepted"] == 1
        after = everything(client, listener)
        assert item not in ids(after)
        assert after.items[0].category == ["music"]
        assert after.interest.long[:1] == ["music"]
        before = ids(everything(client, "cook")).index(item)
        add(client, "Ladle for soup in the kitchen", "kitchen", item)
        soon(lambda: ids(everything(client, "cook")).index(item) < before)
        assert recommend(client, "cook", k=50, filters={"category_in": ["kitchen"]}, explain=True).items
        assert item not in ids(recommend(client, "cook", k=50, filters={"category_in": ["music"]}))


def test_an_item_met_before_it_could_be_recommended_never_is(client: httpx.Client, database: str) -> None:
    item, user = add(client, "Flute case", "music"), f"early-{uuid.uuid4().hex}"
    event = {"user_id": user, "item_id": item, "event": "hide"}
    assert client.post("/feedback", json={"events": [event]}).json()["accepted"] == 1
    everything(client, user)
    with resident(database):
        soon(lambda: item in ids(everything(client, "cook")))
        assert item not in ids(everything(client, user))


def test_a_new_item_goes_when_it_is_deleted_or_cannot_be_had(client: httpx.Client, database: str) -> None:
    item = add(client, "Tea strainer", "kitchen")
    with resident(database), psycopg.connect(database, autocommit=True) as connection:
        soon(lambda: item in ids(everything(client, "cook")))
        connection.execute("UPDATE items SET available = false WHERE item_id = %s", [item])
        soon(lambda: item not in ids(everything(client, "cook")))
        connection.execute("UPDATE items SET available = true WHERE item_id = %s", [item])
        soon(lambda: item in ids(everything(client, "cook")))
        connection.execute("DELETE FROM items WHERE item_id = %s", [item])
        soon(lambda: item not in ids(everything(client, "cook")))
        add(client, "Tea strainer", "kitchen", item)
        soon(lambda: item in ids(everything(client, "cook")))


def test_many_items_of_another_writer_come_together(client: httpx.Client, database: str) -> None:
    with resident(database), psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO items (item_id, title, category, content_hash)"
            " SELECT 'bulk-' || n, 'Spatula number ' || n, ARRAY['bulk'], n::text FROM generate_series(1, 300) AS n"
        )
        connection.commit()
        asked = {"k": 100, "filters": {"category_in": ["bulk"]}}
        soon(lambda: len(recommend(client, "cook", **asked).items) == 100)
        soon(lambda: waiting(client) == [0.0, 0.0])
        connection.execute("DELETE FROM items WHERE item_id LIKE 'bulk-%'")
        connection.commit()
        soon(lambda: not recommend(client, "cook", **asked).items)


def test_a_restarted_service_has_them_at_once(client: httpx.Client, database: str, tmp_path: Path) -> None:
    with resident(database):
        item = add(client, "Cello strings", "music")
        soon(lambda: item in ids(everything(client, "cook")))
    two_worlds("1").write(tmp_path / "1")
    with bento(tmp_path, database) as address, httpx.Client(base_url=address, timeout=30) as other:
        wait_until_ready(address)
        assert item in ids(everything(other, "cook"))


def encoder_is_up(database: str) -> bool:
    listening = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'duotempo encoder'"
    with psycopg.connect(database) as connection:
        return connection.execute(listening + " AND datname = current_database()").fetchone() is not None
