"""Duotempo's Postgres schema as SQLAlchemy 2 models. Alembic's migrations create it.

`events` and `impressions` are partitioned by month. A unique key of a partitioned table must include the partition
column, so `event_keys` keeps event_id unique instead, which makes retries idempotent.
"""

from datetime import datetime
from typing import Any, ClassVar

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import JSON, BigInteger, Computed, DateTime, ForeignKey, Identity, Index, Text, false, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from components.core.columns import MAX_ID


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


class User(Base):
    __tablename__ = "users"
    user_id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    consent: Mapped[bool] = mapped_column(server_default="true")
    attributes: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    __table_args__ = (Index("users_without_consent", "user_id", postgresql_where=text("NOT consent")),)


class Item(Base):
    __tablename__ = "items"
    item_id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(server_default="")
    description: Mapped[str] = mapped_column(server_default="")
    category: Mapped[list[str]] = mapped_column(server_default="{}")
    available: Mapped[bool] = mapped_column(server_default="true")
    published_at: Mapped[datetime | None]
    image_uri: Mapped[str | None]
    creator_id: Mapped[str | None]
    attributes: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    content_hash: Mapped[str]
    """Of all columns: changed items differ in it."""
    text_hash: Mapped[str | None] = mapped_column(
        Computed("item_text_hash(title, category, description)", persisted=True)
    )
    """Of what an encoder reads, by `functions/item_text_hash.sql`."""
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Event(Base):
    """A user's interaction with an item. The primary key exists for the mapper only, not in the table: see EventKey."""

    __tablename__ = "events"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    occurred_at: Mapped[datetime] = mapped_column(primary_key=True)
    user_id: Mapped[str]
    item_id: Mapped[str]
    event: Mapped[str]
    value: Mapped[float | None]
    text: Mapped[str | None]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    session_id: Mapped[str | None]
    request_id: Mapped[str | None]
    model_version: Mapped[str | None]
    variant: Mapped[str | None]
    source: Mapped[str]
    __table_args__ = (
        Index("events_user_time", "user_id", "occurred_at"),
        Index("events_time", "occurred_at", postgresql_using="brin"),
        {"postgresql_partition_by": "RANGE (occurred_at)"},
    )


class EventKey(Base):
    __tablename__ = "event_keys"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    occurred_at: Mapped[datetime]
    load_id: Mapped[int | None] = mapped_column(BigInteger)
    """The load that stored the event, see Load."""


class Impression(Base):
    """One served list. `items` is a list of {item_id, rank, score, propensity, greedy}."""

    __tablename__ = "impressions"
    request_id: Mapped[str] = mapped_column(primary_key=True)
    served_at: Mapped[datetime] = mapped_column(primary_key=True)
    user_id: Mapped[str]
    model_version: Mapped[str]
    variant: Mapped[str]
    items: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    __table_args__ = (
        Index("impressions_user_time", "user_id", "served_at"),
        {"postgresql_partition_by": "RANGE (served_at)"},
    )


class UserVector(Base):
    """LLM(D_l) and LLM(D_s) of a user as of an anchor."""

    __tablename__ = "user_vectors"
    user_id: Mapped[str] = mapped_column(primary_key=True)
    encoder: Mapped[str] = mapped_column(primary_key=True)
    as_of: Mapped[datetime]
    document_long: Mapped[Any] = mapped_column(VECTOR())
    document_short: Mapped[Any | None] = mapped_column(VECTOR())


class ItemVector(Base):
    """The text vector of a new item, added after the training of a served version.

    The service requests it, the resident encoder computes it. content_hash is the item's text_hash when it was
    encoded; it and the vector are NULL while the request is pending.
    """

    __tablename__ = "item_vectors"
    item_id: Mapped[str] = mapped_column(ForeignKey("items.item_id", ondelete="CASCADE"), primary_key=True)
    encoder: Mapped[str] = mapped_column(primary_key=True)
    wanted_at: Mapped[datetime] = mapped_column(server_default=func.now())
    content_hash: Mapped[str | None]
    vector: Mapped[Any | None] = mapped_column(VECTOR())


class BatchRecommendation(Base):
    """A row of a user's list from the last batch run."""

    __tablename__ = "batch_recommendations"
    user_id: Mapped[str] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[str]
    score: Mapped[float]
    model_version: Mapped[str]
    made_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Promotion(Base):
    """Append-only log of promotions, refusals and rollbacks: version, actor, reason and state."""

    __tablename__ = "promotions"
    promotion_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    version: Mapped[str]
    from_version: Mapped[str | None]
    actor: Mapped[str]
    reason: Mapped[str]
    state: Mapped[str]
    forced: Mapped[bool] = mapped_column(server_default=false())
    """Of a request: whether a version that failed the gate is promoted all the same."""
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class AssignedVariant(Base):
    """The version that serves a variant, and its share of the users (of the requests, for a shadow)."""

    __tablename__ = "variants"
    variant: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str]
    share: Mapped[float]
    since: Mapped[datetime] = mapped_column(server_default=func.now())


