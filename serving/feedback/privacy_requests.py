"""Privacy requests of users: erasure, data export, consent."""

from typing import Any

from components.store.consent import export_user, set_consent
from components.store.erasure import forget_all
from components.store.privacy import Privacy
from serving.contract.errors import unavailable
from serving.contract.requests import ConsentRequest, PersonRequest
from serving.recommend.variants import Variants
from serving.storage.impressions import Impressions
from serving.storage.postgres import LONG_SECONDS, Database, DatabaseAway
from serving.storage.spool import Spool


class PrivacyRequests:
    """Handles privacy requests; each is answered after the commit.

    Every method raises ApiError (503) when Postgres is away, PrivacyError and SpoolError.
    """

    def __init__(
        self, database: Database, privacy: Privacy, variants: Variants, impressions: Impressions, spool: Spool
    ) -> None:
        self._database = database
        self._privacy = privacy
        self._variants = variants
        self._impressions = impressions
        self._spool = spool

    def forget(self, request: PersonRequest) -> dict[str, Any]:
        """The response of /forget. Files are erased later, by flows/erase.py."""
        names = self._privacy.names(request.user_id)
        self._impressions.flush()
        try:
            with self._database.begin(LONG_SECONDS) as connection:
                forgotten = forget_all(connection, self._privacy, names)
        except DatabaseAway as error:
            raise _away("nothing was erased") from error
        spooled = sum(map(self._spool.forget, names))
        self._variants.users_removed(names[0])
        removed = {**forgotten.removed, "spool": spooled}
        return {"erasure_id": forgotten.erasure_id, "found": any(removed.values()), "removed": removed}

    def export(self, request: PersonRequest) -> dict[str, Any]:
        """The response of /export."""
        names = self._privacy.names(request.user_id)
        self._impressions.flush()
        spooled = [row.export() for name in names for row in self._spool.pending_and_dead(name)]
        try:
            with self._database.begin() as connection:
                return {**export_user(connection, self._privacy, names), "spooled": spooled}
        except DatabaseAway as error:
            raise _away("nothing was read") from error

    def consent(self, request: ConsentRequest) -> dict[str, Any]:
        """The response of /consent; without consent the user's spooled rows are deleted too."""
        names = self._privacy.names(request.user_id)
        try:
            with self._database.begin() as connection:
                set_consent(connection, self._privacy, names, request.consent)
        except DatabaseAway as error:
            raise _away("nothing was changed") from error
        if not request.consent:
            for name in names:
                self._spool.forget(name)
        self._variants.users_removed(names[0])
        return {"consent": request.consent}


def _away(what: str) -> Exception:
    return unavailable("database_away", f"{what}: Postgres is away; send it again")
