"""What users and shops tell the service, stored before it is answered."""

import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import pandas as pd
from sqlalchemy import Connection

from components.columns import Columns
from components.privacy import Privacy
from components.settings import EventSettings
from components.store.admission import admit
from components.store.clean import clean_events, clean_items
from components.store.impressions import read_answerers
from components.store.load import append_events, quarantine, upsert_items
from components.store.normalize import clean_id
from serving.catalogue import read_items
from serving.database import Database, DatabaseAway
from serving.errors import unavailable
from serving.impressions import Impressions
from serving.metrics import Metrics
from serving.requests import Body, FeedbackRequest, ItemsRequest
from serving.variants import Variants

FEEDBACK = "feedback"
CATALOGUE = "api"
logger = logging.getLogger(__name__)


class Intake:
    """Takes feedback and items in: cleaned by the rules of ingest, one transaction a batch, rejected rows kept."""

    def __init__(
        self,
        database: Database,
        settings: EventSettings,
        privacy: Privacy,
        metrics: Metrics,
        variants: Variants,
        impressions: Impressions,
    ) -> None:
        self._database = database
        self._settings = settings
        self._privacy = privacy
        self._metrics = metrics
        self._variants = variants
        self._impressions = impressions

    def feedback(self, request: FeedbackRequest) -> dict[str, object]:
        """The answer of /feedback, after the commit. Raises ApiError (503) when nothing was stored."""
        now = time.time()
        raw = _frame(request.events)
        raw[Columns.TIMESTAMP] = raw[Columns.TIMESTAMP].where(raw[Columns.TIMESTAMP].notna(), now)
        items = {item for event in request.events if (item := clean_id(event.item_id)) and "\x00" not in item}
        try:
            with self._database.begin() as connection:
                admitted, refused = admit(connection, raw, self._privacy)
                cleaned = clean_events(
                    admitted,
                    source=FEEDBACK,
                    settings=self._settings,
                    known_items=read_items(connection, items),
                    now=datetime.fromtimestamp(now, UTC),
                )
                accepted = append_events(connection, self._attributed(connection, cleaned.rows))
                rejected = pd.concat([cleaned.rejected, refused]).sort_index()
                quarantine(connection, FEEDBACK, rejected)
        except DatabaseAway as error:
            raise unavailable(
                "database_away", "nothing was stored: Postgres is away; send the same batch again"
            ) from error
        for user in set(cleaned.rows[Columns.USER]):
            self._variants.users_changed(user)
        duplicates = cleaned.duplicates + len(cleaned.rows) - accepted
        for outcome, count in (("accepted", accepted), ("duplicate", duplicates), ("rejected", len(rejected))):
            self._metrics.feedback.labels(outcome).inc(count)
        return {"accepted": accepted, "duplicates": duplicates, "rejected": _told(rejected)}

    def _attributed(self, connection: Connection, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows with version and variant: of the user's answer that they name, else of who answers the user now."""
        named = set(rows[Columns.REQUEST].dropna())
        shown = self._impressions.answerers(named)
        shown |= read_answerers(connection, named - {request for request, _ in shown})
        by = [
            shown.get((request, user)) or self._variants.assigned(user)
            for request, user in zip(rows[Columns.REQUEST], rows[Columns.USER], strict=True)
        ]
        versions, variants = [part.model_version for part in by], [part.variant for part in by]
        return rows.assign(**{Columns.MODEL_VERSION: versions, Columns.VARIANT: variants})

    def items(self, request: ItemsRequest) -> dict[str, object]:
        """The answer of /items: an item that is there already is replaced. Raises ApiError (503)."""
        cleaned = clean_items(_frame(request.items), source=CATALOGUE)
        try:
            with self._database.begin() as connection:
                upsert_items(connection, cleaned.rows)
                quarantine(connection, CATALOGUE, cleaned.rejected)
        except DatabaseAway as error:
            raise unavailable(
                "database_away", "no item was stored: Postgres is away; send the same batch again"
            ) from error
        self._tell_items(cleaned.rows[Columns.ITEM])
        return {"accepted": len(cleaned.rows), "rejected": _told(cleaned.rejected)}

    def _tell_items(self, item_ids: Iterable[str]) -> None:
        try:
            self._variants.items_changed(*item_ids)
        except DatabaseAway as error:
            logger.warning("changed items are known once Postgres is back: %s", error)


def _frame(rows: Sequence[Body]) -> pd.DataFrame:
    return pd.DataFrame([row.model_dump() for row in rows], dtype=object)


def _told(rejected: pd.DataFrame) -> list[dict[str, object]]:
    rows = zip(rejected.index.tolist(), rejected[Columns.REASON].tolist(), strict=True)
    return [{"index": index, "reason": reason} for index, reason in rows]
