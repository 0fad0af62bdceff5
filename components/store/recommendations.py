"""The recommendations of the last batch run."""

import pyarrow as pa
from sqlalchemy import Engine, text

from components.columns import Columns
from components.store.bulk import copy_rows

_COLUMNS = (Columns.USER, Columns.RANK, Columns.ITEM, Columns.SCORE, Columns.MODEL_VERSION)


def replace_recommendations(engine: Engine, recommendations: pa.Table, model_version: str) -> int:
    """Puts user_id, rank, item_id, score into batch_recommendations in place of what was there: how many rows."""
    rows = zip(*(recommendations[name].to_pylist() for name in _COLUMNS[:4]), strict=True)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE batch_recommendations"))
        copy_rows(connection, "batch_recommendations", _COLUMNS, ((*row, model_version) for row in rows))
    return recommendations.num_rows
