"""Request models. An unknown field is an error, so that a typo never passes silently.

Lists are validated up to their first error (`fail_fast`): the response names one error, and collecting a hundred
thousand takes a second.
"""

from typing import Annotated, Any, NotRequired

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictInt,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    with_config,
)
from typing_extensions import TypedDict

from components.core.columns import EVENTS, MAX_ID
from components.core.ids import PersonId, validated_id
from components.core.normalize import clean_text
from components.ranking.scorer import Strategy

MAX_BATCH = 1000
MAX_CONTEXT = 100
MAX_FILTER = 1000
MIN_MILLISECONDS = 1e11


def _seconds(value: float) -> float:
    if value >= MIN_MILLISECONDS:
        raise ValueError("looks like milliseconds; give seconds since 1970 (divide by 1000)")
    return value


def _valid_event(name: str) -> str:
    if name not in EVENTS:
        raise ValueError(f"{name!r} is not one of {', '.join(EVENTS)}")
    return name


def _at_most_max_k(k: int, info: ValidationInfo) -> int:
    largest = (info.context or {}).get("max_k")
    if largest is not None and k > largest:
        raise ValueError(f"{k} is above the largest list of {largest} (setting ranking.max_k)")
    return k


def _clean_id(value: object) -> object:
    """Cleans an id by the rules of ingestion; leaves values other than strings and integers for pydantic to reject."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    return validated_id(value)


def _person_id(value: object) -> PersonId:
    cleaned = _clean_id(value)
    if not isinstance(cleaned, str):
        raise ValueError("is neither text nor a whole number")
    return PersonId(cleaned, str(value))


def _clean_category(value: str) -> str:
    if not (cleaned := clean_text(value)):
        raise ValueError("is empty; give a category")
    return cleaned


def _digits_only(value: object) -> object:
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("is not a whole number")
    return value


IDENTIFIER = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": MAX_ID}, {"type": "integer"}]}
Identifier = Annotated[str, BeforeValidator(_clean_id), WithJsonSchema(IDENTIFIER)]
UserId = Annotated[PersonId, PlainValidator(_person_id), WithJsonSchema(IDENTIFIER)]
RawId = Annotated[str | StrictInt, Field(union_mode="left_to_right")]
"""An id in a batch row, not validated here: an invalid row is rejected without failing the request."""
Category = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID), AfterValidator(_clean_category)]
Limit = Annotated[int, BeforeValidator(_digits_only), Field(ge=1, le=MAX_BATCH)]
Seconds = Annotated[float, Field(ge=0), AfterValidator(_seconds)]
ATTRIBUTES = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
        {"type": "null"},
    ]
}
Attributes = Annotated[Any, WithJsonSchema(ATTRIBUTES)]
"""Attributes of an item in a batch row, not validated here, like RawId."""
EventName = Annotated[str, AfterValidator(_valid_event), Field(json_schema_extra={"enum": list(EVENTS)})]
ListLength = Annotated[int, Field(ge=1), AfterValidator(_at_most_max_k)]


STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class Body(BaseModel):
    model_config = STRICT


class ContextEvent(Body):
    item_id: Identifier
    event: EventName = "view"
    timestamp: Seconds | None = Field(None, description="Seconds since 1970; now, when absent.")


class RecommendFilters(Body):
    category_in: list[Category] | None = Field(
        None,
        fail_fast=True,
        min_length=1,
        max_length=MAX_FILTER,
        description="Only items with at least one of these categories.",
    )
    category_out: list[Category] = Field(
        [], fail_fast=True, max_length=MAX_FILTER, description="No item with one of these categories."
    )
    exclude_items: list[Identifier] = Field([], fail_fast=True, max_length=MAX_FILTER)
    available_only: bool = True


NO_FILTERS = RecommendFilters.model_validate({})


class RecommendRequest(Body):
    user_id: Identifier
    k: ListLength | None = Field(
        None, description="How many items, up to the setting `ranking.max_k`; the setting `ranking.k`, when absent."
    )
    context: list[ContextEvent] = Field(
        default_factory=list,
        fail_fast=True,
        max_length=MAX_CONTEXT,
        description="Events of the current session; they count for this response and are not stored.",
    )
    filters: RecommendFilters = Field(default_factory=lambda: NO_FILTERS)
    strategy: Strategy | None = None
    diversity: float | None = Field(
        None, ge=0, le=1, description="Weight of diversity against score; the setting `ranking.diversity`, when absent."
    )
    explain: bool = False


class SimilarRequest(Body):
    item_id: Identifier
    k: ListLength | None = None


@with_config(STRICT)
class FeedbackEvent(TypedDict):
    """Typed loosely on purpose: an invalid row is rejected individually, by the rules of ingestion."""

    user_id: RawId
    item_id: RawId
    event: Annotated[
        str,
        Field(
            description="One of the event kinds: view, click, cart, purchase, rating, review, like, dislike, hide, "
            "comment, post."
        ),
    ]
    event_id: Annotated[
        NotRequired[RawId | None],
        Field(
            description="Makes a retry idempotent: an id is stored once. When absent, it is derived from the content "
            "and the time."
        ),
    ]
    value: NotRequired[float | str | None]
    text: NotRequired[str | None]
    timestamp: Annotated[
        NotRequired[float | str | None],
        Field(
            description="Seconds since 1970 or ISO 8601; now, when absent: a retry is then idempotent only with an "
            "`event_id`."
        ),
    ]
    request_id: Annotated[
        NotRequired[str | None], Field(description="The `request_id` of the /recommend response that showed the item.")
    ]


class FeedbackRequest(Body):
    model_config = ConfigDict(cache_strings="keys")  # few values repeat within a short time

    events: list[FeedbackEvent] = Field(fail_fast=True, min_length=1, max_length=MAX_BATCH)


class CatalogueItem(Body):
    """A field that is absent keeps its value in the catalogue, null empties it.

    Typed loosely on purpose, like FeedbackEvent: an invalid row is rejected individually.
    """

    item_id: RawId
    title: str | None = None
    description: str | None = None
    category: list[str] | None = Field(None, fail_fast=True)
    available: bool | None = Field(None, description="True, when null, or when absent for a new item.")
    published_at: float | str | None = Field(None, description="Seconds since 1970 or ISO 8601.")
    image_uri: str | None = None
    creator_id: RawId | None = Field(None, description="Who made or sells it; by the rules of ids.")
    attributes: Attributes = Field(
        None,
        description="Anything else that is known, such as price, currency, url and brand: at most 50 names of "
        "a-z, 0-9, _ and - with a text of up to 1,000 characters, a number, true or false. They are added to the "
        "stored ones; null or {} removes those.",
    )


class ItemsRequest(Body):
    items: list[CatalogueItem] = Field(fail_fast=True, min_length=1, max_length=MAX_BATCH)


class Query(Body):
    model_config = ConfigDict(strict=False)  # query parameters arrive as strings


class UsersQuery(Query):
    limit: Limit = 50


class ItemsQuery(Query):
    query: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")] = Field(
        "", description="Substring of the title; all items, when empty."
    )
    limit: Limit = 20


class PersonRequest(Body):
    user_id: UserId


class ConsentRequest(Body):
    user_id: UserId
    consent: bool = Field(
        description="Whether this user's events may be stored and used. True also re-admits a forgotten user."
    )


class SignInRequest(Body):
    token: Annotated[str, StringConstraints(max_length=200)]
