"""Generates the OpenAPI 3.1 document from the request and response models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from components.store.keys import ADMIN
from serving.contract.responses import ErrorAnswer

REFERENCE = "#/components/schemas/{model}"
JSON = "application/json"
VALIDATION: Literal["validation"] = "validation"
SERIALIZATION: Literal["serialization"] = "serialization"


@dataclass(frozen=True)
class Operation:
    """One method of one path, as the OpenAPI document describes it.

    Attributes:
        answer: Model of the response; None means plain text.
        may_be_unknown: Whether it responds 404 to an unknown item.
        unavailable_when: When it responds 503, besides before the service is ready.
        scope: Scope that the API key needs; None means public.
        takes_sign_in_token: Whether it takes the token of a sign-in link.
    """

    method: str
    path: str
    summary: str
    answer: type[BaseModel] | None
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    may_be_unknown: bool = False
    unavailable_when: str | None = None
    scope: str | None = None
    takes_sign_in_token: bool = False

    def statuses(self) -> dict[int, str]:
        """The error responses, description by status."""
        errors: dict[int, str] = {}
        if self.body:
            errors |= {
                400: "the body is not valid JSON",
                413: "the body is larger than 1 MiB",
                415: "the content type is not application/json",
            }
        if self.body or self.query:
            errors[422] = "a field is invalid; `field` names it"
            errors[503] = (
                "not ready" + (f", or {self.unavailable_when}" if self.unavailable_when else "") + "; see Retry-After"
            )
        if self.may_be_unknown:
            errors[404] = "unknown item"
        if self.scope:
            errors[401] = f"no valid API key; it needs the scope {self.scope}"
            errors[403] = "the API key lacks the scope"
            errors[429] = "too many requests; see Retry-After"
        if self.takes_sign_in_token:
            errors[401] = "the sign-in link was used already or has expired"
            errors[429] = "too many requests; see Retry-After"
        return dict(sorted(errors.items()))


def openapi(operations: Sequence[Operation]) -> dict[str, Any]:
    """The whole document, JSON-serialisable."""
    bodies = [(operation.body, VALIDATION) for operation in operations if operation.body]
    answers = [(operation.answer, SERIALIZATION) for operation in operations if operation.answer]
    _, definitions = models_json_schema([*bodies, *answers, (ErrorAnswer, SERIALIZATION)], ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Duotempo",
            "version": "1",
            "description": "Recommendations that fuse a person's long-term and short-term interests.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    content = _content(operation.answer) if operation.answer else {"text/plain": {"schema": {"type": "string"}}}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method.lower()}{operation.path.replace('/', '_')}",
        "responses": {
            "200": {"description": "the answer", "content": content},
            **{
                str(status): {"description": text, "content": _content(ErrorAnswer)}
                for status, text in operation.statuses().items()
            },
        },
    }
    if operation.scope:
        described["security"] = [{"key": []}] if operation.scope == ADMIN else [{"key": []}, {}]
    if operation.body:
        described["requestBody"] = {"required": True, "content": _content(operation.body)}
    if operation.query:
        described["parameters"] = _parameters(operation.query)
    return described


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {JSON: {"schema": {"$ref": REFERENCE.format(model=model.__name__)}}}


def _parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]
