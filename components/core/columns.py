"""The names of all columns, once. Every frame, table and Parquet file of Duotempo uses these."""


class Columns:
    """Column names shared by the tables, the Parquet files and the frames between steps."""

    USER = "user_id"
    ITEM = "item_id"
    EVENT_ID = "event_id"
    EVENT = "event"
    VALUE = "value"
    TEXT = "text"
    TIMESTAMP = "timestamp"  # epoch seconds, only in dataset folders and in HTTP bodies
    OCCURRED_AT = "occurred_at"
    SESSION = "session_id"
    REQUEST = "request_id"
    MODEL_VERSION = "model_version"
    VARIANT = "variant"
    SOURCE = "source"

    TITLE = "title"
    DESCRIPTION = "description"
    CATEGORY = "category"
    AVAILABLE = "available"
    PUBLISHED_AT = "published_at"
    IMAGE = "image_uri"
    CONTENT_HASH = "content_hash"

    AS_OF = "as_of"
    LONG_KEYWORDS = "long_keywords"
    LONG_CATEGORIES = "long_categories"
    LONG_ITEMS = "long_items"
    SHORT_ITEMS = "short_items"
    SHORT_KEYWORDS = "short_keywords"
    DOCUMENT_LONG = "document_long"
    DOCUMENT_SHORT = "document_short"

    VECTOR = "vector"
    RANK = "rank"
    SCORE = "score"
    REASON = "reason"
    ROW = "row"


EVENTS = ("view", "click", "cart", "purchase", "rating", "review", "like", "dislike", "hide", "comment", "post")
