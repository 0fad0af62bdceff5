"""`python -m infra.services.encoder`: keeps the encoder loaded and computes text vectors of new items.

The service requests them in the table item_vectors; both sides are notified by NOTIFY. While Postgres or this process
is down, the requests stay queued in the table.
"""

import logging
import time
from collections.abc import Mapping
from typing import NoReturn

import psycopg
from sqlalchemy import Engine

from components.core.logs import configure_logging
from components.embedding.choose import candidates
from components.embedding.encoder import Encoder
from components.interests.documents import item_text
from components.settings import Settings
from components.store.engine import ITEMS, VECTORS, StoreError, listen, make_engine
from components.store.item_vectors import LISTENER, pending_items, unknown_encoders, write_vectors

BATCH_SIZE = 256
BATCH_DELAY_SECONDS = 0.5
"""Delay after a notification, so that single items are embedded, and loaded by the service, in batches."""
POLL_SECONDS = 30.0
"""Polling interval without notifications."""
RETRY_SECONDS = 1.0
log = logging.getLogger(__name__)


class ResidentEncoder:
    """Computes the requested vectors until the process is stopped.

    Args:
        encoders: By key, the encoders that served versions may have been trained with.
    """

    def __init__(self, url: str, engine: Engine, encoders: Mapping[str, Encoder]) -> None:
        self._url = url
        self._engine = engine
        self._encoders = encoders
        self._unknown_counts: dict[str, int] = {}

    def run(self) -> NoReturn:
        while True:
            try:
                self._listen()
            except (psycopg.Error, StoreError) as error:
                log.warning("new items are not embedded: %s", str(error).partition("\n")[0])
            time.sleep(RETRY_SECONDS)

    def _listen(self) -> NoReturn:
        with listen(self._url, [ITEMS, VECTORS], LISTENER) as connection:
            log.info("ready: new items get vectors of %s", " or ".join(self._encoders))
            while True:
                while self._encode_batch():
                    pass
                self._warn_unknown_encoders()
                if list(connection.notifies(timeout=POLL_SECONDS, stop_after=1)):
                    time.sleep(BATCH_DELAY_SECONDS)
                    list(connection.notifies(timeout=0))

    def _encode_batch(self) -> bool:
        """Embeds one batch of requested items; returns whether there were any."""
        with self._engine.begin() as connection:
            pending = pending_items(connection, self._encoders.keys(), BATCH_SIZE)
            for key, encoder in self._encoders.items():
                if not (items := [item for item in pending if item["encoder"] == key]):
                    continue
                texts = [item_text(item["title"], item["category"], item["description"]) for item in items]
                ids, hashes = ([item[name] for item in items] for name in ("item_id", "text_hash"))
                write_vectors(connection, key, ids, hashes, encoder.encode(texts))
        if pending:
            log.info("%d items embedded", len(pending))
        return bool(pending)

    def _warn_unknown_encoders(self) -> None:
        with self._engine.begin() as connection:
            unknown = unknown_encoders(connection, self._encoders.keys())
        if unknown != self._unknown_counts:
            for key, count in unknown.items():
                log.warning(
                    "items that wait for %s: %d; the settings `embedding` no longer select that encoder: retrain with "
                    "these settings, or start the encoder with those of the training",
                    key,
                    count,
                )
        self._unknown_counts = unknown


def main() -> None:
    configure_logging(logging.StreamHandler())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = Settings()
    if not settings.database_url:
        raise SystemExit("DUOTEMPO_DATABASE_URL is not set: name the Postgres that holds the items")
    encoders = {encoder.key: encoder for encoder in candidates(settings.embedding)}
    default_encoder = next(iter(encoders.values()))
    default_encoder.encode(["An item's text, so that the weights are loaded before one is asked for."])
    ResidentEncoder(settings.database_url, make_engine(settings.database_url), encoders).run()


if __name__ == "__main__":
    main()
