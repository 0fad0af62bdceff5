"""Fetches files from a web server, from S3 and other object stores, or from a folder."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from errno import ENOSPC
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import fsspec
from fsspec.core import url_to_fs
from fsspec.registry import known_implementations

from components.sources.source import HTTP, Fetched, Source, SourceError, SourceUnavailable

CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS = 10, 60
_GLOB = frozenset("*?[")
_PARQUET = ".parquet"
_CHANGED = ("LastModified", "mtime", "updated", "last_modified", "Last-Modified")
"""What file systems call the time of a file's last change."""
_UNAUTHORIZED, _FORBIDDEN, _TOO_MANY, _SERVER_ERROR = 401, 403, 429, 500


def fetch_files(source: Source, folder: Path, watermark: str | None) -> Fetched:
    """Fetches a file, or the Parquet files of a folder or pattern; see `components.sources.fetch`.

    The watermark is the time of the newest file's last change. A web server that does not tell it is read each time.
    """
    system, path = _open(source)
    try:
        if source.scheme in HTTP:
            return _fetch_page(source, system, path, folder, watermark)
        return _fetch_new(source, system, path, folder, watermark)
    except _errors() as error:
        raise _explained(source, error) from error


def _open(source: Source) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if source.scheme in HTTP:
        timeout = aiohttp.ClientTimeout(None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=READ_TIMEOUT_SECONDS)
        options |= {"client_kwargs": {"timeout": timeout}}
        options |= {"headers": {"Authorization": source.secret}} if source.secret else {}
    elif source.scheme in ("s3", "s3a") and source.secret:
        key, found, secret = source.secret.partition(":")
        if not found:
            raise SourceError(f"{source.name}: the secret of {source.shown} is no KEY_ID:KEY")
        options |= {"key": key, "secret": secret}
    elif source.secret:
        raise SourceError(
            f"{source.name}: no secret is used for {source.scheme}://; remove it, and log in as its own library does"
        )
    try:
        system, path = url_to_fs(source.address, **options)
    except ImportError as error:
        package = known_implementations[source.scheme]["class"].partition(".")[0]
        extra = "'duotempo[s3]'" if package == "s3fs" else package
        raise SourceError(f"{source.name}: {source.shown} needs another package: pip install {extra}") from error
    except ValueError as error:
        raise SourceError(
            f"{source.name}: {source.shown} is of no known kind; use postgresql://, https://, s3:// or a path"
        ) from error
    return system, str(path)


def _fetch_page(source: Source, system: Any, url: str, folder: Path, watermark: str | None) -> Fetched:
    changed = None
    with suppress(FileNotFoundError, aiohttp.ClientError):  # some servers refuse HEAD; what is wrong GET tells
        changed = _changed_at(system.info(url))
    newest = changed.isoformat() if changed else None
    if newest is not None and newest == watermark:
        return Fetched(None, watermark)
    file = folder / (Path(unquote(urlsplit(url).path)).name or "download")
    system.get_file(url, str(file))
    return Fetched(file, newest)


def _fetch_new(source: Source, system: Any, path: str, folder: Path, watermark: str | None) -> Fetched:
    root, found, is_one = _listed(source, system, path)
    changed = {name: _changed_at(info) or system.modified(name) for name, info in found.items()}
    newest = max(changed.values()).isoformat()
    if newest == watermark:
        return Fetched(None, watermark)
    if watermark is not None:
        since = datetime.fromisoformat(watermark) - timedelta(seconds=source.overlap)
        found = {name: info for name, info in found.items() if changed[name] >= since}
    for name, info in found.items():
        file = folder / PurePosixPath(name).relative_to(root)
        file.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(name, str(file))
        if file.stat().st_size != info["size"]:
            raise SourceUnavailable(f"{source.name}: {name} changed while it was read; try again")
    return Fetched(file if is_one else folder, newest)


def _listed(source: Source, system: Any, path: str) -> tuple[str, dict[str, Mapping[str, Any]], bool]:
    """The folder that holds all files of an address, the files with what is known about them, and whether it is one
    file rather than a dataset."""
    if _GLOB.isdisjoint(path):
        info = system.info(path)
        if info["type"] == "file":
            return str(PurePosixPath(path).parent), {path: info}, True
        root, listed = path, system.find(path, detail=True)
    else:
        parts = PurePosixPath(path).parts
        fixed = next(place for place, part in enumerate(parts) if not _GLOB.isdisjoint(part))
        root, listed = str(PurePosixPath(*parts[:fixed])), system.glob(path, detail=True)
    files = {name: info for name, info in listed.items() if info["type"] == "file" and _is_data(name, root)}
    found = {name: info for name, info in files.items() if name.endswith(_PARQUET)}
    if not found and len(files) != 1:
        raise SourceError(
            f"{source.name}: {source.shown} holds {len(files)} files, none of them Parquet (.parquet); name one file, "
            "or a folder or pattern of Parquet files"
        )
    return root, found or files, not found


def _is_data(name: str, root: str) -> bool:
    """Whether a file is neither hidden nor one of an unfinished write, and lies below the folder."""
    return not any(part.startswith((".", "_")) for part in PurePosixPath(name).relative_to(root).parts)


def _changed_at(info: Mapping[str, Any]) -> datetime | None:
    """When a file was changed; None if the file system does not tell."""
    value = next((info[name] for name in _CHANGED if name in info), None)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        parse: Callable[[str], datetime] = parsedate_to_datetime if "," in value else datetime.fromisoformat
        value = parse(value)
    return value


def _errors() -> tuple[type[Exception], ...]:
    """What file systems raise; S3's library may be absent."""
    errors: tuple[type[Exception], ...] = (OSError, aiohttp.ClientError, fsspec.exceptions.FSTimeoutError)
    with suppress(ImportError):
        from botocore.exceptions import BotoCoreError

        errors = (*errors, BotoCoreError)
    return errors


def _explained(source: Source, error: Exception) -> SourceError:
    about = f"{source.name}: {source.shown}"
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{about} does not exist; check the address")
    if isinstance(error, aiohttp.ClientResponseError):
        kind = SourceUnavailable if error.status >= _SERVER_ERROR or error.status == _TOO_MANY else SourceError
        remedy = "check its secret" if error.status in (_UNAUTHORIZED, _FORBIDDEN) else "check the address"
        return kind(f"{about} answers {error.status} {error.message}; {remedy}")
    if isinstance(error, PermissionError):
        return SourceError(f"{about} refuses the access; check its secret, and what this login may read")
    if isinstance(error, OSError) and error.errno == ENOSPC:
        return SourceError(f"{about} cannot be fetched: no space is left on this machine's disk")
    reason = " ".join(str(error).split()).replace(source.address, source.shown) or type(error).__name__
    if source.secret:
        reason = reason.replace(source.secret.partition(":")[2] or source.secret, "…")
    return SourceUnavailable(f"{about} does not answer ({reason}); check the address, then try again")
