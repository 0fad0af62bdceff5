"""Keyed hashes of user ids: the pseudonyms that the store may know people by, and what is left of who was forgotten.

HMAC-SHA256 (RFC 2104) with a key that lies outside of Postgres: ids are easily guessed, so that a plain hash of one
would hide nobody from a reader of the database.
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
    """The key of the keyed hashes cannot be had, or is not the one that the store was filled with."""


class Privacy:
    """The key is read when it is first needed: where nobody was forgotten and no pseudonyms are wanted, never."""

    def __init__(self, settings: Settings) -> None:
        self.pseudonyms = settings.privacy.pseudonyms
        self._given = settings.privacy.key
        self._file = settings.home.expanduser() / KEY_FILE

    def pseudonym(self, user_id: str) -> str:
        """The id under which the store knows the user: the id itself where no pseudonyms are wanted.

        A pseudonym is its own pseudonym, so that what the store says of users can be asked again.
        """
        cleaned = clean_id(user_id) if self.pseudonyms else None
        if cleaned is None or _PSEUDONYM.fullmatch(cleaned):
            return user_id
        return self._pseudonym(cleaned)

    def legacy_names(self, written: str) -> set[str]:
        """Under which earlier versions knew somebody whose id is written so, beside what the store knows them as now:
        they cleaned less."""
        return {self._pseudonym(one) if self.pseudonyms else one for one in legacy_ids(written)}

    def names(self, user_id: PersonId) -> list[str]:
        """All under which the store may know the user, first what it calls them now."""
        return [self.pseudonym(user_id), *sorted(self.legacy_names(user_id.written))]

    def tombstone(self, user_id: str) -> str:
        """What stays of a forgotten user, 64 hexadecimal digits; `user_id` as the store knew it."""
        return self._keyed("tombstone", user_id)

    def _pseudonym(self, cleaned: str) -> str:
        return f"u_{self._keyed('pseudonym', cleaned)[:40]}"

    @cached_property
    def key_id(self) -> str:
        """Tells one key from another, and nothing of either."""
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
                f"the key of the keyed hashes, {self._file}, can neither be read nor made ({error}): "
                "set DUOTEMPO_PRIVACY__KEY, the same for every process of this database"
            ) from error


def _read_or_create(file: Path) -> bytes:
    """The key in the file, made when it is missing. Of processes that make it at once one wins."""
    if not file.is_file():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_hex(KEY_BYTES))
        try:
            os.link(made, file)
        except FileExistsError:
            pass
        finally:
            Path(made).unlink()
    return file.read_bytes()
