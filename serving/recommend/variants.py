"""The versions in this Bento, and which of them serves which user."""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from functools import cache
from threading import Lock

from sqlalchemy import Connection

from components.store.variants import CANARY, CHALLENGER, CHAMPION, SHADOW, ServingVariant
from serving.contract.errors import ApiError
from serving.contract.requests import RecommendRequest, SimilarRequest
from serving.process.smoke_test import requested_version
from serving.recommend.histories import Histories
from serving.recommend.ranking import Answer
from serving.recommend.recommender import Recommender
from serving.recommend.shadow import Shadow
from serving.storage.postgres import LONG_SECONDS, Database
from serving.telemetry.metrics import Metrics

HASH_RANGE = 1 << 64
SMOKE_TEST_VARIANT = "trial"
logger = logging.getLogger(__name__)


def assigned(variants: Mapping[str, ServingVariant], user_id: str) -> ServingVariant:
    """The variant that serves a user, by hash-based assignment; the champion serves all remaining users.

    Each variant hashes user and version on its own: assignments to successive canaries are independent, and starting
    or ending a canary moves no other user between champion and challenger.
    """
    remaining = 1.0
    for name in (CHALLENGER, CANARY):
        if (variant := variants.get(name)) is None:
            continue
        if remaining > 0 and hash_fraction(variant.model_version, user_id) < variant.share / remaining:
            return variant
        remaining -= variant.share
    return variants[CHAMPION]


def shadowed(variants: Mapping[str, ServingVariant], request_id: str) -> ServingVariant | None:
    """The shadow, if this request is in its sample."""
    shadow = variants.get(SHADOW)
    return shadow if shadow and hash_fraction(shadow.model_version, request_id) < shadow.share else None


