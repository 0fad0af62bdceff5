"""The databases on a Postgres server: Duotempo's own, Prefect's and MLflow's.

`python -m infra.home.databases` creates the missing ones, and the extensions, on the server of DUOTEMPO_DATABASE_URL.
"""

import os
from dataclasses import dataclass

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from infra.home.errors import PlatformError

EXTENSIONS = ("vector", "pg_trgm")


@dataclass(frozen=True)
class Databases:
    """Addresses of the databases; on an external server Prefect's and MLflow's are named after Duotempo's.

    Attributes:
        duotempo: URL of Duotempo's own database.
        maintenance: Name of a database that always exists, to connect to before the others are created.
        embedded: Whether the platform runs the server.
    """

    duotempo: URL
    maintenance: str
    embedded: bool

    @property
    def url(self) -> str:
        return self.duotempo.render_as_string(hide_password=False)

    @property
    def masked_url(self) -> str:
        """URL without the password, for messages."""
        return self.duotempo.render_as_string(hide_password=True)

    @property
    def secrets(self) -> list[str]:
        return [str(self.duotempo.password)] if self.duotempo.password else []

    @property
    def names(self) -> tuple[str, str, str]:
        """Names of the databases of Duotempo, Prefect and MLflow."""
        own = str(self.duotempo.database)
        return (own, "prefect", "mlflow") if self.embedded else (own, f"{own}_prefect", f"{own}_mlflow")

    @property
    def prefect(self) -> str:
        """Prefect's URL, for asyncpg, which calls libpq's `sslmode` `ssl` and knows none of its other options."""
        ssl = {"ssl": self.duotempo.query["sslmode"]} if "sslmode" in self.duotempo.query else {}
        url = self.duotempo.set(drivername="postgresql+asyncpg", database=self.names[1], query=ssl)
        return url.render_as_string(hide_password=False)

    @property
    def mlflow(self) -> str:
        url = self.duotempo.set(drivername="postgresql+psycopg", database=self.names[2])
        return url.render_as_string(hide_password=False)

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url, dbname=self.maintenance, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def create(self) -> None:
        """Creates missing databases and extensions. Raises PlatformError with what the server refuses."""
        own, prefect, mlflow = self.names
        try:
            with psycopg.connect(self.url, dbname=self.maintenance, autocommit=True, connect_timeout=10) as connection:
                existing = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
                for name in self.names:
                    if name not in existing:
                        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            for name in (own, prefect):
                with psycopg.connect(self.url, dbname=name, autocommit=True, connect_timeout=10) as connection:
                    for extension in EXTENSIONS:
                        connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}".encode())
        except psycopg.Error as error:
            raise PlatformError(
                f"{self.masked_url} refuses what the platform needs: {error}. Let its user create the databases "
                f"{prefect} and {mlflow} and the extensions {' and '.join(EXTENSIONS)} (pgvector), or create them "
                "yourself"
            ) from error

    def count_tables(self) -> int:
        """Number of tables in Duotempo's own database."""
        with psycopg.connect(self.url, connect_timeout=10) as connection:
            row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        return int(row[0]) if row else 0

    def clear(self) -> None:
        """Drops all content of the databases. Raises PlatformError with what the server refuses."""
        for name in self.names:
            try:
                with psycopg.connect(self.url, dbname=name, autocommit=True, connect_timeout=10) as connection:
                    connection.execute("DROP SCHEMA public CASCADE")
                    connection.execute("CREATE SCHEMA public")
            except psycopg.Error as error:
                raise PlatformError(
                    f"the database {name} cannot be emptied: {error}. Make its user the owner"
                ) from error

    def recreate(self) -> None:
        """Drops all three databases and creates Duotempo's own, empty. Raises PlatformError as `create` does."""
        try:
            with psycopg.connect(self.url, dbname=self.maintenance, autocommit=True, connect_timeout=10) as connection:
                for name in self.names:
                    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.names[0])))
        except psycopg.Error as error:
            raise PlatformError(
                f"{self.masked_url} cannot be created: {error}. Let its user create databases"
            ) from error


def external(database_url: str) -> Databases:
    """Returns the databases on an external server. Raises PlatformError if the URL is not a Postgres URL."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError) as error:
        raise PlatformError("DUOTEMPO_DATABASE_URL is not like postgresql://user:password@host:port/name") from error
    if url.get_backend_name() != "postgresql" or not url.database:
        raise PlatformError("DUOTEMPO_DATABASE_URL is not like postgresql://user:password@host:port/name")
    return Databases(url.set(drivername="postgresql"), url.database, embedded=False)


def embedded(port: int, password: str) -> Databases:
    """Returns the databases on the platform's own server."""
    url = URL.create("postgresql", "duotempo", password, "127.0.0.1", port, "duotempo")
    return Databases(url, "postgres", embedded=True)


if __name__ == "__main__":
    external(os.environ["DUOTEMPO_DATABASE_URL"]).create()
