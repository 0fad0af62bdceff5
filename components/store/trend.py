"""What is wanted lately, by the events in Postgres."""

from datetime import datetime

from sqlalchemy import Connection, and_, func, not_, select

from components.histories.signals import RATED
from components.settings import EventSettings
from components.store.schema import Event


def count_wanted(connection: Connection, since: datetime, settings: EventSettings) -> dict[str, int]:
    """Positive events of each item from `since` on, those that `components.histories.signals` calls positive."""
    positive = [kind for kind, weight in settings.weights.items() if weight * settings.signs[kind] > 0]
    disliked = and_(Event.event.in_(RATED), func.coalesce(Event.value, settings.dislike_below) < settings.dislike_below)
    counted = select(Event.item_id, func.count()).where(
        Event.occurred_at >= since, Event.event.in_(positive), not_(disliked)
    )
    return dict(connection.execute(counted.group_by(Event.item_id)).all())
