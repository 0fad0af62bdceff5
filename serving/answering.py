"""Answers as JSON."""

from typing import Any

import orjson
from starlette.responses import Response


class Json(Response):
    """What `as_json` writes."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return as_json(content)


def as_json(content: Any) -> bytes:
    """By orjson: a time as ISO 8601, a number that is not finite as null."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
