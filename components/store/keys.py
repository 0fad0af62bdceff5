"""API keys: create, rotate, revoke, verify. The store holds only the digest of a key.

A key has 256 random bits, so inverting its plain SHA-256 is as hard as guessing the key. A slow password hash would
delay every request and add no security.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select, update

from components.core.errors import DuotempoError
from components.store.schema import ApiKey

RECOMMEND, FEEDBACK, ADMIN = "recommend", "feedback", "admin"
SCOPES = (RECOMMEND, FEEDBACK, ADMIN)
SIGN_IN = "sign_in"
"""The scope of a single-use key that can only start a session."""
LINK, SESSION = "sign-in link", "signed-in page"
"""Names of the keys that `create_link` and `sign_in` make."""
LINK_LIFETIME = timedelta(minutes=5)
SESSION_LIFETIME = timedelta(hours=12)
KEY_BYTES = 32
_KEY = re.compile(r"dt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_DUMMY_DIGEST = hashlib.sha256(b"").hexdigest()


class UnknownKey(DuotempoError):
    """There is no such key or scope; the message lists the existing ones."""


@dataclass(frozen=True)
class Key:
    """A stored API key.

    Attributes:
        key_id: Public part of the key.
        expires_at: None for a key that does not expire.
    """

    key_id: str
    name: str
    scopes: frozenset[str]
    digest: str
    expires_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Whether the key has not expired."""
        return self.expires_at is None or now < self.expires_at


def create_key(
    connection: Connection, name: str, scopes: Sequence[str], lifetime: timedelta | None = None
) -> tuple[str, str]:
    """Creates a key and returns (key_id, key). The key itself cannot be read again later. Raises UnknownKey."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise UnknownKey(f"no scope {', '.join(unknown) or 'was given'}: the scopes are {', '.join(SCOPES)}")
    return _create(connection, name, scopes, lifetime)


def create_link(connection: Connection) -> str:
    """Creates a single-use token for `sign_in`, valid for LINK_LIFETIME. Deletes expired links and sessions."""
    expired = delete(ApiKey).where(ApiKey.name.in_([LINK, SESSION]), ApiKey.expires_at < func.now())
    connection.execute(expired)
    return _create(connection, LINK, [SIGN_IN], LINK_LIFETIME)[1]


def sign_in(connection: Connection, token: str) -> str | None:
    """Exchanges an unused token for the key of a new session with all scopes; None for any other token."""
    parts = _KEY.fullmatch(token)
    if parts is None:
        return None
    unused = (ApiKey.key_id == parts[1], ApiKey.digest == _digest(token), ApiKey.scopes == [SIGN_IN])
    consumed = delete(ApiKey).where(*unused, ApiKey.expires_at > func.now()).returning(ApiKey.key_id)
    if connection.execute(consumed).one_or_none() is None:
        return None
    return _create(connection, SESSION, SCOPES, SESSION_LIFETIME)[1]


def _create(connection: Connection, name: str, scopes: Sequence[str], lifetime: timedelta | None) -> tuple[str, str]:
    key_id = secrets.token_hex(6)
    key = f"dt_{key_id}_{secrets.token_urlsafe(KEY_BYTES)}"
    expires_at = datetime.now(UTC) + lifetime if lifetime else None
    row = {"key_id": key_id, "name": name, "scopes": sorted(set(scopes)), "digest": _digest(key)}
    connection.execute(insert(ApiKey).values(**row, expires_at=expires_at))
    return key_id, key


def rotate_key(connection: Connection, key_id: str, grace: timedelta) -> tuple[str, str]:
    """Creates a key with the same name and scopes and returns (key_id, key); the old one expires after `grace`.

    Raises UnknownKey.
    """
    old = _valid_key(connection, key_id)
    revoke_key(connection, key_id, grace)
    return create_key(connection, old.name, sorted(old.scopes))


def revoke_key(connection: Connection, key_id: str, grace: timedelta = timedelta(0)) -> None:
    """Makes a key expire after `grace`. Raises UnknownKey."""
    _valid_key(connection, key_id)
    end = datetime.now(UTC) + grace
    connection.execute(update(ApiKey).where(ApiKey.key_id == key_id).values(expires_at=end))


def read_keys(connection: Connection) -> dict[str, Key]:
    """All keys by key_id, oldest first, including expired ones."""
    rows = connection.execute(select(ApiKey.__table__).order_by(ApiKey.created_at)).all()
    return {row.key_id: Key(row.key_id, row.name, frozenset(row.scopes), row.digest, row.expires_at) for row in rows}


def verify(keys: Mapping[str, Key], presented: str, now: datetime) -> Key | None:
    """The valid key that was presented, or None.

    Digests are compared in constant time, and an unknown key_id takes as long as a wrong key.
    """
    parts = _KEY.fullmatch(presented)
    key = keys.get(parts[1]) if parts else None
    matches = hmac.compare_digest(_digest(presented), key.digest if key else _DUMMY_DIGEST)
    return key if key and matches and key.is_valid(now) else None


def _valid_key(connection: Connection, key_id: str) -> Key:
    now = datetime.now(UTC)
    valid = {name: key for name, key in read_keys(connection).items() if key.is_valid(now)}
    if key_id not in valid:
        raise UnknownKey(f"there is no living key {key_id}: there are {', '.join(valid) or 'none'}")
    return valid[key_id]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
