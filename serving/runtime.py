"""Loads the service: settings, bundles, database, background threads; reports its readiness."""

import asyncio
import logging
import math
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from components.bundle.bundle import Bundle, BundleError
from components.settings import EventSettings, InterestSettings, Settings
from components.store.engine import StoreError
from components.store.privacy import Privacy
from components.store.variants import read_variants
from serving.contract.errors import unavailable
from serving.feedback.intake import FEEDBACK, Intake
from serving.feedback.privacy_requests import PrivacyRequests
from serving.feedback.replay import Replay
from serving.process import garbage
from serving.recommend.bundles import built_champion, bundle_folders
from serving.recommend.cache_warmup import CacheWarmer
from serving.recommend.histories import Histories
from serving.recommend.recommender import Recommender
from serving.recommend.shadow import Shadow
from serving.recommend.trend import read_trend
from serving.recommend.variants import Variants
from serving.storage.batched_reads import BatchedReads
from serving.storage.change_listener import ChangeListener, Poller
from serving.storage.impressions import Impressions
from serving.storage.microbatch import MicroBatcher
from serving.storage.postgres import Database
from serving.storage.spool import Size, Spool, SpoolError, open_spool
from serving.telemetry.metrics import Metrics
from serving.telemetry.tracing import Traces

DEFAULT_BUNDLES = Path(__file__).resolve().parent.parent / "bundles"
VARIANTS_SECONDS = 1.0
"""Poll interval of the table `variants`: how long a switch between versions in this Bento takes to be noticed."""
GIL_SWITCH_SECONDS = 0.0005
"""Interpreter switch interval in seconds: a tenth of Python's default, which shows in tail latency."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """The components of a loaded service."""

    settings: Settings
    database: Database
    recommender: Variants
    intake: Intake
    people: PrivacyRequests
    privacy: Privacy
    spool: Spool
    background: list[Poller | ChangeListener | Impressions | Replay | MicroBatcher[Any, Any] | CacheWarmer]


class Runtime:
    """The service's components, loaded in the background so that /livez and /readyz respond meanwhile."""

    def __init__(self, set_up: Callable[[Settings], None] = lambda _: None) -> None:
        """
        Args:
            set_up: Called with the settings before anything is loaded, such as to configure logging.
        """
        self._set_up = set_up
        self.traces = Traces()
        self.metrics = Metrics(self.traces)
        self.missing = ["the bundle is still being read"]
        self.loading = True
        self._parts: Parts | None = None

    @property
    def parts(self) -> Parts:
        """The loaded components. Raises ApiError (503) until loading has finished."""
        if self._parts is None:
            raise unavailable("not_ready", "; ".join(self.missing))
        return self._parts

    @property
    def model_version(self) -> str | None:
        """The champion's version, None until loading has finished."""
        return self._parts.recommender.model_version if self._parts else None

    def state(self) -> dict[str, object]:
        """The payload of /readyz."""
        variants = self._parts.recommender if self._parts else None
        return {
            "ready": not self.missing,
            "model_version": self.model_version,
            "missing": self.missing,
            "loading": self.loading,
            "versions": variants.versions if variants else [],
            "variants": [vars(variant) for variant in variants.active.values()] if variants else [],
            "notes": variants.notes if variants else [],
        }

    def load(self) -> None:
        """Reads settings and bundles, then starts the background threads.

        Raises:
            ValueError: A setting is missing or invalid.
            BundleError: There is no bundle, or the champion's cannot be read.
            StoreError: The database URL is invalid.
            SpoolError: The spool cannot be opened.
        """
        self._parts = self._assemble(Path(os.environ.get("DUOTEMPO_BUNDLES", DEFAULT_BUNDLES)))
        sys.setswitchinterval(GIL_SWITCH_SECONDS)
        threadpool_limits(1, user_api="blas")  # requests run concurrently: more BLAS threads per request only contend
        with ThreadPoolExecutor() as starting:  # most of them block on Postgres at first
            for started in [starting.submit(task.start) for task in self._parts.background]:
                started.result()

    def loaded(self, loading: asyncio.Task[None]) -> None:
        """Done callback of the loading task: updates the readiness that /readyz reports."""
        error = loading.exception()
        self.loading = False
        garbage.gc_for_serving()
        if error is None:
            self.missing = []
            logger.info("ready: model version %s", self.model_version)
        elif isinstance(error, BundleError | StoreError | SpoolError | ValueError):
            self.missing = [str(error)]
            logger.error("not ready: %s", error)
        else:
            self.missing = [f"the bundle cannot be used ({type(error).__name__}: {error}): register the version again"]
            logger.error("not ready", exc_info=error)

    def close(self) -> None:
        if self._parts:
            for task in self._parts.background:
                task.close()
            self._parts.recommender.close()
            self._parts.database.close()
            self._parts.spool.close()
            self.traces.close()

    def _assemble(self, bundles_folder: Path) -> Parts:
        settings = Settings()
        if not settings.database_url:
            raise ValueError("DUOTEMPO_DATABASE_URL is not set: name the Postgres that holds events and items")
        self._set_up(settings)
        self.traces.start()
        folders = bundle_folders(bundles_folder)
        champion = built_champion(bundles_folder, list(folders))
        database = Database(settings.database_url, settings.serving.read_seconds)
        database.trace_with(self.traces)
        self.metrics.watch_database(lambda: database.breaker.open)
        privacy = Privacy(settings)
        spool = open_spool(settings)
        self.metrics.watch_spool(partial(_size, spool))
        impressions = Impressions(database, privacy, self.metrics)
        histories = Histories(settings, spool, self.metrics)
        reads = BatchedReads(database, settings.serving.read_seconds)
        recommenders = {champion: self._recommender(folders[champion], settings, reads, impressions, histories)}
        unusable: dict[str, str] = {}
        for version in folders.keys() - {champion}:
            try:
                recommenders[version] = self._recommender(folders[version], settings, reads, impressions, histories)
            except Exception as error:  # a broken version must not take the champion down
                unusable[version] = f"{type(error).__name__}: {error}"
                logger.exception("version %s cannot be used", version)
        shadow = Shadow(database, self.metrics)
        variants = Variants(
            recommenders,
            champion,
            unusable=unusable,
            database=database,
            metrics=self.metrics,
            shadow=shadow,
            histories=histories,
        )
        intake = Intake(
            database,
            settings.events,
            privacy,
            self.metrics,
            variants,
            impressions,
            spool,
            settings.serving.write_seconds,
        )
        people = PrivacyRequests(database, privacy, variants, impressions, spool)
        background: list[Poller | ChangeListener | Impressions | Replay | MicroBatcher[Any, Any] | CacheWarmer] = [
            reads.reader,
            intake.writer,
            impressions,
            Replay(spool, database, privacy, self.metrics, histories, FEEDBACK),
            ChangeListener(settings.database_url, variants, database.backend_pids),
            CacheWarmer(database, histories),
            Poller(
                "variants", VARIANTS_SECONDS, database, lambda connection: variants.update(read_variants(connection))
            ),
            Poller(
                "trend",
                settings.serving.trend_seconds,
                database,
                lambda connection: variants.update_trend(read_trend(connection, settings.events)),
            ),
        ]
        return Parts(settings, database, variants, intake, people, privacy, spool, background)

    def _recommender(
        self, folder: Path, settings: Settings, reads: BatchedReads, impressions: Impressions, histories: Histories
    ) -> Recommender:
        bundle = Bundle.read(folder, mapped=True)
        trained = trained_settings(settings, bundle)
        recommender = Recommender(bundle, trained, reads, self.metrics, impressions, histories)
        self.metrics.model.labels(recommender.model_version).set(1)
        return recommender


def trained_settings(settings: Settings, bundle: Bundle) -> Settings:
    """The settings, with `events` and `interests` as they were in training, since scores depend on them."""
    events = EventSettings.model_validate(bundle.manifest["events"])
    interests = InterestSettings.model_validate(bundle.manifest["interests"])
    return settings.model_copy(update={"events": events, "interests": interests})


def _size(spool: Spool) -> Size:
    """The size of the spool for the metrics; NaN when it cannot be read."""
    try:
        return spool.size()
    except SpoolError as error:
        logger.error("%s", error)
        return Size(math.nan, math.nan, math.nan, math.nan)
