"""What the service answers, as models: the OpenAPI is made of them, and the tests hold every answer against them."""

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Because(Answer):
    """An item of the user's history, and by how much this score would fall without it."""

    item_id: str
    title: str
    contribution: float


class Why(Answer):
    """Why this item for this person. The shares are of the positive parts of the score and add up to 1."""

    long: float = Field(description="Share of the long-term interest.")
    short: float = Field(description="Share of the short-term interest.")
    content: float = Field(description="Share of the likeness of texts (strategy content).")
    collaborative: float = Field(description="Share of people who had the same items.")
    popularity: float
    because: list[Because]
    keywords: list[str] = Field(description="Keywords of the item that are also the user's.")
    categories: list[str]
    trend: bool = Field(description="The item is among the most wanted of the last 7 days.")
    text_similarity: float = Field(
        description="Cosine of the item's text and what the user reads, -1 to 1; 0 where either has no text."
    )
    text: str


class Interest(Answer):
    long_weight: float = Field(
        description="How much of this answer is long-term interest; 0 when nothing is known of the user."
    )
    short_weight: float
    long: list[str] = Field(description="Words for the long-term interest.")
    short: list[str] = Field(description="Words for the short-term one: of the last days, else of the latest events.")


class RecommendedItem(Answer):
    item_id: str
    title: str
    category: list[str]
    score: float
    rank: int = Field(ge=1)
    why: Why | None = None


class RecommendAnswer(Answer):
    request_id: str
    model_version: str
    variant: str
    degraded: bool = Field(
        description="True when the database did not answer, so that the list knows what was known last, or is not"
        " noted yet as shown; and while feedback of this user waits for it."
    )
    user_state: str = Field(json_schema_extra={"enum": ["known", "new", "anonymous"]})
    interest: Interest
    items: list[RecommendedItem]


class RejectedRow(Answer):
    index: int
    reason: str


class FeedbackAnswer(Answer):
    """Each row of the batch is counted once."""

    accepted: int = Field(description="Stored in Postgres.")
    duplicates: int = Field(description="There already.")
    rejected: list[RejectedRow]
    spooled: int = Field(
        0,
        description="Safe on the service's disk, since Postgres is away, and used at once; stored as soon as it "
        "is back. Of an item that the catalogue lacks, or a user who does not consent, the row is "
        "then rejected all the same.",
    )
    dropped: int = Field(0, description="Of the rejected rows, so many are not kept in quarantine: the last ones.")


class ItemsAnswer(Answer):
    accepted: int
    rejected: list[RejectedRow]
    dropped: int = Field(0, description="Of the rejected rows, so many are not kept in quarantine: the last ones.")


class SimilarItem(Answer):
    item_id: str
    title: str
    category: list[str]
    score: float
    rank: int = Field(ge=1)


class SimilarAnswer(Answer):
    model_version: str
    item_id: str
    degraded: bool
    items: list[SimilarItem]


class FoundItem(Answer):
    item_id: str
    title: str
    category: list[str]
    available: bool


class FoundItems(Answer):
    items: list[FoundItem]


class KnownUser(Answer):
    user_id: str
    events: int


class KnownUsers(Answer):
    users: list[KnownUser]


class ForgetAnswer(Answer):
    erasure_id: int
    found: bool = Field(description="Whether anything was held of this user; a tombstone stands in any case.")
    removed: dict[str, int] = Field(
        description="Rows that went, by table, and from the spool. Snapshots, training runs and caches follow "
        "within a quarter of an hour."
    )


class ExportAnswer(Answer):
    """The rows of every table that names the user, and what waits in the spool."""

    user_id: str = Field(description="As the store knows the user.")
    excluded_reason: str | None = Field(description="Why nothing is stored of this user.")
    nothing_is_kept_because: str | None = Field(description="As `excluded_reason`; goes with the next release.")
    user: list[dict[str, Any]]
    events: list[dict[str, Any]]
    impressions: list[dict[str, Any]]
    interest_vectors: list[dict[str, Any]]
    batch_recommendations: list[dict[str, Any]]
    rejected_rows: list[dict[str, Any]]
    spooled: list[dict[str, Any]]


class ConsentAnswer(Answer):
    consent: bool


class SignedIn(Answer):
    signed_in: bool


class InForce(Answer):
    variant: str = Field(json_schema_extra={"enum": ["champion", "canary", "challenger", "shadow"]})
    model_version: str
    share: float = Field(description="Of the users; of the requests for a shadow. The champion has all who are left.")


class Ready(Answer):
    ready: bool
    model_version: str | None = Field(description="Of the champion.")
    missing: list[str] = Field(description="What the service waits for, in words.")
    loading: bool = Field(description="It is still being read whether anything is missing.")
    versions: list[str] = Field(description="Those that can answer.")
    variants: list[InForce]
    notes: list[str] = Field(
        description="What was asked for and cannot be, such as a version that this service does not hold."
    )


class Live(Answer):
    alive: bool
    platform: str | None
    """Whose service this is, on one machine."""


class Error(Answer):
    code: str
    message: str
    field: str | None


class ErrorAnswer(Answer):
    error: Error


class Json(Response):
    """By orjson: a time as ISO 8601, a number that is not finite as null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=OPTIONS)


def as_fragment(content: Any) -> orjson.Fragment:
    """JSON that is written once, to be a part of many answers."""
    return orjson.Fragment(orjson.dumps(content, option=OPTIONS))
