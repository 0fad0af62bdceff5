"""A service that sends its traces to a collector, which is a real HTTP server here."""

import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from serving.contract.responses import Ready
from tests.support.ports import free_port
from tests.support.service import HISTORIES, bento, wait_until_ready
from tests.support.toy_data import chessboard, load
from tests.support.waiting import eventually

TRACE, PARENT = uuid.uuid4().hex, uuid.uuid4().hex[:16]


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP and keeps the spans."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.spans: list[Span] = []
        self.services: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def of(self, trace: str) -> dict[str, Span]:
        """By name, once the whole request is there."""
        eventually(lambda: any(span.kind == Span.SPAN_KIND_SERVER for span in self._of(trace)), 60)
        return {span.name: span for span in self._of(trace)}

    def _of(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id.hex() == trace]


class Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        told = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in told.resource_spans:
            self.server.services |= {
                one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    yield collector
    collector.shutdown()
    collector.server_close()


@pytest.fixture(scope="module")
def filled(database: str) -> str:
    """The URL of a database with the chessboard and who likes it."""
    load(database, chessboard(), HISTORIES)
    return database


@pytest.fixture(scope="module")
def client(filled: str, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("traced")
    chessboard().write(folder / "bundle")
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with bento(folder, filled, **told) as address, httpx.Client(base_url=address, timeout=30) as client:
        wait_until_ready(address)
        yield client


def attributes(span: Span) -> dict[str, object]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def ask(client: httpx.Client, path: str, body: dict[str, object]) -> tuple[str, httpx.Response]:
    """Asks within a trace of the caller's: its id, and the answer."""
    trace = uuid.uuid4().hex
    return trace, client.post(path, json=body, headers={"traceparent": f"00-{trace}-{PARENT}-01"})


def test_a_recommendation_is_traced_to_postgres(client: httpx.Client, collector: Collector) -> None:
    user = f"user-{uuid.uuid4().hex}"
    trace, response = ask(client, "/recommend", {"user_id": user, "explain": True})
    spans = collector.of(trace)
    whole = spans["POST /recommend"]
    assert whole.parent_span_id.hex() == PARENT
    told = attributes(whole)
    assert told["http.response.status_code"] == 200
    assert told["duotempo.request_id"] == response.json()["request_id"]
    assert {"history", "interest", "list", "reasons"} <= spans.keys()
    for stage in ("history", "interest", "list", "reasons"):
        assert spans[stage].parent_span_id == whole.span_id
        assert whole.start_time_unix_nano <= spans[stage].start_time_unix_nano
        assert spans[stage].end_time_unix_nano <= whole.end_time_unix_nano
    statement = spans["SELECT"]
    assert statement.parent_span_id == spans["history"].span_id
    assert attributes(statement)["db.system.name"] == "postgresql"
    assert "FROM events WHERE" in " ".join(
        str(attributes(span)["db.query.text"])
        for span in collector.spans
        if span.trace_id == whole.trace_id and span.name == "SELECT"
    )
    assert collector.services == {"duotempo"}


def test_what_is_known_from_before_asks_nobody(client: httpx.Client, collector: Collector) -> None:
    ask(client, "/recommend", {"user_id": "bella"})
    trace, _ = ask(client, "/recommend", {"user_id": "bella"})
    assert collector.of(trace).keys() == {"POST /recommend"}


def test_feedback_is_traced_to_its_statements(client: httpx.Client, collector: Collector) -> None:
    event = {"user_id": f"user-{uuid.uuid4().hex}", "item_id": "a1", "event": "comment", "text": "what I think"}
    trace, response = ask(client, "/feedback", {"events": [event]})
    assert response.json()["accepted"] == 1
    spans = collector.of(trace)
    assert {"store", "SELECT"} <= spans.keys()
    assert spans["store"].parent_span_id == spans["POST /feedback"].span_id


def test_no_span_holds_what_a_user_wrote_or_who_they_are(client: httpx.Client, collector: Collector) -> None:
    user, text = f"user-{uuid.uuid4().hex}", f"text-{uuid.uuid4().hex}"
    event = {"user_id": user, "item_id": "a1", "event": "comment", "text": text}
    asked: list[tuple[str, dict[str, object]]] = [("/feedback", {"events": [event]}), ("/recommend", {"user_id": user})]
    for path, body in asked:
        collector.of(ask(client, path, body)[0])
    told = b"".join(span.SerializeToString() for span in collector.spans)
    assert user.encode() not in told
    assert text.encode() not in told


def test_probes_are_not_traced_and_a_refusal_is(client: httpx.Client, collector: Collector) -> None:
    client.get("/livez", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}).raise_for_status()
    trace, _ = ask(client, "/recommend", {"user_id": ""})
    assert attributes(collector.of(trace)["POST /recommend"])["http.response.status_code"] == 422
    assert not [span for span in collector.spans if span.trace_id.hex() == TRACE]


def test_a_collector_that_is_away_costs_nobody_an_answer(filled: str, tmp_path: Path) -> None:
    chessboard().write(tmp_path / "bundle")
    with bento(tmp_path, filled, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}") as address:
        wait_until_ready(address)
        assert httpx.post(f"{address}/recommend", json={"user_id": "bella"}).json()["items"]


def readiness(address: str) -> Ready:
    return Ready.model_validate(httpx.get(f"{address}/readyz").json())


def test_a_protocol_that_is_not_spoken_is_named(database: str, tmp_path: Path) -> None:
    chessboard().write(tmp_path / "bundle")
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with bento(tmp_path, database, **told) as address:
        eventually(lambda: not readiness(address).loading, 60)
        state = readiness(address)
        assert not state.ready
        assert "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'" in state.missing[0]
