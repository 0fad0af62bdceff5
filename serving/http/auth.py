"""Authentication, scopes and rate limits, checked before the body of a request is read."""

import asyncio
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import Response

from components.settings import SecuritySettings
from components.store.keys import ADMIN, SESSION_LIFETIME, Key, read_keys, verify
from serving.contract.errors import ApiError, unavailable
from serving.http.connections import is_loopback
from serving.http.rate_limit import Quotas, TokenBuckets
from serving.storage.postgres import Database, DatabaseAway

OWN_ORIGIN = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site for requests of our own page. `same-site` is not among them: it covers pages at other ports
of this host, whose requests carry the cookie too."""
SCHEME = "bearer"
LOCAL = "local"
PROXY_HEADERS = frozenset(
    {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"forwarded", b"via"}
)
"""Headers added by proxies: a request with one of them is not treated as local."""
MAX_HOST_LENGTH = 255
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{1,5})?")
logger = logging.getLogger(__name__)


def session_key(request: HTTPConnection) -> str:
    """The key in the session cookie, if our own page sent the request; else empty."""
    if request.headers.get("sec-fetch-site", "none") not in OWN_ORIGIN:
        return ""
    return request.cookies.get(_cookie_name(request), "")


def begin_session(request: HTTPConnection, response: Response, key: str) -> None:
    """Sets the session cookie, which holds the key."""
    response.set_cookie(
        _cookie_name(request),
        key,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.scope["scheme"] == "https",
    )


def _cookie_name(request: HTTPConnection) -> str:
    """The cookie name, distinct per port: browsers share cookies between all ports of a host."""
    server = request.scope.get("server")
    return f"duotempo-{server[1] if server else 0}"


class KeyRing:
    """Cached API keys. While Postgres is away the last known keys stay valid, including ones revoked since."""

    def __init__(self, database: Database, seconds: float) -> None:
        """
        Args:
            seconds: Refresh interval.
        """
        self._database = database
        self._seconds = seconds
        self._first_read = asyncio.Lock()
        self._keys: Mapping[str, Key] | None = None

    async def keys(self) -> Mapping[str, Key]:
        """The keys by id. Raises ApiError (503) until they have been read once."""
        if self._keys is None:
            async with self._first_read:
                if self._keys is None:
                    await self.read()
        if self._keys is None:
            raise unavailable("keys_unknown", "Postgres is away, and with it the keys; try again")
        return self._keys

    async def poll(self) -> None:
        """Refreshes the keys at a fixed interval, until cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(self._seconds)

    async def read(self) -> None:
        """Refreshes the keys; keeps the cached ones when Postgres is away."""
        try:
            self._keys = await run_in_threadpool(self._read_keys)
        except DatabaseAway as error:
            logger.warning("the keys stay as they were: %s", error)

    def _read_keys(self) -> dict[str, Key]:
        with self._database.begin() as connection:
            return read_keys(connection)


