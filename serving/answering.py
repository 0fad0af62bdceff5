"""Answers as JSON."""

from typing import Any

import orjson
from starlette.responses import Response


class Json(Response):
    """What orjson writes: a time as ISO 8601, a number that is not finite as null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
