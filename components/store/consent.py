"""Consent and erasure of users: who may be stored, the advisory lock that serialises changes, and the data export."""

import zlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, text, update
from sqlalchemy.dialects.postgresql import insert

from components.core.normalize import UNSTORABLE
from components.store.bulk import number_array, text_array
from components.store.privacy import Privacy, PrivacyError
from components.store.schema import QUARANTINED_USER, PrivacyKey, Tombstone, User

NO_CONSENT = "no_consent: this user does not consent; nothing was stored"
FORGOTTEN = "forgotten_user: this user was erased; POST /consent with true lets events in again"
LOCK_COUNT = 256
"""Advisory locks that all users share by hash: few enough for Postgres, many enough that users rarely contend."""
LOCK_SPACE = 0x70656F70
_CONSENT, _KEY, _UNKNOWN = "no_consent", "key", "unknown_item"
"""Kinds of the rows that the SQL function `admission` returns (`functions/admission.sql`)."""
_LOCK = (  # acquired in bucket order; the query returns no rows
    "SELECT FROM unnest(CAST(:buckets AS int[])) AS bucket WHERE pg_advisory_xact_lock{how}(:space, bucket) IS NULL"
)
_EXCLUSIVE, _SHARED = text(_LOCK.format(how="")), text(_LOCK.format(how="_shared"))
_ADMISSION = text(
    "SELECT what, said FROM admission(:space, CAST(:buckets AS int[]), CAST(:users AS text[]), CAST(:items AS text[]))"
)
_CONSENT_AND_KEY = text(
    f"SELECT '{_CONSENT}' AS what, user_id AS said FROM users WHERE user_id = ANY(CAST(:users AS text[]))"
    f" AND NOT consent UNION ALL SELECT '{_KEY}', key_id FROM privacy_key"
)
_TOMBSTONES = text("SELECT user_hash FROM tombstones WHERE user_hash = ANY(CAST(:hashes AS text[]))")
_KEY_ID = text("SELECT key_id FROM privacy_key")
_QUERIES = {
    "user": "SELECT * FROM users WHERE user_id = ANY(:names)",
    "events": "SELECT * FROM events WHERE user_id = ANY(:names) ORDER BY occurred_at, received_at, event_id",
    "impressions": "SELECT * FROM impressions WHERE user_id = ANY(:names) ORDER BY served_at, request_id",
    "interest_vectors": (
        "SELECT encoder, as_of, document_long::text, document_short::text FROM user_vectors WHERE user_id = ANY(:names)"
    ),
    "batch_recommendations": "SELECT * FROM batch_recommendations WHERE user_id = ANY(:names) ORDER BY rank",
    "rejected_rows": f"SELECT * FROM quarantine WHERE {QUARANTINED_USER} = ANY(:names) ORDER BY quarantine_id",
}


def lock_users(connection: Connection, user_ids: Iterable[str], *, exclusive: bool = False) -> None:
    """Advisory lock until commit: shared for writers, exclusive (`exclusive`) for erasure and consent changes.

    An erasure thus sees everything written before it, and later writers see its tombstone. Take it before other locks.
    """
    connection.execute(_EXCLUSIVE if exclusive else _SHARED, {"space": LOCK_SPACE, "buckets": lock_buckets(user_ids)})


def refused(connection: Connection, privacy: Privacy, user_ids: Collection[str]) -> dict[str, str]:
    """The users whose data may not be stored or used, with the reason.

    The result stays valid while the caller holds the lock of `lock_users`.

    Raises:
        PrivacyError: The store is tied to another privacy key.
    """
    users = storable_ids(user_ids)
    answers = connection.execute(_CONSENT_AND_KEY, {"users": text_array(users)}).all()
    return _refused(connection, privacy, users, answers)


