"""The peer without any work: Starlette returns the same list for every request."""

import json

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ITEMS = [
    {"item_id": f"item-{n}", "title": f"Thing {n} of the shop", "category": ["category 1"], "score": 1.0, "rank": n}
    for n in range(1, 11)
]
BODY = json.dumps({"request_id": "0" * 32, "model_version": "1", "items": ITEMS}).encode()


async def answer(_: Request) -> Response:
    return Response(BODY, media_type="application/json")


app = Starlette(routes=[Route(path, answer, methods=["POST"]) for path in ("/recommend", "/feedback")])
