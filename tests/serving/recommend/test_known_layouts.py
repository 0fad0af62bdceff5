"""Each known layout, from a small file to a recommendation that the service answers."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from components.bundle.bundle import Bundle
from components.datasets.opened_files import InputFiles
from components.store.engine import make_engine
from serving.contract.responses import RecommendAnswer
from serving.http.app import make_app
from serving.runtime import Runtime
from tests.support import layout_files, more_layout_files
from tests.support.layout_files import LayoutCase
from tests.support.loading import Loaded, load
from tests.support.postgres import stored
from tests.support.toy_data import tiny_bundle
from tests.support.waiting import eventually

CASES: Mapping[str, LayoutCase] = layout_files.CASES | more_layout_files.CASES
NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def loads(database: str, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Loaded]:
    """What became of the files of each case, all of which are in one store."""
    engine = make_engine(database)
    loaded = {}
    for name, case in CASES.items():
        folder = tmp_path_factory.mktemp(name)
        for file, content in case.files.items():
            (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)
        inputs = InputFiles(unknown=[folder / file for file in case.files])
        loaded[name] = load(engine, inputs, source=name, now=NOW)
    engine.dispose()
    return loaded


@pytest.fixture(scope="module")
def service(
    database: str, loads: Mapping[str, Loaded], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """The service with a bundle of all stored items."""
    assert loads
    folder = tmp_path_factory.mktemp("bundles")
    bundle_of_store(database).write(folder / "bundle")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DUOTEMPO_DATABASE_URL", database)
        environment.setenv("DUOTEMPO_BUNDLES", str(folder))
        environment.setenv("DUOTEMPO_HOME", str(folder / "home"))
        with TestClient(make_app(Runtime()), base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
            eventually(lambda: client.get("/readyz").status_code == 200, 60)
            yield client


def bundle_of_store(database: str) -> Bundle:
    rows = stored(database, "SELECT item_id, title, category FROM items ORDER BY item_id")
    plain = tiny_bundle(len(rows))
    ids, titles, categories = (list(column) for column in zip(*rows, strict=True))
    items = plain.items
    for name, values in (("item_id", ids), ("title", titles), ("category", categories)):
        kind = pa.list_(pa.string()) if name == "category" else pa.string()
        items = items.set_column(items.column_names.index(name), name, pa.array(values, kind))
    return replace(plain, items=items)


@pytest.mark.parametrize("name", CASES)
def test_a_layout_is_read_as_it_is_meant(name: str, database: str, loads: Mapping[str, Loaded]) -> None:
    case, loaded = CASES[name], loads[name]
    assert loaded.opened.mapping.layout == case.layout
    assert not loaded.opened.questions
    assert not loaded.report.rejected
    assert loaded.judged.events.left_out == case.left_out
    events = stored(
        database,
        "SELECT user_id, item_id, event, value, occurred_at AT TIME ZONE 'UTC' FROM events WHERE source = %s",
        name,
    )
    assert {(*row, str(time).removesuffix("000")) for *row, time in events} == {
        (*row, time) for *row, time in case.events
    }
    assert len(events) == len(case.events)
    items = stored(database, "SELECT item_id, title, category FROM items WHERE item_id = ANY(%s)", list(case.items))
    assert {item: (title, categories) for item, title, categories in items} == case.items
    assert loaded.report.items_added == len(case.items)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.events])
def test_a_user_of_a_layout_gets_recommendations(name: str, service: TestClient) -> None:
    user = sorted(CASES[name].events)[0][0]
    seen = {item for case in CASES.values() for other, item, *_ in case.events if other == user}
    titles = {item: title for case in CASES.values() for item, (title, _) in case.items.items()}
    response = service.post("/recommend", json={"user_id": user, "k": 100})
    answer = RecommendAnswer.model_validate(response.json())
    assert answer.user_state == "known"
    assert {item.item_id: item.title for item in answer.items} == {
        item: title for item, title in titles.items() if item not in seen
    }


def test_no_two_cases_share_items() -> None:
    items = [item for case in CASES.values() for item in case.items]
    assert len(items) == len(set(items))
