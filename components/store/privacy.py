"""Keyed hashes of user ids: pseudonyms and tombstones.

HMAC-SHA256 (RFC 2104) with a key outside of Postgres. Ids are easy to guess, so plain hashes would not protect them
from a reader of the database.
"""

import hashlib
import hmac
import os
import re
import secrets
import tempfile
from functools import cached_property
from pathlib import Path

from components.core.errors import DuotempoError
from components.core.ids import PersonId, clean_id, legacy_ids
from components.settings import Settings

KEY_FILE = Path("secrets", "privacy")
KEY_BYTES = 32
_PSEUDONYM = re.compile(r"u_[0-9a-f]{40}")


class PrivacyError(DuotempoError):
    """The key of the keyed hashes is unavailable, or is not the one that the store is tied to."""


class Privacy:
    """Computes pseudonyms and tombstones. The key is read on first use: never, without erasures and pseudonyms."""

    def __init__(self, settings: Settings) -> None:
        self.pseudonyms = settings.privacy.pseudonyms
        self._given = settings.privacy.key
        self._file = settings.home.expanduser() / KEY_FILE

    def pseudonym(self, user_id: str) -> str:
        """The id that the store uses for a user: the given id itself if pseudonyms are off.

        Idempotent: a pseudonym is returned unchanged, so stored ids can be passed in.
        """
        cleaned = clean_id(user_id) if self.pseudonyms else None
        if cleaned is None or _PSEUDONYM.fullmatch(cleaned):
            return user_id
        return self._pseudonym(cleaned)

    def legacy_names(self, raw: str) -> set[str]:
        """Other ids that earlier versions, which cleaned less, stored for a user with this raw id."""
        return {self._pseudonym(legacy) if self.pseudonyms else legacy for legacy in legacy_ids(raw)}

    def names(self, user_id: PersonId) -> list[str]:
        """All ids that the store may hold for a user, the current one first."""
        return [self.pseudonym(user_id), *sorted(self.legacy_names(user_id.written))]

    def tombstone(self, user_id: str) -> str:
        """The hash that remains of an erased user, 64 hexadecimal digits; `user_id` as stored."""
        return self._keyed("tombstone", user_id)

    def _pseudonym(self, cleaned: str) -> str:
        return f"u_{self._keyed('pseudonym', cleaned)[:40]}"

    @cached_property
    def key_id(self) -> str:
        """A fingerprint that identifies the key without revealing it."""
        return self._keyed("key", "")[:16]

    def _keyed(self, purpose: str, user_id: str) -> str:
        message = f"{purpose}\0{user_id}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()

    @cached_property
    def _key(self) -> bytes:
        if self._given:
            return self._given.get_secret_value().encode()
        try:
            return _read_or_create(self._file)
        except OSError as error:
            raise PrivacyError(
                f"the key of the keyed hashes, {self._file}, can neither be read nor created ({error}): "
                "set DUOTEMPO_PRIVACY__KEY, the same for every process of this database"
            ) from error


def _read_or_create(file: Path) -> bytes:
    """Reads the key file, created when missing. If several processes create it at once, one wins."""
    if not file.is_file():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_hex(KEY_BYTES))
        try:
            os.link(temporary, file)
        except FileExistsError:
            pass
        finally:
            Path(temporary).unlink()
    return file.read_bytes()
