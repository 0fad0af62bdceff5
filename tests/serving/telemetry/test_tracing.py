"""Traces: a service exports them to a collector, here a real HTTP server."""

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
    """An OTLP/HTTP collector that keeps the spans."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CollectorHandler)
        self.spans: list[Span] = []
        self.services: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def of(self, trace: str) -> dict[str, Span]:
        """The spans of a trace by name, once the span of the request has arrived."""
        eventually(lambda: any(span.kind == Span.SPAN_KIND_SERVER for span in self._of(trace)), 60)
        return {span.name: span for span in self._of(trace)}

    def _of(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id.hex() == trace]


class CollectorHandler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        export = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in export.resource_spans:
            self.server.services |= {
                attribute.value.string_value
                for attribute in resource.resource.attributes
                if attribute.key == "service.name"
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
def loaded_database(database: str) -> str:
    """The URL of a database with the chessboard and the histories of its users."""
    load(database, chessboard(), HISTORIES)
    return database


@pytest.fixture(scope="module")
def client(
    loaded_database: str, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("traced")
    chessboard().write(folder / "bundle")
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with bento(folder, loaded_database, **settings) as address, httpx.Client(base_url=address, timeout=30) as client:
        wait_until_ready(address)
        yield client


def attributes(span: Span) -> dict[str, object]:
    return {attribute.key: attribute.value.string_value or attribute.value.int_value for attribute in span.attributes}


def send(client: httpx.Client, path: str, body: dict[str, object]) -> tuple[str, httpx.Response]:
    """Sends a request within a client's trace. Returns the trace id and the response."""
    trace = uuid.uuid4().hex
    return trace, client.post(path, json=body, headers={"traceparent": f"00-{trace}-{PARENT}-01"})


def test_a_recommendation_is_traced_to_postgres(client: httpx.Client, collector: Collector) -> None:
    user = f"user-{uuid.uuid4().hex}"
    trace, response = send(client, "/recommend", {"user_id": user, "explain": True})
    spans = collector.of(trace)
    root = spans["POST /recommend"]
    assert root.parent_span_id.hex() == PARENT
    root_attributes = attributes(root)
    assert root_attributes["http.response.status_code"] == 200
    assert root_attributes["duotempo.request_id"] == response.json()["request_id"]
    assert {"history", "interest", "list", "reasons"} <= spans.keys()
    for stage in ("history", "interest", "list", "reasons"):
        assert spans[stage].parent_span_id == root.span_id
        assert root.start_time_unix_nano <= spans[stage].start_time_unix_nano
        assert spans[stage].end_time_unix_nano <= root.end_time_unix_nano
    statement = spans["SELECT"]
    assert statement.parent_span_id == spans["history"].span_id
    assert attributes(statement)["db.system.name"] == "postgresql"
    assert "FROM events WHERE" in " ".join(
        str(attributes(span)["db.query.text"])
        for span in collector.spans
        if span.trace_id == root.trace_id and span.name == "SELECT"
    )
    assert collector.services == {"duotempo"}


def test_a_cached_response_has_no_child_spans(client: httpx.Client, collector: Collector) -> None:
    send(client, "/recommend", {"user_id": "bella"})
    trace, _ = send(client, "/recommend", {"user_id": "bella"})
    assert collector.of(trace).keys() == {"POST /recommend"}


def test_feedback_is_traced_to_its_statements(client: httpx.Client, collector: Collector) -> None:
    event = {"user_id": f"user-{uuid.uuid4().hex}", "item_id": "a1", "event": "comment", "text": "what I think"}
    trace, response = send(client, "/feedback", {"events": [event]})
    assert response.json()["accepted"] == 1
    spans = collector.of(trace)
    assert {"store", "SELECT"} <= spans.keys()
    assert spans["store"].parent_span_id == spans["POST /feedback"].span_id


def test_no_span_contains_user_text_or_user_ids(client: httpx.Client, collector: Collector) -> None:
    user, text = f"user-{uuid.uuid4().hex}", f"text-{uuid.uuid4().hex}"
    event = {"user_id": user, "item_id": "a1", "event": "comment", "text": text}
    requests: list[tuple[str, dict[str, object]]] = [
        ("/feedback", {"events": [event]}),
        ("/recommend", {"user_id": user}),
    ]
    for path, body in requests:
        collector.of(send(client, path, body)[0])
    exported = b"".join(span.SerializeToString() for span in collector.spans)
    assert user.encode() not in exported
    assert text.encode() not in exported


def test_probes_are_not_traced_but_refused_requests_are(client: httpx.Client, collector: Collector) -> None:
    client.get("/livez", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}).raise_for_status()
    trace, _ = send(client, "/recommend", {"user_id": ""})
    assert attributes(collector.of(trace)["POST /recommend"])["http.response.status_code"] == 422
    assert not [span for span in collector.spans if span.trace_id.hex() == TRACE]


def test_an_unreachable_collector_does_not_affect_responses(loaded_database: str, tmp_path: Path) -> None:
    chessboard().write(tmp_path / "bundle")
    with bento(tmp_path, loaded_database, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}") as address:
        wait_until_ready(address)
        assert httpx.post(f"{address}/recommend", json={"user_id": "bella"}).json()["items"]


def readiness(address: str) -> Ready:
    return Ready.model_validate(httpx.get(f"{address}/readyz").json())


def test_an_unsupported_protocol_is_named(database: str, tmp_path: Path) -> None:
    chessboard().write(tmp_path / "bundle")
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with bento(tmp_path, database, **settings) as address:
        eventually(lambda: not readiness(address).loading, 60)
        state = readiness(address)
        assert not state.ready
        assert "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'" in state.missing[0]
