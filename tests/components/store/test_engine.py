import socket

import pytest
from sqlalchemy import make_url, text

from components.store.engine import StoreError, make_engine


def test_a_server_that_is_down_is_named_without_the_password() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        engine = make_engine(f"postgresql://someone:hush-hush@127.0.0.1:{port}/shop")
        with pytest.raises(StoreError) as raised:
            engine.connect()
    assert f"127.0.0.1:{port}" in str(raised.value)
    assert "duotempo up" in str(raised.value)
    assert "hush-hush" not in str(raised.value)


def test_a_refused_login_is_reported(postgres_url: str) -> None:
    wrong = make_url(postgres_url).set(password="wrong-secret").render_as_string(hide_password=False)
    with pytest.raises(StoreError, match=r"password authentication failed.*check host, user, password") as raised:
        make_engine(wrong).connect()
    assert "wrong-secret" not in str(raised.value)


def test_a_database_that_does_not_exist_is_named(postgres_url: str) -> None:
    absent = make_url(postgres_url).set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(StoreError, match=r"database \"nowhere\" does not exist.*check host, user, password and name"):
        make_engine(absent).connect()


@pytest.mark.parametrize("url", ["mysql://root@127.0.0.1/shop", "no url at all"])
def test_a_url_of_another_database_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="postgresql://"):
        make_engine(url)


def test_a_pooled_connection_closed_by_the_server_is_replaced(postgres_url: str) -> None:
    engine = make_engine(postgres_url)
    with engine.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    other = make_engine(postgres_url)
    with other.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()
    other.dispose()


def test_a_lost_connection_is_a_store_error(postgres_url: str) -> None:
    engine = make_engine(postgres_url)
    with engine.connect() as connection, pytest.raises(StoreError, match="duotempo up"):
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid(), 1000), pg_sleep(1)"))
    engine.dispose()
