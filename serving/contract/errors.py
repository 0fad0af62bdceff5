"""Error responses: {"error": {"code", "message", "field"}}."""

from collections.abc import Mapping

from pydantic import ValidationError

from serving.contract.responses import Json

RETRY_SECONDS = "2"
CLIENT_CLOSED = 499
"""Status in logs and metrics of a request whose client disconnected, as in nginx; no client receives it."""


class ApiError(Exception):
    """An error response; its message names the input and says how to fix it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.headers = headers

    def response(self) -> Json:
        body = {"error": {"code": self.code, "message": self.message, "field": self.field}}
        return Json(body, status_code=self.status, headers=self.headers)


def unavailable(code: str, message: str) -> ApiError:
    """A 503 error with a Retry-After header."""
    return ApiError(503, code, message, headers={"Retry-After": RETRY_SECONDS})


def invalid(error: ValidationError) -> ApiError:
    """400 for a body that is not JSON, 422 for the first invalid field, named by its path."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return ApiError(400, "broken_json", f"the body is not valid JSON: {first['msg']}")
    field = ".".join(str(part) for part in first["loc"]) or None
    message = first["msg"].removeprefix("Value error, ")
    return ApiError(422, "invalid", f"{field or 'body'}: {message}", field)
