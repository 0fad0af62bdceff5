"""Logging: one line per event, plain or JSON, with the id of its request.

No line contains a user's text or id, or an API key.
"""

import logging
import random
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

from components.core.logs import IndentedFormatter, visible
from components.settings import Settings

OWN_LOGGERS = ("serving", "components")
PLAIN_FORMAT = "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s"
LOGGED_FIELDS = ("model_version", "variant", "user_state", "degraded", "accepted", "duplicates", "spooled")
"""Fields of the response that are logged with its request."""
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the current request; empty outside of a request."""
requests = logging.getLogger("serving.contract.requests")


class RequestIdFilter(logging.Filter):
    """Adds the request id to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get() or "-"
        return True


class JsonLines(logging.Formatter):
    """Formats each record as a JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            "message": visible(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = visible(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode()


def new_request_id() -> str:
    """128 random bits in hex: unique, but not cryptographically secure."""
    return f"{random.getrandbits(128):032x}"


def set_up(settings: Settings) -> None:
    """Configures logging of this process: to stderr, our loggers at the level of the settings."""
    handler = logging.StreamHandler()
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(JsonLines() if settings.serving.log_format == "json" else IndentedFormatter(PLAIN_FORMAT))
    logging.getLogger().handlers = [handler]
    logging.getLogger("uvicorn.access").propagate = False  # requests are logged by `log_request`
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(settings.log_level)


def log_request(method: str, route: str, status: int, seconds: float, answer: dict[str, Any]) -> None:
    """Logs a request, at level INFO.

    Args:
        answer: Body of the response, or empty if it is not known.
    """
    if requests.isEnabledFor(logging.INFO):
        logged = {name: answer[name] for name in LOGGED_FIELDS if name in answer}
        fields = {"method": method, "route": route, "status": status, "seconds": round(seconds, 6), **logged}
        requests.info("%s %s %d in %.1f ms", method, route, status, 1000 * seconds, extra={"fields": fields})
