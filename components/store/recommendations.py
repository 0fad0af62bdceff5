"""The recommendations of the last batch run."""

import pyarrow as pa
from sqlalchemy import Engine, text

from components.core.columns import Columns
from components.store.bulk import copy_rows
from components.store.people import lock_users

_COLUMNS = (Columns.USER, Columns.RANK, Columns.ITEM, Columns.SCORE, Columns.MODEL_VERSION)

_GONE = (
    "DELETE FROM batch_recommendations b"
    " WHERE NOT EXISTS (SELECT FROM users u WHERE u.user_id = b.user_id AND u.consent)"
)


def replace_recommendations(engine: Engine, recommendations: pa.Table, model_version: str) -> int:
    """Puts user_id, rank, item_id, score into batch_recommendations in place of what was there: how many rows.

    Of people who were erased meanwhile, or do not consent any more, none are kept.
    """
    rows = zip(*(recommendations[name].to_pylist() for name in _COLUMNS[:4]), strict=True)
    with engine.begin() as connection:
        lock_users(connection, recommendations[Columns.USER].unique().to_pylist())
        connection.execute(text("TRUNCATE batch_recommendations"))
        copy_rows(connection, "batch_recommendations", _COLUMNS, ((*row, model_version) for row in rows))
        gone = connection.execute(text(_GONE))
    return recommendations.num_rows - gone.rowcount
