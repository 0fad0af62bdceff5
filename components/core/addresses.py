"""Addresses such as `postgresql://user:password@host/name`: what may be shown of them."""

from urllib.parse import urlsplit, urlunsplit


def redacted(address: str) -> str:
    """An address without its password and without its parameters, which may be signatures."""
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"{address.partition('://')[0]}://…"
    login, found, host = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    return urlunsplit((parts.scheme, f"{user}{found}{host}", parts.path, "…" if parts.query else "", ""))


def has_password(address: str) -> bool:
    """Whether an address contains a password."""
    netloc = address.partition("://")[2].partition("/")[0]
    return ":" in netloc.rpartition("@")[0] or "password=" in address.partition("?")[2]
