"""Response models: the OpenAPI document is generated from them, and the tests validate responses against them."""

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Because(Answer):
    """An item of the user's history, and by how much the score would drop without it."""

    item_id: str
    title: str
    contribution: float


class Why(Answer):
    """Explanation of a recommendation. The shares are of the positive parts of the score and sum to 1."""

    long: float = Field(description="Share of the long-term interest.")
    short: float = Field(description="Share of the short-term interest.")
    content: float = Field(description="Share of the text similarity (strategy `content`).")
    collaborative: float = Field(description="Share of the collaborative part: users with the same items.")
    popularity: float
    because: list[Because]
    keywords: list[str] = Field(description="Keywords that the item shares with the user's history.")
    categories: list[str]
    trend: bool = Field(description="The item is among the most popular of the last 7 days.")
    text_similarity: float = Field(
        description="Cosine similarity of the item's text and the user's text, -1 to 1; 0 if either has none."
    )
    text: str


class Interest(Answer):
    long_weight: float = Field(
        description="Share of the long-term interest in this response; 0 for a user without events."
    )
    short_weight: float
    long: list[str] = Field(description="Terms that describe the long-term interest.")
    short: list[str] = Field(
        description="Terms that describe the short-term interest: of the last days, else of the latest events."
    )


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
        description="True when the database is away: the list uses the last cached history, or its impression is not"
        " stored yet; and while feedback of this user is in the spool."
    )
    user_state: str = Field(json_schema_extra={"enum": ["known", "new", "anonymous"]})
    interest: Interest
    items: list[RecommendedItem]


class RejectedRow(Answer):
    index: int
    reason: str


class FeedbackAnswer(Answer):
    """Each row of the batch is counted exactly once."""

    accepted: int = Field(description="Stored in Postgres.")
    duplicates: int = Field(description="Stored already.")
    rejected: list[RejectedRow]
    spooled: int = Field(
        0,
        description="Spooled to the service's disk because Postgres is away; they count at once and are stored "
        "when it is back. A row of an unknown item, or of a user without consent, is rejected only then.",
    )
    dropped: int = Field(0, description="Rejected rows that are not kept in quarantine: those over its limit.")


class ItemsAnswer(Answer):
    accepted: int
    rejected: list[RejectedRow]
    dropped: int = Field(0, description="Rejected rows that are not kept in quarantine: those over its limit.")


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
    creator_id: str | None
    attributes: dict[str, str | float | bool]


class FoundItems(Answer):
    items: list[FoundItem]


class KnownUser(Answer):
    user_id: str
    events: int


class KnownUsers(Answer):
    users: list[KnownUser]


class ForgetAnswer(Answer):
    erasure_id: int
    found: bool = Field(description="Whether any data of this user was stored; a tombstone is kept in either case.")
    removed: dict[str, int] = Field(
        description="Rows deleted by table and from the spool. Snapshots, training runs and caches follow "
        "within 15 minutes."
    )


class ExportAnswer(Answer):
    """The rows of every table that names the user, and the user's spooled feedback."""

    user_id: str = Field(description="The id or pseudonym under which the user is stored.")
    excluded_reason: str | None = Field(description="Why nothing is stored of this user.")
    nothing_is_kept_because: str | None = Field(
        description="Deprecated: the same as `excluded_reason`; removed in the next release."
    )
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
    share: float = Field(
        description="Share of the users; for a shadow, of the requests. The champion serves all remaining users."
    )


class Ready(Answer):
    ready: bool
    model_version: str | None = Field(description="The champion's version.")
    missing: list[str] = Field(description="Why the service is not ready.")
    loading: bool = Field(description="Whether the bundles are still being loaded.")
    versions: list[str] = Field(description="Versions that can serve requests.")
    variants: list[InForce]
    notes: list[str] = Field(description="Warnings, such as a requested version that this service does not hold.")


class Live(Answer):
    alive: bool
    platform: str | None
    """Id of the platform on one machine that runs this service."""


class Error(Answer):
    code: str
    message: str
    field: str | None


class ErrorAnswer(Answer):
    error: Error


class Json(Response):
    """A JSON response by orjson: datetimes as ISO 8601, NaN and infinities as null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=OPTIONS)


def as_fragment(content: Any) -> orjson.Fragment:
    """Serialises content once, to be embedded in many responses."""
    return orjson.Fragment(orjson.dumps(content, option=OPTIONS))
