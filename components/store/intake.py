"""Events into the store by one statement, which is its own transaction, as long as nothing speaks against them."""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from sqlalchemy import Connection, text

from components.store.arrays import text_array
from components.store.load import EVENT_ARRAYS, event_arrays, in_order
from components.store.people import FORGOTTEN, NO_CONSENT, SPACE, buckets, check_key, storable
from components.store.privacy import Privacy
from components.store.rows import EventRow

_TAKE_IN = text(
    "SELECT what, said FROM take_in(:space, CAST(:buckets AS int[]), CAST(:users AS text[]), CAST(:items AS text[]),"
    f" CAST(:key AS text), CAST(:hashes AS text[]), {EVENT_ARRAYS})"
)


@dataclass(frozen=True)
class Taken:
    """known: the event_ids that were there before. Where anything else is told, nothing was stored: refused: users of
    whom nothing may be kept, with the reason; unknown: items that the catalogue lacks; keyed: the tombstones must be
    asked too."""

    known: Set[str]
    refused: Mapping[str, str]
    unknown: Set[str]
    keyed: bool

    @property
    def stored(self) -> bool:
        return not (self.refused or self.unknown or self.keyed)


def take_in(
    connection: Connection, privacy: Privacy, user_ids: Collection[str], rows: Sequence[EventRow], *, keyed: bool
) -> Taken:
    """Stores events (event_id unique among them) of users under the lock of `lock_users`, if all of these users and
    items are welcome. keyed: asks the tombstones, too. The partitions must be there. Raises PrivacyError."""
    users = storable(user_ids)
    hashes = {privacy.tombstone(user): user for user in users} if keyed else {}
    asked = {
        "space": SPACE,
        "buckets": buckets(user_ids),
        "users": text_array(users),
        "items": text_array(list({row.item_id for row in rows})),
        "key": privacy.key_id if keyed else None,
        "hashes": text_array(list(hashes)),
    }
    said: dict[str, list[str]] = {}
    for what, name in connection.execute(_TAKE_IN, asked | event_arrays(in_order(rows))):
        said.setdefault(what, []).append(name)
    for key in said.get("key", []):
        check_key(key, privacy)
    refused = dict.fromkeys(said.get("no_consent", []), NO_CONSENT)
    refused |= {hashes[one]: FORGOTTEN for one in said.get("forgotten", [])}
    return Taken(set(said.get("known", [])), refused, set(said.get("unknown_item", [])), "key" in said)
