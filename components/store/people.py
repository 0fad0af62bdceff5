"""What people have said about their data: who does not consent, who was forgotten; and the lock that both hold by."""

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
"""Locks of all users together: few enough for Postgres, many enough that people seldom wait for each other."""
LOCK_SPACE = 0x70656F70
_CONSENT, _KEY, _UNKNOWN = "no_consent", "key", "unknown_item"
"""What the rows of `admission` say, see `functions/admission.sql`."""
_LOCK = (  # in their order; no row is told of any
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

    So an erasure sees what was written before it, and later writers see its tombstone. Take it before other locks.
    """
    connection.execute(_EXCLUSIVE if exclusive else _SHARED, {"space": LOCK_SPACE, "buckets": lock_buckets(user_ids)})


def refused(connection: Connection, privacy: Privacy, user_ids: Collection[str]) -> dict[str, str]:
    """The users of whom nothing may be kept or used, with the reason. Under the lock of `lock_users` it stays so.

    Raises PrivacyError when the store was filled with another key.
    """
    users = storable_ids(user_ids)
    said = connection.execute(_CONSENT_AND_KEY, {"users": text_array(users)}).all()
    return _refused(connection, privacy, users, said)


def lock_and_check(
    connection: Connection, privacy: Privacy, user_ids: Collection[str], item_ids: Collection[str] = ()
) -> tuple[dict[str, str], set[str]]:
    """`lock_users`, then `refused`, and those of the items that the catalogue lacks: in one go. Raises PrivacyError."""
    users = storable_ids(user_ids)
    asked = {"users": text_array(users), "items": text_array(list(item_ids))}
    said = connection.execute(_ADMISSION, {"space": LOCK_SPACE, "buckets": lock_buckets(user_ids)} | asked).all()
    unknown = {name for what, name in said if what == _UNKNOWN}
    return _refused(connection, privacy, users, said), unknown


def claim_key(connection: Connection, privacy: Privacy) -> None:
    """Ties the store to the key of the keyed hashes. Raises PrivacyError when it is tied to another one."""
    if (key := connection.scalar(_KEY_ID)) is None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:space, -1)"), {"space": LOCK_SPACE})
        key = connection.scalar(_KEY_ID)
    if key is None:
        connection.execute(insert(PrivacyKey).values(key_id=privacy.key_id))
    else:
        check_key(key, privacy)


def set_consent(connection: Connection, privacy: Privacy, names: Sequence[str], consent: bool) -> None:
    """Keeps what the user said, under the first of their names (`Privacy.names`). A yes lifts the tombstones, and a no
    under the other names; of a forgotten user a no is kept by the tombstone alone."""
    user_id, *earlier = names
    lock_users(connection, names, exclusive=True)
    told = refused(connection, privacy, names)
    forgotten = [name for name, reason in told.items() if reason == FORGOTTEN]
    if user_id in forgotten and not consent:
        return
    if consent:
        hashes = [privacy.tombstone(name) for name in forgotten]
        connection.execute(delete(Tombstone).where(Tombstone.user_hash.in_(hashes)))
        connection.execute(update(User).where(User.user_id.in_(earlier)).values(consent=True))
    said = insert(User).values(user_id=user_id, consent=consent)
    connection.execute(said.on_conflict_do_update(index_elements=[User.user_id], set_={"consent": consent}))


def lock_buckets(user_ids: Iterable[str]) -> str | None:
    """The locks of users, as an int[]."""
    return number_array(sorted({zlib.crc32(user.encode()) % LOCK_COUNT for user in user_ids}))


def storable_ids(user_ids: Iterable[str]) -> list[str]:
    """Those whom Postgres can be asked about."""
    return [user for user in user_ids if user.isprintable() or not UNSTORABLE.search(user)]


def _refused(
    connection: Connection, privacy: Privacy, user_ids: Sequence[str], said: Sequence[Row[str, str]]
) -> dict[str, str]:
    reasons = {name: NO_CONSENT for what, name in said if what == _CONSENT}
    keys = [name for what, name in said if what == _KEY]
    if keys:
        check_key(keys[0], privacy)
        hashes = {privacy.tombstone(user): user for user in user_ids}
        found = connection.scalars(_TOMBSTONES, {"hashes": text_array(list(hashes))})
        reasons |= {hashes[one]: FORGOTTEN for one in found}
    return reasons


def check_key(key: str, privacy: Privacy) -> None:
    """Raises PrivacyError unless it is the key of this process."""
    if key != privacy.key_id:
        raise PrivacyError(
            "this process has another privacy key than the store was filled with: give all of them the same "
            "DUOTEMPO_PRIVACY__KEY, or the same home"
        )


def export_user(connection: Connection, privacy: Privacy, names: Sequence[str]) -> dict[str, Any]:
    """The rows of every table that names the user by one of `names` (`Privacy.names`). Raises PrivacyError."""
    reason = next(iter(refused(connection, privacy, names).values()), None)
    found: dict[str, Any] = {"user_id": names[0], "excluded_reason": reason, "nothing_is_kept_because": reason}
    for name, query in _QUERIES.items():
        rows = connection.execute(text(f"SELECT to_jsonb(found) FROM ({query}) AS found"), {"names": list(names)})
        found[name] = list(rows.scalars())
    return found
