"""Writes served lists (impressions), shadow answers and batch recommendations."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa
from sqlalchemy import Connection, Engine, text
from sqlalchemy.dialects.postgresql import insert

from components.core.columns import Columns
from components.store.bulk import copy_rows, text_array, time_array
from components.store.consent import LOCK_SPACE, check_key, lock_buckets, lock_users
from components.store.privacy import Privacy
from components.store.schema import ShadowAnswer
from components.store.variants import ServingVariant

_RECORD = text(
    "SELECT note_answers(:space, CAST(:buckets AS int[]), :key, CAST(:hashes AS text[]), CAST(:request_ids AS text[]),"
    " CAST(:users AS text[]), CAST(:versions AS text[]), CAST(:variants AS text[]), CAST(:moments AS float8[]), :lists)"
)
_NO_TOMBSTONES = {"key": None, "hashes": None}
MAY_HAVE_TOMBSTONES = "keyed"
"""Key of a connection's cached flag (`Connection.info`): whether the store may hold tombstones."""
_SERVED_BY = text(
    "SELECT request_id, user_id, variant, model_version FROM impressions"
    " WHERE request_id = ANY(CAST(:request_ids AS text[]))"
)
_COLUMNS = (Columns.USER, Columns.RANK, Columns.ITEM, Columns.SCORE, Columns.MODEL_VERSION)
_DELETE_EXCLUDED = (
    "DELETE FROM batch_recommendations b"
    " WHERE NOT EXISTS (SELECT FROM users u WHERE u.user_id = b.user_id AND u.consent)"
)


@dataclass(frozen=True)
class ServedList:
    """One served list; `items` are {item_id, rank, score, propensity, greedy}, or their JSON."""

    request_id: str
    user_id: str
    model_version: str
    variant: str
    served_at: datetime
    items: Sequence[dict[str, Any]] | orjson.Fragment


def record_impressions(connection: Connection, privacy: Privacy, answers: Sequence[ServedList]) -> None:
    """Stores served lists in one statement, except those of refused users. Storing a list twice has no effect.

    The partitions must exist. Raises PrivacyError.
    """
    users = [answer.user_id for answer in answers]
    parameters = {
        "space": LOCK_SPACE,
        "buckets": lock_buckets(users),
        "request_ids": text_array([answer.request_id for answer in answers]),
        "users": text_array(users),
        "versions": text_array([answer.model_version for answer in answers]),
        "variants": text_array([answer.variant for answer in answers]),
        "moments": time_array(answer.served_at for answer in answers),
        "lists": b"\n".join([orjson.dumps(answer.items) for answer in answers]).decode(),
    }
    keyed = connection.info.get(MAY_HAVE_TOMBSTONES, privacy.pseudonyms)
    key = connection.scalar(_RECORD, parameters | (_tombstones(privacy, users) if keyed else _NO_TOMBSTONES))
    if key is not None:
        check_key(key, privacy)
        connection.info[MAY_HAVE_TOMBSTONES] = True
        connection.execute(_RECORD, parameters | _tombstones(privacy, users))


def _tombstones(privacy: Privacy, user_ids: Sequence[str]) -> dict[str, str | None]:
    return {"key": privacy.key_id, "hashes": text_array([privacy.tombstone(user) for user in user_ids])}


def read_serving_variants(
    connection: Connection, request_ids: Collection[str]
) -> dict[tuple[str, str], ServingVariant]:
    """Reads which variant and version served each request, by (request_id, user_id); unstored requests are missing."""
    if not request_ids:
        return {}
    rows = connection.execute(_SERVED_BY, {"request_ids": text_array(list(request_ids))})
    return {(request, user): ServingVariant(variant, version) for request, user, variant, version in rows}


def record_shadow(
    connection: Connection,
    *,
    request_id: str,
    answered_at: datetime,
    model_version: str,
    overlap: float | None,
    seconds: float,
    error: str | None,
) -> None:
    """Stores a shadow's answer: its overlap with the served items (0 to 1), its time in seconds, or its error."""
    answer = {
        "request_id": request_id,
        "answered_at": answered_at,
        "model_version": model_version,
        "overlap": overlap,
        "seconds": seconds,
        "error": error,
    }
    connection.execute(insert(ShadowAnswer).values(answer).on_conflict_do_nothing())


def replace_recommendations(engine: Engine, recommendations: pa.Table, model_version: str) -> int:
    """Replaces the content of batch_recommendations.

    Users who were erased meanwhile or withdrew consent are skipped.

    Args:
        recommendations: user_id, rank, item_id, score.

    Returns:
        The number of stored rows.
    """
    rows = zip(*(recommendations[name].to_pylist() for name in _COLUMNS[:4]), strict=True)
    with engine.begin() as connection:
        lock_users(connection, recommendations[Columns.USER].unique().to_pylist())
        connection.execute(text("TRUNCATE batch_recommendations"))
        copy_rows(connection, "batch_recommendations", _COLUMNS, ((*row, model_version) for row in rows))
        excluded = connection.execute(text(_DELETE_EXCLUDED))
    return recommendations.num_rows - excluded.rowcount
