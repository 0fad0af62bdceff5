"""Names of all columns, and the limits of their values.

Every frame, table and Parquet file of Duotempo uses these names. Cleaning rejects values beyond the limits, and the
validation suites in `expectations/` fail on them.
"""

EVENTS = ("view", "click", "cart", "purchase", "rating", "review", "like", "dislike", "hide", "comment", "post")
MAX_ID = 200
"""Most characters of an id."""
MAX_VALUE = 1e12
"""Largest absolute value of an event."""
MAX_CATEGORIES = 1000
"""Most categories of an item."""
MAX_ATTRIBUTES = 50
"""Most attributes of an item."""
MAX_ATTRIBUTE_TEXT = 1000
"""Most characters of an attribute that is a text."""
ATTRIBUTE_NAME = "[a-z0-9_-]{1,64}"
"""Regular expression of an attribute's name."""
VALUE_REQUIRED = ("rating",)
"""Events that are meaningless without a value."""


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
    CREATOR = "creator_id"
    ATTRIBUTES = "attributes"
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
