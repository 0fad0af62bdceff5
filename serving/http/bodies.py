"""What a request says, as a model."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from serving.contract.errors import CLIENT_CLOSED, ApiError, invalid
from serving.runtime import Parts

MAX_BODY = 1 << 20
MAX_QUERY = 4096
MAX_FIELDS = 32
"""Of an object; none that is known has half as many. Each wrong one would be an error of its own to be made."""
SMALL_BODY = 16 * 1024
"""Bytes that do not hold enough wrong fields to keep other callers waiting."""
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, model: type[Model], parts: Parts) -> Model:
    """The body as a model. Raises ApiError: 400 no JSON, 413 too large, 415 another type, 422 a wrong field, 499 no
    whole body.

    The type must be named: a browser lets no foreign page send it without asking first.
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
        raise ApiError(CLIENT_CLOSED, "hung_up", "the caller hung up in the middle of the body") from error
    return b"".join(chunks)


def _count_fields(content: bytes) -> None:
    """Raises ApiError (422) where an object has far more fields than any that is known."""

    def check(fields: list[tuple[str, Any]]) -> None:
        if len(fields) > MAX_FIELDS:
            raise ApiError(422, "invalid", f"an object has {len(fields)} fields; see /docs for those that there are")

    try:
        json.loads(content, object_pairs_hook=check)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "broken_json", f"the body is no JSON: {error}") from error


def read_query(request: Request, model: type[Model]) -> Model:
    if len(request.scope["query_string"]) > MAX_QUERY:
        raise ApiError(422, "invalid", f"the query is longer than {MAX_QUERY} bytes")
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise invalid(error) from error