def lock_and_check(
    connection: Connection, privacy: Privacy, user_ids: Collection[str], item_ids: Collection[str] = ()
) -> tuple[dict[str, str], set[str]]:
    """Combines `lock_users` and `refused`, and finds the unknown ones among the items, in one query.

    Returns:
        The refused users with the reason, and the items that the catalogue lacks.

    Raises:
        PrivacyError: The store is tied to another privacy key.
    """
    users = storable_ids(user_ids)
    parameters = {"users": text_array(users), "items": text_array(list(item_ids))}
    answers = connection.execute(
        _ADMISSION, {"space": LOCK_SPACE, "buckets": lock_buckets(user_ids)} | parameters
    ).all()
    unknown = {name for kind, name in answers if kind == _UNKNOWN}
    return _refused(connection, privacy, users, answers), unknown


def claim_key(connection: Connection, privacy: Privacy) -> None:
    """Ties the store to the key of the keyed hashes. Raises PrivacyError when it is tied to another key."""
    if (key := connection.scalar(_KEY_ID)) is None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:space, -1)"), {"space": LOCK_SPACE})
        key = connection.scalar(_KEY_ID)
    if key is None:
        connection.execute(insert(PrivacyKey).values(key_id=privacy.key_id))
    else:
        check_key(key, privacy)


def set_consent(connection: Connection, privacy: Privacy, names: Sequence[str], consent: bool) -> None:
    """Stores a user's consent under the first of their names (`Privacy.names`).

    Consent lifts the user's tombstones, and a refusal under the other names. Withdrawal by an erased user is not
    stored: the tombstone implies it.
    """
    user_id, *legacy = names
    lock_users(connection, names, exclusive=True)
    refusals = refused(connection, privacy, names)
    forgotten = [name for name, reason in refusals.items() if reason == FORGOTTEN]
    if user_id in forgotten and not consent:
        return
    if consent:
        hashes = [privacy.tombstone(name) for name in forgotten]
        connection.execute(delete(Tombstone).where(Tombstone.user_hash.in_(hashes)))
        connection.execute(update(User).where(User.user_id.in_(legacy)).values(consent=True))
    upsert = insert(User).values(user_id=user_id, consent=consent)
    connection.execute(upsert.on_conflict_do_update(index_elements=[User.user_id], set_={"consent": consent}))


def lock_buckets(user_ids: Iterable[str]) -> str | None:
    """The lock numbers of users as a Postgres int[] literal."""
    return number_array(sorted({zlib.crc32(user.encode()) % LOCK_COUNT for user in user_ids}))


def storable_ids(user_ids: Iterable[str]) -> list[str]:
    """The ids that Postgres can hold in a text parameter."""
    return [user for user in user_ids if user.isprintable() or not UNSTORABLE.search(user)]


def _refused(
    connection: Connection, privacy: Privacy, user_ids: Sequence[str], answers: Sequence[Row[str, str]]
) -> dict[str, str]:
    reasons = {name: NO_CONSENT for kind, name in answers if kind == _CONSENT}
    keys = [name for kind, name in answers if kind == _KEY]
    if keys:
        check_key(keys[0], privacy)
        hashes = {privacy.tombstone(user): user for user in user_ids}
        buried = connection.scalars(_TOMBSTONES, {"hashes": text_array(list(hashes))})
        reasons |= {hashes[user_hash]: FORGOTTEN for user_hash in buried}
    return reasons


def check_key(key: str, privacy: Privacy) -> None:
    """Raises PrivacyError unless it is the key of this process."""
    if key != privacy.key_id:
        raise PrivacyError(
            "this process has another privacy key than the store was filled with: give all processes the same "
            "DUOTEMPO_PRIVACY__KEY, or the same home"
        )


def export_user(connection: Connection, privacy: Privacy, names: Sequence[str]) -> dict[str, Any]:
    """Exports the rows of every table that name the user by one of `names` (`Privacy.names`). Raises PrivacyError."""
    reason = next(iter(refused(connection, privacy, names).values()), None)
    exported: dict[str, Any] = {"user_id": names[0], "excluded_reason": reason, "nothing_is_kept_because": reason}
    for name, query in _QUERIES.items():
        rows = connection.execute(text(f"SELECT to_jsonb(exported) FROM ({query}) AS exported"), {"names": list(names)})
        exported[name] = list(rows.scalars())
    return exported
