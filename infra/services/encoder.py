"""`python -m infra.services.encoder`: computes text vectors of new items.

The service requests them in the table item_vectors; both sides are notified by NOTIFY. While Postgres or this process
is down, the requests stay queued in the table. When no item has come for a while, the process replaces itself by one
that knows the keys of its encoders, but loads the encoders, with torch and transformers, only for the next item.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

import psycopg
from sqlalchemy import Engine

from components.core.logs import configure_logging
from components.embedding.choose import candidates
from components.embedding.encoder import Encoder
from components.interests.documents import item_text
from components.settings import EmbeddingSettings, Settings
from components.store.engine import ITEMS, VECTORS, StoreError, listen, make_engine
from components.store.item_vectors import LISTENER, pending_items, unknown_encoders, write_vectors

BATCH_SIZE = 256
BATCH_DELAY_SECONDS = 0.5
"""Delay after a notification, so that single items are embedded, and loaded by the service, in batches."""
POLL_SECONDS = 30.0
"""Polling interval without notifications."""
RETRY_SECONDS = 1.0
IDLE_SECONDS = 300.0
"""Time without new items after which libraries and weights leave memory."""
KEYS = "DUOTEMPO_ENCODER_KEYS"
"""Variable that passes the keys on when the process replaces itself."""
log = logging.getLogger(__name__)


class ResidentEncoder:
    """Computes the requested vectors until the process is stopped.

    Args:
        settings: Name the encoders that served versions may have been trained with.
        keys: Those of the encoders, if known.
    """

    def __init__(self, url: str, engine: Engine, settings: EmbeddingSettings, keys: Sequence[str] = ()) -> None:
        self._url = url
        self._engine = engine
        self._settings = settings
        self._loaded: dict[str, Encoder] = {}
        self._keys = keys or list(self._encoders())
        self._unknown_counts: dict[str, int] = {}
        self._active = time.monotonic()

    def run(self) -> NoReturn:
        while True:
            try:
                self._listen()
            except (psycopg.Error, StoreError) as error:
                log.warning("new items are not embedded: %s", str(error).partition("\n")[0])
            time.sleep(RETRY_SECONDS)

    def _listen(self) -> NoReturn:
        with listen(self._url, [ITEMS, VECTORS], LISTENER) as connection:
            log.info("ready: new items get vectors of %s", " or ".join(self._keys))
            while True:
                while self._encode_batch():
                    pass
                self._warn_unknown_encoders()
                if list(connection.notifies(timeout=POLL_SECONDS, stop_after=1)):
                    time.sleep(BATCH_DELAY_SECONDS)
                    list(connection.notifies(timeout=0))
                if self._loaded and time.monotonic() - self._active > IDLE_SECONDS:
                    self._leave_memory()

    def _leave_memory(self) -> NoReturn:
        log.info("no new items for %.0f s: the encoder leaves memory", IDLE_SECONDS)
        environment = os.environ | {KEYS: json.dumps(list(self._keys))}
        os.execve(sys.executable, [sys.executable, "-m", "infra.services.encoder"], environment)

    def _encoders(self) -> dict[str, Encoder]:
        if not self._loaded:
            self._loaded = {encoder.key: encoder for encoder in candidates(self._settings)}
        return self._loaded

    def _encode_batch(self) -> bool:
        """Embeds one batch of requested items; returns whether there were any."""
        with self._engine.begin() as connection:
            pending = pending_items(connection, self._keys, BATCH_SIZE)
            for key in self._keys:
                if not (items := [item for item in pending if item["encoder"] == key]):
                    continue
                texts = [item_text(item["title"], item["category"], item["description"]) for item in items]
                ids, hashes = ([item[name] for item in items] for name in ("item_id", "text_hash"))
                write_vectors(connection, key, ids, hashes, self._encoders()[key].encode(texts))
        if pending:
            self._active = time.monotonic()
            log.info("%d items embedded", len(pending))
        return bool(pending)

    def _warn_unknown_encoders(self) -> None:
        with self._engine.begin() as connection:
            unknown = unknown_encoders(connection, self._keys)
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
    engine = make_engine(settings.database_url)
    keys = json.loads(os.environ.pop(KEYS, "[]"))
    ResidentEncoder(settings.database_url, engine, settings.embedding, keys).run()


if __name__ == "__main__":
    main()
