"""What Postgres says of items and users right now; the bundle's own copy is as old as the training."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, distinct, func, or_, select

from components.histories.signals import RATED
from components.ranking.filters import Exclusion
from components.store.schema import Event, Item, User


@dataclass(frozen=True)
class ListedItem:
    title: str
    category: list[str]
    available: bool


def read_items(connection: Connection, item_ids: Collection[str]) -> dict[str, ListedItem]:
    """The items by their id; one that the catalogue does not have is missing."""
    columns = select(Item.item_id, Item.title, Item.category, Item.available)
    rows = connection.execute(columns.where(Item.item_id == func.any(list(item_ids))))
    return {row.item_id: ListedItem(row.title, list(row.category), row.available) for row in rows}


def stream_items(connection: Connection) -> Iterator[tuple[str, ListedItem]]:
    """All items with their ids, a few thousand in memory at a time."""
    columns = select(Item.item_id, Item.title, Item.category, Item.available)
    for part in connection.execute(columns, execution_options={"yield_per": 10_000}).partitions():
        for item_id, title, category, available in part:
            yield item_id, ListedItem(title, category, available)


def read_excluded(connection: Connection, user_id: str, exclusion: Exclusion) -> set[str]:
    """Every item that is not shown to the user again."""
    low = and_(Event.event.in_(RATED), Event.value < exclusion.below)
    met = select(distinct(Event.item_id)).where(Event.user_id == user_id)
    return set(connection.scalars(met.where(or_(Event.event.in_(exclusion.kinds), low))))


def search_items(connection: Connection, query: str, limit: int) -> Sequence[dict[str, object]]:
    """Items whose title holds `query`, in the order of their titles."""
    columns = select(Item.item_id, Item.title, Item.category, Item.available)
    found = columns.where(Item.title.icontains(query, autoescape=True)).order_by(Item.title, Item.item_id).limit(limit)
    return [dict(row) for row in connection.execute(found).mappings()]


def active_users(connection: Connection, limit: int) -> Sequence[dict[str, object]]:
    """Users who consent, with the number of their events, the most active first."""
    events = func.count().label("events")
    counted = select(Event.user_id, events).join(User, User.user_id == Event.user_id).where(User.consent)
    ordered = counted.group_by(Event.user_id).order_by(events.desc(), Event.user_id).limit(limit)
    return [dict(row) for row in connection.execute(ordered).mappings()]
