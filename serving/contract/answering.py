"""Answers as JSON."""

from typing import Any

import orjson
from starlette.responses import Response

OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class Json(Response):
    """By orjson: a time as ISO 8601, a number that is not finite as null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=OPTIONS)


def as_fragment(content: Any) -> orjson.Fragment:
    """JSON that is written once, to be a part of many answers."""
    return orjson.Fragment(orjson.dumps(content, option=OPTIONS))
