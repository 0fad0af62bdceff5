"""Admission of events: maps users to pseudonyms and finds users whose data may not be stored."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from sqlalchemy import Connection

from components.core.ids import clean_id
from components.store.consent import claim_key, lock_and_check
from components.store.privacy import Privacy


@dataclass(frozen=True)
class Admission:
    """Which users and items may be stored.

    Attributes:
        names: Stored ids by cleaned id, where they differ.
        refused: Reasons by stored id of the users whose data may not be stored.
        items: The requested items that are in the catalogue.
    """

    names: Mapping[str, str]
    refused: Mapping[str, str]
    items: Set[str] = frozenset()

    def without(self, refused: Mapping[str, str], items: Set[str]) -> "Admission":
        """A copy that also refuses these users (by stored id) and items."""
        return Admission(self.names, {**self.refused, **refused}, self.items - items)


ADMIT_ALL = Admission({}, {})


def cleaned_ids(privacy: Privacy, user_ids: Iterable[object]) -> tuple[set[str], dict[str, str]]:
    """Cleans user ids.

    Returns:
        The cleaned ids; and for users whose raw id differs from the cleaned one, their current stored id by each id
        that earlier versions stored, so that a refusal under an old id still holds.
    """
    users: set[str] = set()
    legacy: dict[str, str] = {}
    for raw_id in user_ids:
        if not (user := clean_id(raw_id)):
            continue
        users.add(user)
        if user != raw_id and isinstance(raw_id, str):
            legacy |= dict.fromkeys(privacy.legacy_names(raw_id), privacy.pseudonym(user))
    return users, legacy


def admit(
    connection: Connection, user_ids: Iterable[object], privacy: Privacy, item_ids: Set[str] = frozenset()
) -> Admission:
    """Determines which users and items may be stored, and locks the users until the end of the transaction.

    The lock guarantees that a concurrent erasure sees what this transaction writes.

    Raises:
        PrivacyError: The store is tied to another privacy key.
    """
    users, legacy = cleaned_ids(privacy, user_ids)
    names = {user: privacy.pseudonym(user) for user in users} if privacy.pseudonyms else {}
    stored_ids = names.values() if privacy.pseudonyms else users
    refusals, unknown = lock_and_check(connection, privacy, {*stored_ids, *legacy}, item_ids)
    refused = {legacy.get(name, name): reason for name, reason in refusals.items()}
    if privacy.pseudonyms:
        claim_key(connection, privacy)
    return Admission(names, refused, item_ids - unknown)