class ShadowAnswer(Base):
    """A shadow's answer: its overlap with the served list, or its error."""

    __tablename__ = "shadow_answers"
    request_id: Mapped[str] = mapped_column(primary_key=True)
    answered_at: Mapped[datetime]
    model_version: Mapped[str]
    overlap: Mapped[float | None]
    seconds: Mapped[float]
    error: Mapped[str | None]
    __table_args__ = (Index("shadow_answers_time", "answered_at"),)


class DriftMeasure(Base):
    """Drift of a feature between the recent and the reference window; the value is NULL for too small samples."""

    __tablename__ = "drift"
    measured_at: Mapped[datetime] = mapped_column(primary_key=True)
    feature: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    reference_from: Mapped[datetime]
    reference_to: Mapped[datetime]
    window_from: Mapped[datetime]
    window_to: Mapped[datetime]


class OnlineMetric(Base):
    """A metric of a variant in a window, with its confidence bounds; NULL where it cannot be measured."""

    __tablename__ = "online_metrics"
    measured_at: Mapped[datetime] = mapped_column(primary_key=True)
    variant: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str]
    mean: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    window_from: Mapped[datetime]
    window_to: Mapped[datetime]


QUARANTINED_USER = f"left(btrim(\"row\" ->> 'user_id'), {MAX_ID + 1})"
"""SQL of a rejected row's user, as indexed: one character more than the longest id, so that no truncated text equals
an id."""


class Quarantined(Base):
    """A rejected row with the reason, so that no input is lost. Long values are truncated, with their sha256."""

    __tablename__ = "quarantine"
    quarantine_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source: Mapped[str]
    row: Mapped[dict[str, Any]]
    reason: Mapped[str]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    load_id: Mapped[int | None] = mapped_column(BigInteger)
    __table_args__ = (
        Index("quarantine_source_reason", "source", "reason"),
        Index("quarantine_user", text(QUARANTINED_USER)),
        Index("quarantine_once", text('md5((source || reason) || "row"::text)'), unique=True),
    )


class Load(Base):
    """A load of a file. It is `running` until it is `complete`; `stopped` after an error, `undone` by its undo.

    A killed load stays `running`, but no longer holds its advisory lock.
    """

    __tablename__ = "loads"
    load_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source: Mapped[str]
    digest: Mapped[str]
    """sha256 of the file and of the mapping by which it is read."""
    state: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    counts: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class LoadChunk(Base):
    """A chunk of a load's events, sorted by time and arrival: those from (first_micros, first_arrival) until the next
    chunk begins. It is stored in the same transaction that sets `done_at`."""

    __tablename__ = "load_chunks"
    load_id: Mapped[int] = mapped_column(ForeignKey("loads.load_id", ondelete="CASCADE"), primary_key=True)
    chunk: Mapped[int] = mapped_column(primary_key=True)
    first_micros: Mapped[int] = mapped_column(BigInteger)
    first_arrival: Mapped[int] = mapped_column(BigInteger)
    stored: Mapped[int | None]
    existing: Mapped[int | None]
    refused: Mapped[int | None]
    done_at: Mapped[datetime | None]


class LoadClaim(Base):
    """An event of a load that was stored already: it stays when the load that stored it is undone.

    A load of the same files as an earlier one makes no claims where that one stored or claimed the event; it takes
    over from the earlier one when that is undone.
    """

    __tablename__ = "load_claims"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    load_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class LoadedItem(Base):
    """An item of a load: its content before (NULL if it was new) and the hash of its content afterwards."""

    __tablename__ = "load_items"
    item_id: Mapped[str] = mapped_column(primary_key=True)
    load_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    content_hash: Mapped[str]
    before: Mapped[dict[str, Any] | None]


class SourceWatermark(Base):
    """How far a source was read by a load; the row of its newest load counts."""

    __tablename__ = "source_watermarks"
    source: Mapped[str] = mapped_column(primary_key=True)
    load_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    watermark: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Base):
    """An API key with its scopes; only the digest of the key is stored."""

    __tablename__ = "api_keys"
    key_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    scopes: Mapped[list[str]]
    digest: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]


class PrivacyKey(Base):
    """A single row that identifies the key of the keyed hashes, so that no process uses another key."""

    __tablename__ = "privacy_key"
    key_id: Mapped[str] = mapped_column(primary_key=True)


class Tombstone(Base):
    """The keyed hash of an erased user's id; late events of the user are rejected by it."""

    __tablename__ = "tombstones"
    user_hash: Mapped[str] = mapped_column(primary_key=True)
    forgotten_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Erasure(Base):
    """The erasure of a user: the tables are cleared when the row is inserted, the files at `done_at`.

    `user_id` is cleared at `done_at`, too. `first_occurred_at` and `first_received_at` determine which models were
    trained on the user's data.
    """

    __tablename__ = "erasures"
    erasure_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    user_id: Mapped[str | None]
    user_hash: Mapped[str]
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    first_occurred_at: Mapped[datetime | None]
    first_received_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    report: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
