"""New items after the training: recommended by their texts within seconds, by every version of a Bento."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import httpx
import numpy as np
import psycopg
import pyarrow as pa
import pytest
from scipy import sparse

from components.bundle.bundle import Bundle
from components.embedding.encoder import MULTILINGUAL, make_encoder
from components.fusion.inputs import whiten
from components.settings import EmbeddingSettings
from components.store.engine import make_engine
from components.store.variants import set_serving_champion, start_canary
from serving.contract.responses import Ready, RecommendAnswer, SimilarAnswer
from tests.support.service import ROOT, admin_key, bento, wait_until_ready
from tests.support.service_client import ids, recommend
from tests.support.toy_data import load, summing_tower, tiny_bundle
from tests.support.waiting import eventually

TEXTS = {
    "kitchen": ["Kettle for tea", "Frying pan of iron", "Bread knife", "Rice cooker", "Soup bowl", "Coffee grinder"],
    "music": ["Electric guitar", "Grand piano", "Violin bow", "Drum kit", "Trumpet mute", "Sheet music for cello"],
}
ITEMS = {f"{kind}-{n}": (kind, title) for kind, titles in TEXTS.items() for n, title in enumerate(titles)}


@cache
def two_category_bundle(version: str) -> Bundle:
    """A bundle of six kitchen and six music items, with projected vectors of the multilingual encoder."""
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
        tower=summing_tower(matrix.shape[1]),
        neighbours=sparse.csr_matrix((len(ITEMS), len(ITEMS)), dtype=np.float32),
        manifest=plain.manifest
        | {
            "encoder": encoder.key,
            "dimension": encoder.dimension,
            "model_version": version,
            "mixture": {"collaborative": 0.0, "popularity": 0.01, "recent": 0.01},
        },
    )


@dataclass
class Encoder:
    """The resident encoder process of a database; each test starts or stops it as needed."""

    database: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the process, unless it runs."""
        if self.process is None:
            settings = {"DUOTEMPO_DATABASE_URL": self.database, "DUOTEMPO_EMBEDDING__MODEL": MULTILINGUAL}
            command = [sys.executable, "-m", "infra.services.encoder"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings)

    def stop(self) -> None:
        """Kills the process, if it runs."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def encoder(database: str) -> Iterator[Encoder]:
    encoder = Encoder(database)
    yield encoder
    encoder.stop()


@pytest.fixture(scope="module")
def service(database: str, admin: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Bento with two versions of the bundle."""
    folder = tmp_path_factory.mktemp("new-items")
    for version in ("1", "2"):
        two_category_bundle(version).write(folder / version)
    (folder / "champion").write_text("1")
    load(database, two_category_bundle("1"), {"cook": [(f"kitchen-{n}", "like", 1.0 - n / 10) for n in range(3)]})
    with bento(folder, database, DUOTEMPO_SERVING__ENCODER_PATIENCE_SECONDS="1") as address:
        wait_until_ready(address)
        yield address


@pytest.fixture(scope="module")
def admin(database: str) -> dict[str, str]:
    return admin_key(database)


@pytest.fixture(scope="module")
def client(service: str, admin: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service, headers=admin, timeout=30) as client:
        yield client


def add(client: httpx.Client, title: str, category: str, item_id: str | None = None) -> str:
    item_id = item_id or f"new-{uuid.uuid4().hex[:8]}"
    answer = client.post("/items", json={"items": [{"item_id": item_id, "title": title, "category": [category]}]})
    assert answer.json() == {"accepted": 1, "rejected": [], "dropped": 0}
    return item_id


def notes(client: httpx.Client) -> list[str]:
    return Ready.model_validate(client.get("/readyz").json()).notes


def waiting(client: httpx.Client) -> list[float]:
    lines = client.get("/metrics").text.splitlines()
    return [float(line.split()[-1]) for line in lines if line.startswith("duotempo_items_waiting{")]


def full_list(client: httpx.Client, user: str) -> RecommendAnswer:
    return recommend(client, user, k=50)


def test_new_items_without_an_encoder_are_reported_and_join_with_it(client: httpx.Client, encoder: Encoder) -> None:
    encoder.stop()
    pan, flute = add(client, "Wok of steel", "kitchen"), add(client, "Silver flute", "music")
    eventually(lambda: any("new items that wait for an encoder: 2" in note for note in notes(client)))
    assert waiting(client) == [2.0, 2.0]
    assert not {pan, flute} & set(ids(full_list(client, "cook")))
    encoder.start()
    eventually(lambda: {pan, flute} <= set(ids(full_list(client, "cook"))))
    found = ids(full_list(client, "cook"))
    assert found.index(pan) < found.index(flute)
    eventually(lambda: waiting(client) == [0.0, 0.0])
    assert notes(client) == []


def test_every_version_recommends_a_new_item(client: httpx.Client, database: str, encoder: Encoder) -> None:
    engine = make_engine(database)
    start_canary(engine, "1", "2", 0.5)
    encoder.start()
    eventually(lambda: encoder_is_up(database))
    spoon = add(client, "Wooden spoon for the soup", "kitchen")
    answered: set[str] = set()

    def both_have_answered() -> bool:
        for n in range(20):
            answer = full_list(client, f"visitor-{n}")
            if spoon in ids(answer):
                answered.add(answer.model_version)
        return answered == {"1", "2"}

    eventually(both_have_answered, 60)
    set_serving_champion(engine, "1")
    engine.dispose()
    cook = full_list(client, "cook")
    music = {item.item_id for item in cook.items if item.category == ["music"]}
    assert ids(cook).index(spoon) < min(ids(cook).index(item) for item in music)
    similar = SimilarAnswer.model_validate(client.post("/similar", json={"item_id": spoon, "k": 3}).json())
    assert {name for item in similar.items for name in item.category} == {"kitchen"}
    filtered = recommend(client, "cook", k=50, filters={"category_in": ["music"]})
    assert spoon not in ids(filtered)


