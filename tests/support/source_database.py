"""A shop's own database, from which Duotempo reads."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from sqlalchemy import make_url

START = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass(frozen=True)
class ShopDatabase:
    """A database with a table `orders`, and a login that may only read."""

    url: str
    user: str
    password: str

    @property
    def address(self) -> str:
        """The address of the reader, without its password."""
        url = make_url(self.url)
        return f"postgresql://{self.user}@{url.host}:{url.port}/{url.database}"

    def run(self, statement: str, *parameters: object) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode(), parameters)

    def order(self, *orders: tuple[int, str, str]) -> None:
        """Adds orders: their number, which is also their hour, the customer and the product."""
        for number, customer, product in orders:
            at = START + timedelta(hours=number)
            self.run("INSERT INTO orders VALUES (%s, %s, %s, %s, %s)", number, customer, product, at, at)


@contextmanager
def shop_database(server: str, orders: Sequence[tuple[int, str, str]] = ()) -> Iterator[ShopDatabase]:
    """Creates a shop's database with orders, and drops it."""
    name, password = f"shop_{secrets.token_hex(6)}", secrets.token_hex(8)
    shop = ShopDatabase(make_url(server).set(database=name).render_as_string(hide_password=False), name, password)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        connection.execute(f"CREATE USER {name} PASSWORD '{password}'".encode())
    try:
        shop.run(
            "CREATE TABLE orders (id bigint PRIMARY KEY, customer text, product text, ordered_at timestamptz,"
            " updated_at timestamptz)"
        )
        shop.run(f"GRANT SELECT ON orders TO {name}")
        shop.order(*orders)
        yield shop
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            connection.execute(f"DROP USER {name}".encode())
