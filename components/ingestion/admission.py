"""The door for events: users get their pseudonyms, and rows of people of whom nothing may be kept stay outside."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from sqlalchemy import Connection

from components.core.ids import clean_id
from components.store.people import claim_key, lock_and_check
from components.store.privacy import Privacy


@dataclass(frozen=True)
class Admission:
    """names: what the store calls users, by their cleaned ids, where that differs. refused: the reasons, by name.
    items: those of the catalogue that were asked for."""

    names: Mapping[str, str]
    refused: Mapping[str, str]
    items: Set[str] = frozenset()

    def without(self, refused: Mapping[str, str], items: Set[str]) -> "Admission":
        """As this one, but that these users, by name, and these items stay outside."""
        return Admission(self.names, {**self.refused, **refused}, self.items - items)


ADMIT_ALL = Admission({}, {})


def identified(privacy: Privacy, user_ids: Iterable[object]) -> tuple[set[str], dict[str, str]]:
    """The cleaned ids; and what earlier versions called the users whose ids are not written so, with what the store
    calls them now: who was refused by the one name is refused by the other."""
    users: set[str] = set()
    earlier: dict[str, str] = {}
    for given in user_ids:
        if not (user := clean_id(given)):
            continue
        users.add(user)
        if user != given and isinstance(given, str):
            earlier |= dict.fromkeys(privacy.legacy_names(given), privacy.pseudonym(user))
    return users, earlier


def admit(
    connection: Connection, user_ids: Iterable[object], privacy: Privacy, item_ids: Set[str] = frozenset()
) -> Admission:
    """Who of these may come in. They stay locked to the end of the transaction, so that an erasure and a writer never
    miss each other. Raises PrivacyError."""
    users, earlier = identified(privacy, user_ids)
    names = {user: privacy.pseudonym(user) for user in users} if privacy.pseudonyms else {}
    stored_ids = names.values() if privacy.pseudonyms else users
    told, unknown = lock_and_check(connection, privacy, {*stored_ids, *earlier}, item_ids)
    refused = {earlier.get(name, name): reason for name, reason in told.items()}
    if privacy.pseudonyms:
        claim_key(connection, privacy)
    return Admission(names, refused, item_ids - unknown)
