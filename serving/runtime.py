"""What the service is made of once it is ready, and what it still waits for."""

import gc
import logging
import os
from pathlib import Path

from pydantic import ValidationError

from components.bundle import Bundle, BundleError
from components.settings import Settings
from components.store.engine import StoreError
from serving.database import Database
from serving.errors import ApiError, unavailable
from serving.feedback import Intake
from serving.metrics import Metrics
from serving.recommender import Recommender

BESIDE_THE_SOURCE = Path(__file__).resolve().parent.parent / "bundle"
GC_THRESHOLD = (50_000, 20, 100)
logger = logging.getLogger(__name__)


class Runtime:
    """Loaded in the background, so that /livez and /readyz answer meanwhile."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.missing = ["the bundle is still being read"]
        self._database: Database | None = None
        self._recommender: Recommender | None = None
        self._intake: Intake | None = None
        self.settings: Settings | None = None

    def load(self) -> None:
        """Reads settings and bundle. What is wrong with them goes to `missing`, which /readyz shows."""
        folder = Path(os.environ.get("DUOTEMPO_BUNDLE", BESIDE_THE_SOURCE))
        try:
            settings = Settings()
            if settings.database_url is None:
                self.missing = ["DUOTEMPO_DATABASE_URL is not set: name the Postgres that holds events and items"]
                return
            database = Database(settings.database_url)
            bundle = Bundle.read(folder)
        except (BundleError, StoreError, ValidationError, ValueError) as error:
            logger.error("not ready: %s", error)
            self.missing = [str(error)]
            return
        self.settings, self._database = settings, database
        self._recommender = Recommender(bundle, settings, database, self.metrics)
        self._intake = Intake(database, settings.events, self.metrics)
        self.metrics.model.labels(self._recommender.model_version).set(1)
        freeze_heap()
        self.missing = []
        logger.info("ready: model version %s", self._recommender.model_version)

    @property
    def recommender(self) -> Recommender:
        """Raises ApiError (503) until it is loaded."""
        return self._recommender or _refuse(self.missing)

