"""What a caller is told when something is wrong: {"error": {"code", "message", "field"}}."""

from collections.abc import Mapping

from pydantic import ValidationError

from serving.contract.responses import Json

RETRY_SECONDS = "2"
CLIENT_CLOSED = 499
"""The status that is counted of a caller who hung up, as nginx has it; nobody is there to read it."""


class ApiError(Exception):
    """An error that the caller is told, in words that name the input and say how to fix it."""

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
    """503, with the time after which to try again."""
    return ApiError(503, code, message, headers={"Retry-After": RETRY_SECONDS})


def invalid(error: ValidationError) -> ApiError:
    """400 for a body that is no JSON, 422 for a wrong field (the first one), by its path."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return ApiError(400, "broken_json", f"the body is no JSON: {first['msg']}")
    field = ".".join(str(part) for part in first["loc"]) or None
    message = first["msg"].removeprefix("Value error, ")
    return ApiError(422, "invalid", f"{field or 'body'}: {message}", field)