def test_events_and_text_changes_of_a_new_item_count(client: httpx.Client, encoder: Encoder) -> None:
    encoder.start()
    item = add(client, "Bass drum", "music")
    listener = f"listener-{uuid.uuid4().hex}"
    eventually(lambda: item in ids(full_list(client, "cook")))
    event = {"user_id": listener, "item_id": item, "event": "purchase"}
    assert client.post("/feedback", json={"events": [event]}).json()["accepted"] == 1
    after = full_list(client, listener)
    assert item not in ids(after)
    assert after.items[0].category == ["music"]
    assert after.interest.long[:1] == ["music"]
    before = ids(full_list(client, "cook")).index(item)
    add(client, "Ladle for soup in the kitchen", "kitchen", item)
    eventually(lambda: ids(full_list(client, "cook")).index(item) < before)
    assert recommend(client, "cook", k=50, filters={"category_in": ["kitchen"]}, explain=True).items
    assert item not in ids(recommend(client, "cook", k=50, filters={"category_in": ["music"]}))
    add(client, "Ladle for soup in the kitchen", "tools", item)
    assert ids(recommend(client, "cook", k=50, filters={"category_in": ["tools"]})) == [item]
    assert item not in ids(recommend(client, "cook", k=50, filters={"category_in": ["kitchen"]}))


def test_events_before_the_vector_exclude_the_item(client: httpx.Client, encoder: Encoder) -> None:
    encoder.stop()
    item, user = add(client, "Flute case", "music"), f"early-{uuid.uuid4().hex}"
    event = {"user_id": user, "item_id": item, "event": "hide"}
    assert client.post("/feedback", json={"events": [event]}).json()["accepted"] == 1
    full_list(client, user)
    encoder.start()
    eventually(lambda: item in ids(full_list(client, "cook")))
    assert item not in ids(full_list(client, user))


def test_a_deleted_or_unavailable_new_item_is_not_shown(client: httpx.Client, database: str, encoder: Encoder) -> None:
    encoder.start()
    item = add(client, "Tea strainer", "kitchen")
    with psycopg.connect(database, autocommit=True) as connection:
        eventually(lambda: item in ids(full_list(client, "cook")))
        connection.execute("UPDATE items SET available = false WHERE item_id = %s", [item])
        eventually(lambda: item not in ids(full_list(client, "cook")))
        connection.execute("UPDATE items SET available = true WHERE item_id = %s", [item])
        eventually(lambda: item in ids(full_list(client, "cook")))
        connection.execute("DELETE FROM items WHERE item_id = %s", [item])
        eventually(lambda: item not in ids(full_list(client, "cook")))
        add(client, "Tea strainer", "kitchen", item)
        eventually(lambda: item in ids(full_list(client, "cook")))


def test_a_trained_item_can_be_deleted_and_added_again(client: httpx.Client, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM items WHERE item_id = 'music-5'")
        eventually(lambda: "music-5" not in ids(full_list(client, "cook")))
    add(client, "Stand for cooks", "stands", "music-5")
    (found,) = recommend(client, "cook", k=50, filters={"category_in": ["stands"]}).items
    assert (found.item_id, found.title) == ("music-5", "Stand for cooks")
    add(client, "Sheet music for cello", "music", "music-5")
    assert "music-5" in ids(recommend(client, "cook", k=50, filters={"category_in": ["music"]}))


def test_bulk_inserted_items_join(client: httpx.Client, database: str, encoder: Encoder) -> None:
    encoder.start()
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO items (item_id, title, category, content_hash)"
            " SELECT 'bulk-' || n, 'Spatula number ' || n, ARRAY['bulk'], n::text FROM generate_series(1, 300) AS n"
        )
        connection.commit()
        options: dict[str, object] = {"k": 100, "filters": {"category_in": ["bulk"]}}
        eventually(lambda: len(recommend(client, "cook", **options).items) == 100)
        eventually(lambda: waiting(client) == [0.0, 0.0])
        connection.execute("DELETE FROM items WHERE item_id LIKE 'bulk-%'")
        connection.commit()
        eventually(lambda: not recommend(client, "cook", **options).items)


def test_a_restarted_service_has_new_items_at_start(
    client: httpx.Client, database: str, encoder: Encoder, tmp_path: Path
) -> None:
    encoder.start()
    item = add(client, "Cello strings", "music")
    eventually(lambda: item in ids(full_list(client, "cook")))
    two_category_bundle("1").write(tmp_path / "1")
    with bento(tmp_path, database) as address, httpx.Client(base_url=address, timeout=30) as other:
        wait_until_ready(address)
        assert item in ids(full_list(other, "cook"))


def encoder_is_up(database: str) -> bool:
    listening = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'duotempo encoder'"
    with psycopg.connect(database) as connection:
        return connection.execute(listening + " AND datname = current_database()").fetchone() is not None
