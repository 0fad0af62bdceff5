"""Parses and validates request bodies and query strings."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from serving.contract.errors import CLIENT_CLOSED, ApiError, invalid
from serving.runtime import Parts

MAX_BODY = 1 << 20
MAX_QUERY = 4096
MAX_FIELDS = 32
"""Fields of a JSON object: over twice what any model has. Pydantic would build an error for each unknown field."""
SMALL_BODY = 16 * 1024
"""Bytes below which a body is not checked for MAX_FIELDS: too small to stall other requests."""
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, model: type[Model], parts: Parts) -> Model:
    """Reads and validates a JSON body.

    The content type must be application/json: browsers send that from a foreign page only after a CORS preflight.

    Raises:
        ApiError: 400 not JSON, 413 too large, 415 another content type, 422 an invalid field, 499 the client
            disconnected.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "unsupported_type", "the body must be JSON: send Content-Type: application/json", None)
    content = await _bytes(request)
    if len(content) > SMALL_BODY:
        _count_fields(content)
    try:
        return model.model_validate_json(content, context={"max_k": parts.settings.ranking.max_k})
    except ValidationError as error:
        raise invalid(error) from error


async def _bytes(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_BODY:
                raise ApiError(413, "too_large", f"the body is larger than {MAX_BODY} bytes; send smaller batches")
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise ApiError(CLIENT_CLOSED, "hung_up", "the client disconnected in the middle of the body") from error
    return b"".join(chunks)


def _count_fields(content: bytes) -> None:
    """Raises ApiError (422) if an object has more than MAX_FIELDS fields, 400 if the body is not JSON."""

    def check(fields: list[tuple[str, Any]]) -> None:
        if len(fields) > MAX_FIELDS:
            raise ApiError(
                422,
                "invalid",
                f"an object has {len(fields)} fields, more than {MAX_FIELDS}; /docs lists the valid ones",
            )

    try:
        json.loads(content, object_pairs_hook=check)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "broken_json", f"the body is not valid JSON: {error}") from error


def read_query(request: Request, model: type[Model]) -> Model:
    """Validates the query string. Raises ApiError (422)."""
    if len(request.scope["query_string"]) > MAX_QUERY:
        raise ApiError(422, "invalid", f"the query string is longer than {MAX_QUERY} bytes")
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise invalid(error) from error