class AuthGate:
    """Authentication and rate limits of one process."""

    def __init__(self, settings: SecuritySettings, ring: KeyRing) -> None:
        self._settings = settings
        self._ring = ring
        self._callers = TokenBuckets(settings.caller_rate, settings.caller_burst)
        self._users = TokenBuckets(settings.user_rate, settings.user_burst)
        self._quotas = Quotas(settings.caller_events, settings.caller_users, settings.caller_items)

    async def admit(self, request: HTTPConnection, scope: str) -> str:
        """Authenticates a request and applies the caller's rate limit.

        The scope `admin` always needs a key, even from trusted local callers.

        Returns:
            The caller's name for rate limits and quotas: key id, IP address, or `local` for a trusted one.

        Raises:
            ApiError: 401 without a valid key, 403 if the key lacks the scope, 429 over the rate limit, 503 while no
                keys have been read.
        """
        trusted = is_smoke_test(request) or (self._settings.trust_local and is_local(request))
        if scope == ADMIN or (self._settings.require_keys and not trusted):
            caller = (await self._authenticate(request, scope)).key_id
        else:
            caller = LOCAL if trusted else _address(request)
        if not trusted:
            self._limit_rate(caller)
        return caller

    def admit_anonymous(self, request: HTTPConnection) -> None:
        """Applies the rate limit of the client's IP address. Raises ApiError (429)."""
        self._limit_rate(_address(request))

    def admit_users(self, caller: str, user_ids: Iterable[str]) -> None:
        """Applies the rate limit of each user in the request. Raises ApiError (429)."""
        if caller != LOCAL:
            for user in set(user_ids):
                _raise_if_limited(self._users.wait(user), "too many requests about this user")

    def admit_events(self, caller: str, user_ids: Sequence[str], item_ids: Sequence[str]) -> None:
        """Applies the caller's hourly feedback quotas. Raises ApiError (429); the refused events do not count."""
        if caller != LOCAL and (exceeded := self._quotas.exceeded(caller, user_ids, item_ids)):
            what, limit, seconds = exceeded
            why = f"more than {limit:,} {what} sent within an hour (setting security.caller_{what})"
            _raise_if_limited(seconds, why)

    def _limit_rate(self, caller: str) -> None:
        _raise_if_limited(self._callers.wait(caller), "too many requests from this caller")

    async def _authenticate(self, request: HTTPConnection, scope: str) -> Key:
        presented = _bearer(request)
        if presented is None:
            presented = session_key(request)
        key = verify(await self._ring.keys(), presented, datetime.now(UTC)) if presented else None
        if key is None:
            message = (
                "an API key is required: send `Authorization: Bearer KEY`; `duotempo keys create` makes one, and "
                "`duotempo open store` signs the page in"
            )
            raise ApiError(401, "no_key", message, headers={"WWW-Authenticate": "Bearer"})
        if scope not in key.scopes:
            raise ApiError(403, "wrong_scope", f"key {key.key_id} does not have the scope {scope}")
        return key


def is_smoke_test(request: HTTPConnection) -> bool:
    """Whether the request came over the Unix socket of a smoke test, which only the deployment can open."""
    server = request.scope.get("server")
    return server is not None and server[1] is None


def is_local(request: HTTPConnection) -> bool:
    """Whether a request comes from this machine, names it in its Host header, and passed no proxy.

    The Host check prevents DNS rebinding, where a foreign page's name resolves to this machine. A proxy on this
    machine is detected by the headers that it adds, or by HTTP/1.0, which some use by default.
    """
    names = []
    for name, value in request.scope["headers"]:
        if name in PROXY_HEADERS:
            return False
        if name == b"host":
            names.append(value)
    if request.client is None or len(names) != 1 or len(names[0]) > MAX_HOST_LENGTH:
        return False
    return request.scope["http_version"] != "1.0" and _is_local(request.client.host, names[0])


@lru_cache(128)
def _is_local(caller: str, host_header: bytes) -> bool:
    parts = _HOST.fullmatch(host_header.decode("latin-1"))
    host = (parts[1] or parts[2]).lower() if parts else ""
    return is_loopback(caller) and (host == "localhost" or is_loopback(host))


def _address(request: HTTPConnection) -> str:
    return request.client.host if request.client else "unknown"


def _bearer(request: HTTPConnection) -> str | None:
    """The bearer token; empty if the Authorization header is malformed, None if there is none."""
    headers = request.headers.getlist("authorization")
    if not headers:
        return None
    kind, _, presented = headers[0].partition(" ")
    return presented.strip() if len(headers) == 1 and kind.lower() == SCHEME else ""


def _raise_if_limited(seconds: float, why: str) -> None:
    if seconds:
        wait = str(math.ceil(seconds))
        raise ApiError(429, "too_many_requests", f"{why}: wait {wait} s", headers={"Retry-After": wait})
