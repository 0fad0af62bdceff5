"""Fuzzing: valid and invalid requests generated from the OpenAPI document, and malformed bodies: no server errors.

DUOTEMPO_TEST_BODIES sets their number, a few hundred by default; --log-level=INFO -rP prints response counts.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.core.result import Ok

from components.core.columns import EVENTS
from components.store.engine import make_engine
from components.store.keys import create_key
from serving.contract.responses import ErrorAnswer
from tests.support.service import HISTORIES, RunningService, bento, wait_until_ready
from tests.support.service_client import POSTS
from tests.support.toy_data import NAMES, chessboard, load

BODIES = int(os.environ.get("DUOTEMPO_TEST_BODIES", "400"))
FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
REFUSALS = {400, 401, 403, 404, 413, 415, 422}
"""Statuses of refused requests."""
log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def key(database: str) -> str:
    """A key with all scopes, created before the service, which reads the keys at start."""
    engine = make_engine(database)
    with engine.begin() as connection:
        _, key = create_key(connection, "the fuzzer", ["recommend", "feedback", "admin"])
    engine.dispose()
    return key


@pytest.fixture(scope="module")
def service(database: str, key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service of this module's own, as users and items are deleted here."""
    place = tmp_path_factory.mktemp("fuzz")
    chessboard().write(place / "bundle")
    load(database, chessboard(), HISTORIES)
    with bento(place, database) as address:
        wait_until_ready(address)
        yield RunningService(address, database)


@pytest.fixture(scope="module")
def session(service: RunningService, key: str) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        yield session


@pytest.mark.timeout(3600)
def test_generated_requests_cause_no_server_error(service: RunningService, session: requests.Session) -> None:
    document = schemathesis.openapi.from_url(f"{service.address}/openapi.json")
    found = list(document.get_all_operations())
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    assert len(operations) == len(found)
    requested: Counter[str] = Counter()
    answered: Counter[int] = Counter()

    @settings(FUZZ, max_examples=BODIES)
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(operations))
        mode = data.draw(st.sampled_from(GenerationMode))
        case = data.draw(operation.as_strategy(mode))
        response = case.call(session=session, timeout=60)
        case.validate_response(response, checks=CHECKS)
        if response.status_code != 200:
            assert response.status_code in REFUSALS, response.text
            ErrorAnswer.model_validate(response.json())
        requested[operation.label] += 1
        answered[response.status_code] += 1

    ask()
    log.info("%d requests: %s; answers: %s", requested.total(), dict(requested), dict(answered))
    assert {operation.label for operation in operations} == set(requested)
    assert {200, 422} <= set(answered)
    assert session.get(f"{service.address}/readyz", timeout=60).status_code == 200


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
ids = st.sampled_from(["bella", *NAMES[:3]]) | st.text(max_size=12)
kinds = st.sampled_from(EVENTS) | st.text(max_size=5)


def objects(*required: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the required fields, and objects with missing or arbitrary ones."""
    more = {name: value for name, value in fields.items() if name not in required}
    whole = st.fixed_dictionaries({name: fields[name] for name in required}, optional=more)
    return whole | st.fixed_dictionaries({}, optional={name: value | anything for name, value in fields.items()})


bodies = {
    "/recommend": objects(
        "user_id",
        user_id=ids,
        k=st.integers(-1, 120),
        context=st.lists(objects("item_id", item_id=ids, event=kinds, timestamp=st.floats()), max_size=3),
        filters=objects(category_in=st.lists(ids), category_out=st.lists(ids), exclude_items=st.lists(ids)),
        strategy=st.sampled_from(["content", "collaborative", "hybrid"]),
        diversity=st.floats(0, 1),
        explain=st.booleans(),
    ),
    "/feedback": objects(
        "events",
        events=st.lists(
            objects(
                "user_id", "item_id", "event",
                user_id=ids, item_id=ids, event=kinds, event_id=ids, value=st.floats(), text=st.text(), request_id=ids,
                timestamp=st.floats() | st.integers() | st.datetimes().map(str),
            ),
            max_size=3,
        )
    ),
    "/similar": objects("item_id", item_id=ids, k=st.integers(-1, 120)),
    "/items": objects(
        "items",
        items=st.lists(
            objects(
                "item_id",
                item_id=st.text(min_size=1).map(lambda text: f"fuzz-{text}"), title=st.text(), description=st.text(),
                category=st.lists(st.text()), available=st.booleans(), image_uri=st.text(),
                published_at=st.floats() | st.integers() | st.datetimes().map(str), creator_id=ids,
                attributes=st.dictionaries(st.sampled_from(["price", "brand"]) | st.text(), st.floats() | anything),
            ),
            max_size=3,
        )
    ),
}  # fmt: skip


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("path", POSTS)
def test_fuzzed_bodies_cause_no_server_error(service: RunningService, session: requests.Session, path: str) -> None:
    """Bodies with nearly valid fields, arbitrary JSON, truncated JSON and bytes."""
    answered: Counter[int] = Counter()
    as_json = (bodies[path] | anything).map(lambda body: json.dumps(body).encode())
    cut = as_json.flatmap(lambda content: st.integers(0, len(content)).map(lambda end: content[:end]))

    @settings(FUZZ, max_examples=BODIES // 2)
    @given(as_json | cut | st.binary(max_size=200))
    def post(content: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        response = session.post(f"{service.address}{path}", content, headers=headers, timeout=60)
        answered[response.status_code] += 1
        if response.status_code != 200:
            assert response.status_code in REFUSALS, (content, response.text)
            ErrorAnswer.model_validate(response.json())

    post()
    log.info("%d bodies to %s; answers: %s", answered.total(), path, dict(answered))
    assert {200, 400, 422} <= set(answered)
    assert session.get(f"{service.address}/readyz", timeout=60).status_code == 200
