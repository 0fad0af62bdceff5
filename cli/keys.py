"""Commands `keys` (API keys of the service) and `open` (a page of the service, signed in)."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from cli.console import err, load_settings, open_store, out, table

keys = typer.Typer(help="API keys of the service.", no_args_is_help=True)
KEY_ID = Annotated[str, typer.Argument(help="The public part of a key, as shown by `duotempo keys list`.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(keys, name="keys")
    app.command("open")(open_page)


def open_page(
    page: Annotated[Literal["store"], typer.Argument(help="store: recommendations and their reasons.")],
) -> None:
    """Opens a page in the browser, signed in by a single-use link. Without a terminal, only prints the link.

    \b
    duotempo open store
    """
    from components.store.keys import LINK_LIFETIME, SESSION_LIFETIME, create_link
    from infra.local.platform import Platform

    settings = load_settings()
    with open_store(settings) as engine, engine.begin() as connection:
        token = create_link(connection)
    link = f"{Platform(settings).service_url}/#sign-in={token}"
    minutes, hours = (int(time.total_seconds()) for time in (LINK_LIFETIME / 60, SESSION_LIFETIME / 3600))
    err.print(f"this link signs in one browser, once, within {minutes} minutes, for {hours} hours; keep it secret:")
    typer.echo(link)
    if sys.stdout.isatty():
        typer.launch(link)


@keys.command("create")
def create(
    scope: Annotated[list[str], typer.Option(help="recommend, feedback or admin; can be repeated.")],
    name: Annotated[str, typer.Option(help="Who uses it.")],
    days: Annotated[int, typer.Option(min=0, max=36_500, help="Days until the key expires; 0: never.")] = 0,
) -> None:
    """Creates a key and prints it once: the database stores only a digest.

    \b
    duotempo keys create --scope recommend --scope feedback --name shop
    """
    from components.store.keys import create_key

    lifetime = timedelta(days=days) if days else None
    _print(_in_store(lambda connection: create_key(connection, name, scope, lifetime)))


@keys.command("list")
def list_keys() -> None:
    """Lists all keys by their ids, without the secret part.

    \b
    duotempo keys list
    """
    from components.store.keys import read_keys

    now = datetime.now(UTC)
    rows = [
        [key.key_id, key.name, ", ".join(sorted(key.scopes)), "valid" if key.is_valid(now) else "expired",
         f"{key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else ""]
        for key in _in_store(read_keys).values()
    ]  # fmt: skip
    table("keys", ["key", "name", "scopes", "state", "end"], rows)


@keys.command("rotate")
def rotate(
    key_id: KEY_ID,
    grace: Annotated[float, typer.Option(min=0, max=876_000, help="Hours for which the old key stays valid.")] = 24.0,
) -> None:
    """Replaces a key by a new one; the old key stays valid for a grace period.

    \b
    duotempo keys rotate 1f0c9a7b2e44 --grace 2
    """
    from components.store.keys import rotate_key

    _print(_in_store(lambda connection: rotate_key(connection, key_id, timedelta(hours=grace))))


@keys.command("revoke")
def revoke(key_id: KEY_ID) -> None:
    """Revokes a key: every service rejects it within a few seconds.

    \b
    duotempo keys revoke 1f0c9a7b2e44
    """
    from components.store.keys import revoke_key

    _in_store(lambda connection: revoke_key(connection, key_id))
    out.print(f"{key_id} has ended")


def _in_store(action: Any) -> Any:
    """Runs the action in a transaction and returns its result."""
    with open_store(load_settings()) as engine, engine.begin() as connection:
        return action(connection)


def _print(made: tuple[str, str]) -> None:
    """Prints the key alone on stdout, for other programs to read."""
    key_id, key = made
    err.print(f"key {key_id}; it is shown only once. Send it as `Authorization: Bearer KEY`")
    typer.echo(key)
