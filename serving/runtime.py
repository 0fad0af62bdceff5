"""What the service is made of once it is ready, and what it still waits for."""

import asyncio
import gc
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from components.bundle import Bundle, BundleError
from components.privacy import Privacy
from components.settings import EventSettings, InterestSettings, Settings
from components.store.engine import StoreError
from serving.database import Database
from serving.errors import unavailable
from serving.feedback import Intake
from serving.metrics import Metrics
from serving.people import People
from serving.recommender import Recommender

BESIDE_THE_SOURCE = Path(__file__).resolve().parent.parent / "bundle"
GC_THRESHOLD = (50_000, 20, 100)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """A service that can answer."""

    settings: Settings
    database: Database
    recommender: Recommender
    intake: Intake
    people: People
    privacy: Privacy


class Runtime:
    """Loaded in the background, so that /livez and /readyz answer meanwhile."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.missing = ["the bundle is still being read"]
        self._parts: Parts | None = None

    @property
    def parts(self) -> Parts:
        """Raises ApiError (503) until they are loaded."""
        if self._parts is None:
            raise unavailable("not_ready", "; ".join(self.missing))
        return self._parts

    @property
    def model_version(self) -> str | None:
        return self._parts.recommender.model_version if self._parts else None

    def load(self) -> None:
        """Reads settings and bundle. Raises what is wrong with them."""
        self._parts = self._assemble(Path(os.environ.get("DUOTEMPO_BUNDLE", BESIDE_THE_SOURCE)))
        freeze_heap()

    def loaded(self, loading: asyncio.Task[None]) -> None:
        """Notes how the loading ended: what is missing is what /readyz shows."""
        error = loading.exception()
        if error is None:
            self.missing = []
            logger.info("ready: model version %s", self.model_version)
        elif isinstance(error, BundleError | StoreError | ValueError):
            self.missing = [str(error)]
            logger.error("not ready: %s", error)
        else:
            self.missing = [f"the bundle cannot be used ({type(error).__name__}: {error}): register the version again"]
            logger.error("not ready", exc_info=error)

    def close(self) -> None:
        if self._parts:
            self._parts.database.close()

    def _assemble(self, folder: Path) -> Parts:
        settings = Settings()
        if not settings.database_url:
            raise ValueError("DUOTEMPO_DATABASE_URL is not set: name the Postgres that holds events and items")
        logging.getLogger("serving").setLevel(settings.log_level)
        bundle = Bundle.read(folder)
        database = Database(settings.database_url)
        settings = trained_settings(settings, bundle)
        recommender = Recommender(bundle, settings, database, self.metrics)
        self.metrics.model.labels(recommender.model_version).set(1)
        privacy = Privacy(settings)
        intake = Intake(database, settings.events, privacy, self.metrics)
        return Parts(settings, database, recommender, intake, People(database, privacy), privacy)


def trained_settings(settings: Settings, bundle: Bundle) -> Settings:
    """The settings with those of the training where a score depends on them: what events and interests mean."""
    events = EventSettings.model_validate(bundle.manifest["events"])
    interests = InterestSettings.model_validate(bundle.manifest["interests"])
    return settings.model_copy(update={"events": events, "interests": interests})


def freeze_heap() -> None:
    """Takes what lives as long as the process out of the garbage collector's walks: they are the tail of latency."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
