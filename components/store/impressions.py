"""What the service showed, to whom, when and how likely; what a shadow would have shown; and the last batch run."""

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
from components.store.people import LOCK_SPACE, check_key, lock_buckets, lock_users
from components.store.privacy import Privacy
from components.store.schema import ShadowAnswer
from components.store.variants import Part

_RECORD = text(
    "SELECT note_answers(:space, CAST(:buckets AS int[]), :key, CAST(:hashes AS text[]), CAST(:request_ids AS text[]),"
    " CAST(:users AS text[]), CAST(:versions AS text[]), CAST(:variants AS text[]), CAST(:moments AS float8[]), :lists)"
)
_NO_TOMBSTONES = {"key": None, "hashes": None}
MAY_HAVE_TOMBSTONES = "keyed"
"""Whether the store may hold tombstones, as a connection knows for as long as it is open."""
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
class Answered:
    """One answer of the service; `items` are {item_id, rank, score, propensity, greedy}, or the JSON of them."""

    request_id: str
    user_id: str
    model_version: str
    variant: str
    served_at: datetime
    items: Sequence[dict[str, Any]] | orjson.Fragment


def record_impressions(connection: Connection, privacy: Privacy, answers: Sequence[Answered]) -> None:
    """Keeps answers to people of whom something may be kept, by one statement; the same answer twice is kept once. The
    partitions must be there. Raises PrivacyError."""
    users = [one.user_id for one in answers]
    asked = {
        "space": LOCK_SPACE,
        "buckets": lock_buckets(users),
        "request_ids": text_array([one.request_id for one in answers]),
        "users": text_array(users),
        "versions": text_array([one.model_version for one in answers]),
        "variants": text_array([one.variant for one in answers]),
        "moments": time_array(one.served_at for one in answers),
        "lists": b"\n".join([orjson.dumps(one.items) for one in answers]).decode(),
    }
    keyed = connection.info.get(MAY_HAVE_TOMBSTONES, privacy.pseudonyms)
    key = connection.scalar(_RECORD, asked | (_tombstones(privacy, users) if keyed else _NO_TOMBSTONES))
    if key is not None:
        check_key(key, privacy)
        connection.info[MAY_HAVE_TOMBSTONES] = True
        connection.execute(_RECORD, asked | _tombstones(privacy, users))


def _tombstones(privacy: Privacy, user_ids: Sequence[str]) -> dict[str, str | None]:
    return {"key": privacy.key_id, "hashes": text_array([privacy.tombstone(user) for user in user_ids])}


def read_answerers(connection: Connection, request_ids: Collection[str]) -> dict[tuple[str, str], Part]:
    """Variant and version of the answers, by (request_id, user_id); those that were not kept are missing."""
    if not request_ids:
        return {}
    rows = connection.execute(_SERVED_BY, {"request_ids": text_array(list(request_ids))})
    return {(request, user): Part(variant, version) for request, user, variant, version in rows}


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
    """Keeps how a shadow would have answered: the share of the shown items that it lists too, or its error."""
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
    """Puts user_id, rank, item_id, score into batch_recommendations in place of what was there: how many rows.

    Of people who were erased meanwhile, or do not consent any more, none are kept.
    """
    rows = zip(*(recommendations[name].to_pylist() for name in _COLUMNS[:4]), strict=True)
    with engine.begin() as connection:
        lock_users(connection, recommendations[Columns.USER].unique().to_pylist())
        connection.execute(text("TRUNCATE batch_recommendations"))
        copy_rows(connection, "batch_recommendations", _COLUMNS, ((*row, model_version) for row in rows))
        gone = connection.execute(text(_DELETE_EXCLUDED))
    return recommendations.num_rows - gone.rowcount