def hash_fraction(salt: str, name: str) -> float:
    """A deterministic pseudo-random number in [0, 1), by SHA-256."""
    digest = hashlib.sha256(f"{salt}\0{name}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / HASH_RANGE


class Variants:
    """Routes requests to the versions, and changes to all of them. Thread-safe.

    Args:
        recommenders: By version, at least one.
        champion: The version that serves everyone until the first `update`.
        histories: Of all versions.
        unusable: Versions of this Bento that failed to load, with the reason.
    """

    def __init__(
        self,
        recommenders: Mapping[str, Recommender],
        champion: str,
        *,
        unusable: Mapping[str, str],
        database: Database,
        metrics: Metrics,
        shadow: Shadow,
        histories: Histories,
    ) -> None:
        self._database = database
        self._recommenders = dict(recommenders)
        self._unusable = dict(unusable)
        self._answers = cache(metrics.answers.labels)
        self._seconds = cache(metrics.answer_seconds.labels)
        self._shadow = shadow
        self.histories = histories
        self._active = {CHAMPION: ServingVariant(CHAMPION, champion)}
        self._notes: list[str] = []
        self._update_lock = Lock()

    @property
    def active(self) -> dict[str, ServingVariant]:
        """The active variants, by name; always with a champion."""
        return self._active

    @property
    def versions(self) -> list[str]:
        return list(self._recommenders)

    @property
    def model_version(self) -> str:
        """The champion's version."""
        return self._active[CHAMPION].model_version

    @property
    def notes(self) -> list[str]:
        """Warnings for /readyz: versions that are not here, new items without a vector."""
        item_notes = [note for recommender in self._recommenders.values() for note in recommender.new_items.notes]
        return [*self._notes, *dict.fromkeys(item_notes)]

    def update(self, requested: Mapping[str, ServingVariant]) -> None:
        """Activates variants. One whose version is not here is skipped (the champion stays) and noted."""
        available = {
            name: variant for name, variant in requested.items() if variant.model_version in self._recommenders
        }
        notes = [
            self._why_unavailable(variant.model_version) for name, variant in requested.items() if name not in available
        ]
        if notes != self._notes:
            for note in notes:
                logger.warning("%s", note)
        active = {CHAMPION: self._active[CHAMPION], **available}
        if active != self._active:
            shown = (f"{variant.variant} {variant.model_version}" for variant in active.values())
            logger.info("variants: %s", ", ".join(shown))
        self._active, self._notes = active, notes

    def update_trend(self, positive_events: Mapping[str, int]) -> None:
        """Updates the trend of all versions; under the lock, so that one being extended gets it too.

        Args:
            positive_events: Positive events of the last days by item id.
        """
        with self._update_lock:
            for recommender in self._recommenders.values():
                recommender.trend.update(positive_events)

    def users_changed(self, user_id: str | None) -> None:
        """Marks a user, or with None all users, as outdated."""
        self.histories.invalidate(user_id)

    def users_removed(self, user_id: str | None) -> None:
        """Removes a user from memory, or with None all users."""
        self.histories.remove(user_id)
        for recommender in self._recommenders.values():
            recommender.clear_interests()

    def items_changed(self, *item_ids: str | None) -> None:
        """Refreshes items, with None all of them; new ones join each version. Raises DatabaseAway."""
        ids = None if None in item_ids else [item_id for item_id in item_ids if item_id is not None]
        self._update_items(lambda recommender, connection: recommender.items_changed(connection, ids))

    def vectors_changed(self) -> None:
        """Reads new or changed vectors of new items. Raises DatabaseAway."""
        self._update_items(lambda recommender, connection: recommender.vectors_changed(connection))

    def _update_items(self, update: Callable[[Recommender, Connection], Recommender]) -> None:
        """Updates every version under a lock, so that an older read never overwrites a newer one."""
        with self._update_lock, self._database.begin(LONG_SECONDS) as connection:
            for version, recommender in self._recommenders.items():
                self._recommenders[version] = update(recommender, connection)

    def set_listening(self, listening: bool) -> None:
        """Sets whether the change listener is connected; refreshes the items if so. Raises DatabaseAway."""
        if listening:
            self.items_changed(None)
        self.histories.set_listening(listening)

    def assigned(self, user_id: str) -> ServingVariant:
        """The variant that serves a user now."""
        return assigned(self._active, user_id)

    async def recommend(self, request: RecommendRequest) -> dict[str, object]:
        """The response of /recommend by the user's variant; falls back to the champion if that fails."""
        if version := requested_version.get():
            return (await self._recommender(version).recommend(request, SMOKE_TEST_VARIANT, recorded=False)).body
        active = self._active
        variant = assigned(active, request.user_id)
        try:
            answer = await self._answer(variant, request)
        except Exception:
            if variant.variant == CHAMPION:
                raise
            logger.exception("%s %s failed, the champion answers instead", variant.variant, variant.model_version)
            answer = await self._answer(active[CHAMPION], request)
        if shadow := shadowed(active, answer.request_id):
            self._shadow.compare(self._recommenders[shadow.model_version], request, answer)
        return answer.body

    def similar(self, request: SimilarRequest) -> dict[str, object]:
        """The response of /similar, by the champion. Raises ApiError (404)."""
        return self._recommender(requested_version.get() or self.model_version).similar(request)

    def close(self) -> None:
        self._shadow.close()

    async def _answer(self, variant: ServingVariant, request: RecommendRequest) -> Answer:
        labels = (variant.variant, variant.model_version)
        started = time.perf_counter()
        try:
            answer = await self._recommenders[variant.model_version].recommend(request, variant.variant)
        except Exception:
            self._answers(*labels, "error").inc()
            raise
        self._seconds(*labels).observe(time.perf_counter() - started)
        self._answers(*labels, "ok").inc()
        return answer

    def _recommender(self, version: str) -> Recommender:
        if version not in self._recommenders:
            raise ApiError(404, "unknown_version", self._why_unavailable(version))
        return self._recommenders[version]

    def _why_unavailable(self, version: str) -> str:
        why = self._unusable.get(version, f"it holds {', '.join(self._recommenders)}")
        return f"version {version} cannot answer in this Bento: {why}"
