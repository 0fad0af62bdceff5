"""What people have said about their data: who does not consent, who was forgotten; and the lock that both hold by."""

import zlib
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, select, text
from sqlalchemy.dialects.postgresql import insert

from components.privacy import Privacy, PrivacyError
from components.store.arrays import number_array, text_array
from components.store.normalize import UNSTORABLE
from components.store.schema import PrivacyKey, Tombstone, User

NO_CONSENT = "no_consent: this user does not consent; nothing was stored"
FORGOTTEN = "forgotten_user: this user was erased; POST /consent with true lets events in again"
BUCKETS = 256
"""Locks of all users together: few enough for Postgres, many enough that people seldom wait for each other."""
_SPACE = 0x70656F70
_LOCK = "SELECT pg_advisory_xact_lock{how}(:space, bucket) FROM unnest(CAST(:buckets AS int[])) AS bucket"
_ALONE, _SHARED = text(_LOCK.format(how="")), text(_LOCK.format(how="_shared"))
_SAID = text(
    "SELECT true AS of_user, user_id AS said FROM users WHERE user_id = ANY(CAST(:users AS text[])) AND NOT consent"
    " UNION ALL SELECT false, key_id FROM privacy_key"
)
_KEY = text("SELECT key_id FROM privacy_key")


def lock_users(connection: Connection, user_ids: Iterable[str], *, alone: bool = False) -> None:
    """Held to the end of the transaction. Writers of a user's rows share it; who erases them, or changes the consent,
    holds it alone: what was written before is seen, what comes after sees the tombstone. Take it before other locks."""
    buckets = sorted({zlib.crc32(user.encode()) % BUCKETS for user in user_ids})
    connection.execute(_ALONE if alone else _SHARED, {"space": _SPACE, "buckets": number_array(buckets)})


def refused(connection: Connection, privacy: Privacy, user_ids: Collection[str]) -> dict[str, str]:
    """The users of whom nothing may be kept or used, with the reason. Under the lock of `lock_users` it stays so.

    Raises PrivacyError when the store was filled with another key.
    """
    storable = [user for user in user_ids if not UNSTORABLE.search(user)]
    said = connection.execute(_SAID, {"users": text_array(storable)}).all()
    reasons = {user: NO_CONSENT for of_user, user in said if of_user}
    keys = [key for of_user, key in said if not of_user]
    if keys:
        _check(keys[0], privacy)
        hashes = {privacy.tombstone(user): user for user in storable}
        found = connection.scalars(select(Tombstone.user_hash).where(Tombstone.user_hash.in_(list(hashes))))
        reasons |= {hashes[one]: FORGOTTEN for one in found}
    return reasons


def claim_key(connection: Connection, privacy: Privacy) -> None:
    """Ties the store to the key of the keyed hashes. Raises PrivacyError when it is tied to another one."""
    if (key := connection.scalar(_KEY)) is None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:space, -1)"), {"space": _SPACE})
        key = connection.scalar(_KEY)
    if key is None:
        connection.execute(insert(PrivacyKey).values(key_id=privacy.key_id))
    else:
        _check(key, privacy)


def set_consent(connection: Connection, privacy: Privacy, user_id: str, consent: bool) -> None:
    """Keeps what the user said. A yes lifts the tombstone; of a forgotten user a no is kept by the tombstone alone."""
    lock_users(connection, [user_id], alone=True)
    forgotten = refused(connection, privacy, [user_id]).get(user_id) == FORGOTTEN
    if forgotten and not consent:
        return
    if forgotten:
        connection.execute(delete(Tombstone).where(Tombstone.user_hash == privacy.tombstone(user_id)))
    said = insert(User).values(user_id=user_id, consent=consent)
    connection.execute(said.on_conflict_do_update(index_elements=[User.user_id], set_={"consent": consent}))


def _check(key: str, privacy: Privacy) -> None:
    if key != privacy.key_id:
        raise PrivacyError(
            "this process has another privacy key than the store was filled with: give all of them the same "
            "DUOTEMPO_PRIVACY__KEY, or the same home"
        )
