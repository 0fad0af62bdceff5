"""OpenTelemetry traces: a span per request, per stage and per Postgres statement.

The standard variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME and so on) configure
endpoint, sampling and service name. Without an endpoint, tracing is off and OpenTelemetry is not imported.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Thread
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.telemetry.logs import request_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
PROTOCOL = "http/protobuf"
PROBES = frozenset({"/livez", "/readyz", "/metrics"})
CLOSE_SECONDS = 2.0
"""How long shutdown waits for a collector that does not respond."""
POSTGRES = {"db.system.name": "postgresql"}


def is_enabled() -> bool:
    """Whether the environment configures a collector."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(os.environ.get(name) for name in ENDPOINTS)


class Traces:
    """Creates and exports spans; does nothing while tracing is off."""

    def __init__(self) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None

    def start(self) -> None:
        """Starts tracing, if configured. Raises ValueError for an unsupported protocol."""
        if not is_enabled():
            return
        for variable in PROTOCOLS:
            if (value := os.environ.get(variable, PROTOCOL)) != PROTOCOL:
                raise ValueError(
                    f"{variable} is {value!r}, but only {PROTOCOL} is supported: set it to that, or unset it"
                )
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "duotempo"}
        self._provider = TracerProvider(resource=Resource.create(name))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("duotempo.serving")

    def close(self) -> None:
        """Exports the remaining spans, for CLOSE_SECONDS at most."""
        if self._provider:
            ending = Thread(target=self._provider.shutdown, daemon=True)
            ending.start()
            ending.join(CLOSE_SECONDS)

    def span(self, name: str, attributes: dict[str, str] | None = None) -> AbstractContextManager[Any]:
        """A child span of the current request, if it is traced."""
        if self._tracer is None:
            return nullcontext()
        from opentelemetry.trace import get_current_span

        if not get_current_span().is_recording():
            return nullcontext()
        return self._tracer.start_as_current_span(name, attributes=attributes)

    @contextmanager
    def request(self, scope: Scope) -> Iterator[Any]:
        """The span of a request, within the client's trace if the header `traceparent` names one."""
        if self._tracer is None or scope["type"] != "http" or scope["path"] in PROBES:
            yield None
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        parent = TraceContextTextMapPropagator().extract(headers)
        attributes = {"http.request.method": scope["method"], "duotempo.request_id": request_id.get()}
        with self._tracer.start_as_current_span(
            scope["method"], context=parent, kind=SpanKind.SERVER, attributes=attributes
        ) as span:
            yield span

    def watch(self, engine: Engine) -> None:
        """Adds a span for each statement, without its parameters."""
        if self._tracer is None:
            return

        def before(connection: Any, _: Any, statement: str, *__: Any) -> None:
            span = self.span(statement.split(None, 1)[0], {**POSTGRES, "db.query.text": statement})
            connection.info.setdefault("spans", []).append(span)
            span.__enter__()

        def after(connection: Any, *_: Any) -> None:
            connection.info["spans"].pop().__exit__(None, None, None)

        def failed(context: Any) -> None:
            if context.connection is not None and context.connection.info.get("spans"):
                error = context.original_exception
                context.connection.info["spans"].pop().__exit__(type(error), error, None)

        event.listen(engine, "before_cursor_execute", before)
        event.listen(engine, "after_cursor_execute", after)
        event.listen(engine, "handle_error", failed, insert=True)  # before another handler raises


class TraceMiddleware:
    """Middleware: a span per request, named by method and route."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._traces.request(scope) as span:
            if span is None:
                await self._app(scope, receive, send)
                return
            from opentelemetry.trace import StatusCode

            async def send_and_record(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            await self._app(scope, receive, send_and_record)
            route = getattr(scope.get("route"), "path", "unknown")
            span.update_name(f"{scope['method']} {route}")
            span.set_attribute("http.route", route)
