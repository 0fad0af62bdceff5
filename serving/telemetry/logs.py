"""What the service says in its log: a line an event, plain or as JSON, with the id of the request that it belongs to.

No line holds a user's text or id, nor a key.
"""

import logging
import random
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

from components.core.logs import LogLines, visible
from components.settings import Settings

OURS = ("serving", "components")
PLAIN_FORMAT = "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s"
LOGGED_FIELDS = ("model_version", "variant", "user_state", "degraded", "accepted", "duplicates", "spooled")
"""What of an answer stands in the line of its request."""
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being answered; empty outside of one."""
requests = logging.getLogger("serving.contract.requests")


class RequestIdFilter(logging.Filter):
    """Lets all pass, with the id of the request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get() or "-"
        return True


class JsonLines(logging.Formatter):
    """One JSON object a line."""

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
    """128 random bits as hexadecimal digits: unlike any other one, but no secret."""
    return f"{random.getrandbits(128):032x}"


def set_up(settings: Settings) -> None:
    """Has this process write to stderr in our way alone, ours from the settings' level on."""
    handler = logging.StreamHandler()
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(JsonLines() if settings.serving.log_format == "json" else LogLines(PLAIN_FORMAT))
    logging.getLogger().handlers = [handler]
    logging.getLogger("uvicorn.access").propagate = False  # a request has its line by `log_request`
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level)


def log_request(method: str, route: str, status: int, seconds: float, answer: dict[str, Any]) -> None:
    """One line, where the level lets it pass. answer: the body, as far as it is known."""
    if requests.isEnabledFor(logging.INFO):
        logged = {name: answer[name] for name in LOGGED_FIELDS if name in answer}
        fields = {"method": method, "route": route, "status": status, "seconds": round(seconds, 6), **logged}
        requests.info("%s %s %d in %.1f ms", method, route, status, 1000 * seconds, extra={"fields": fields})
