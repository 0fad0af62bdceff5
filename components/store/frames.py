"""The declared schemas of the events and the items between steps, in memory and as Parquet."""

import pyarrow as pa

from components.core.columns import Columns

_MOMENT = pa.timestamp("us", tz="UTC")

EVENT_SCHEMA = pa.schema(
    [
        pa.field(Columns.EVENT_ID, pa.string(), nullable=False),
        pa.field(Columns.USER, pa.string(), nullable=False),
        pa.field(Columns.ITEM, pa.string(), nullable=False),
        pa.field(Columns.EVENT, pa.string(), nullable=False),
        pa.field(Columns.VALUE, pa.float64()),
        pa.field(Columns.TEXT, pa.string()),
        pa.field(Columns.OCCURRED_AT, _MOMENT, nullable=False),
        pa.field(Columns.SESSION, pa.string()),
        pa.field(Columns.REQUEST, pa.string()),
        pa.field(Columns.MODEL_VERSION, pa.string()),
        pa.field(Columns.VARIANT, pa.string()),
        pa.field(Columns.SOURCE, pa.string(), nullable=False),
    ]
)

ITEM_SCHEMA = pa.schema(
    [
        pa.field(Columns.ITEM, pa.string(), nullable=False),
        pa.field(Columns.TITLE, pa.string(), nullable=False),
        pa.field(Columns.DESCRIPTION, pa.string(), nullable=False),
        pa.field(Columns.CATEGORY, pa.list_(pa.string()), nullable=False),
        pa.field(Columns.AVAILABLE, pa.bool_(), nullable=False),
        pa.field(Columns.PUBLISHED_AT, _MOMENT),
        pa.field(Columns.IMAGE, pa.string()),
        pa.field(Columns.CONTENT_HASH, pa.string(), nullable=False),
    ]
)

EVENT_COLUMNS: list[str] = EVENT_SCHEMA.names
ITEM_COLUMNS: list[str] = ITEM_SCHEMA.names
