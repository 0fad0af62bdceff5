"""What a request says, as a model."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from serving.errors import ApiError, invalid
from serving.runtime import Parts

MAX_BODY = 1 << 20
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, model: type[Model], parts: Parts) -> Model:
    """The body as a model. Raises ApiError: 400 no JSON, 413 too large, 415 another type, 422 a wrong field.

    The type must be named: a browser lets no foreign page send it without asking first.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "unsupported_type", "the body must be JSON: send Content-Type: application/json", None)
    try:
        return model.model_validate_json(await _bytes(request), context={"max_k": parts.settings.ranking.max_k})
    except ValidationError as error:
        raise invalid(error) from error


async def _bytes(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise ApiError(413, "too_large", f"the body is larger than {MAX_BODY} bytes; send smaller batches")
        chunks.append(chunk)
    return b"".join(chunks)


def read_query(request: Request, model: type[Model]) -> Model:
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise invalid(error) from error
