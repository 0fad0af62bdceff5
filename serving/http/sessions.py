"""A browser that is signed in: it presents the key of its session as a cookie, which no script reads.

`duotempo open store` makes a link whose token signs one browser in, once. The key is one like others, with an end:
`duotempo keys list` shows it, `duotempo keys revoke` ends it.
"""

from starlette.requests import HTTPConnection
from starlette.responses import Response

from components.store.keys import SESSION_LIFETIME

ITS_OWN = frozenset({"same-origin", "none"})
"""What a browser says of requests that no foreign page began. A page at another port of this machine is such a one,
though the cookie would come along."""


def session_key(request: HTTPConnection) -> str:
    """The key of the session that a request of our own page belongs to, empty where there is none."""
    if request.headers.get("sec-fetch-site", "none") not in ITS_OWN:
        return ""
    return request.cookies.get(_name(request), "")


def begin_session(request: HTTPConnection, response: Response, key: str) -> None:
    """Has the browser keep the key until the session ends."""
    response.set_cookie(
        _name(request),
        key,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.scope["scheme"] == "https",
    )


def _name(request: HTTPConnection) -> str:
    """Another one for each port, as a browser has the same cookies for all ports of a machine."""
    server = request.scope.get("server")
    return f"duotempo-{server[1] if server else 0}"
