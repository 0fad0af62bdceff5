"""Files of a web server, of S3 and of a folder: what is fetched, what is new, and what is wrong."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from components.sources.fetch import fetch
from components.sources.source import Fetched, Source, SourceError, SourceUnavailable
from tests.support.ports import free_port
from tests.support.web_server import Page, web_server

CSV = b"user_id,item_id,event,timestamp\nu,a,view,1700000000\n"
CHANGED = datetime(2026, 1, 5, 12, tzinfo=UTC)


def content(fetched: Fetched) -> bytes:
    assert fetched.path is not None
    return fetched.path.read_bytes()


def names(fetched: Fetched) -> list[str]:
    assert fetched.path is not None
    return sorted(str(file.relative_to(fetched.path)) for file in fetched.path.rglob("*") if file.is_file())


def write(file: Path, at: float) -> None:
    """Writes a Parquet file that was changed at this time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user_id": ["u"], "item_id": ["a"]}), file)
    os.utime(file, (at, at))


def test_a_page_is_fetched_again_when_it_changed(tmp_path: Path) -> None:
    with web_server({"/shop/orders.csv": Page(CSV, changed=CHANGED)}) as server:
        page = Source("orders", f"{server.url}/shop/orders.csv?signature=s3cret")
        first = fetch(page, tmp_path)
        assert (first.path, content(first)) == (tmp_path / "orders.csv", CSV)
        assert fetch(page, tmp_path, first.watermark) == Fetched(None, first.watermark)
        server.pages["/shop/orders.csv"] = Page(CSV * 2, changed=CHANGED.replace(hour=13))
        assert content(fetch(page, tmp_path, first.watermark)) == CSV * 2


def test_a_page_of_unknown_age_is_fetched_each_time(tmp_path: Path) -> None:
    with web_server({"/orders.csv": Page(CSV)}) as server:
        first = fetch(Source("orders", f"{server.url}/orders.csv"), tmp_path)
    assert (content(first), first.watermark) == (CSV, None)


def test_a_page_behind_a_login_needs_the_secret(tmp_path: Path) -> None:
    login = "Bearer s3cret"
    with web_server({"/orders.csv": Page(CSV, authorization=login)}) as server:
        url = f"{server.url}/orders.csv"
        assert content(fetch(Source("orders", url, secret=login), tmp_path)) == CSV
        with pytest.raises(SourceError, match="answers 401 Unauthorized; check its secret") as caught:
            fetch(Source("orders", url, secret=login.replace("s3cret", "wr0ng")), tmp_path)
    assert "wr0ng" not in str(caught.value)


def test_faults_of_a_web_server_are_explained_without_secrets(tmp_path: Path) -> None:
    pages = {"/short.csv": Page(CSV, length=10_000), "/busy.csv": Page(status=503), "/odd.csv": Page(status=410)}
    faults: dict[str, tuple[type[SourceError], str]] = {
        "none.csv": (SourceError, "does not exist; check the address"),
        "odd.csv": (SourceError, "answers 410"),
        "busy.csv": (SourceUnavailable, "answers 503"),
        "short.csv": (SourceUnavailable, "does not answer"),
    }
    with web_server(pages) as server:
        for name, (kind, message) in faults.items():
            with pytest.raises(SourceError, match=message) as caught:
                fetch(Source("orders", f"{server.url}/{name}?signature=s3cret"), tmp_path / name)
            assert type(caught.value) is kind and "s3cret" not in str(caught.value)
    with pytest.raises(SourceUnavailable, match="does not answer"):
        fetch(Source("orders", f"http://127.0.0.1:{free_port()}/orders.csv"), tmp_path)


def test_only_new_files_of_a_folder_are_fetched_with_their_partitions(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    write(lake / "day=1" / "a.parquet", 1000)
    write(lake / "day=2" / "a.parquet", 2000.5)
    write(lake / "day=2" / "_unfinished.parquet", 9000)
    write(lake / "_tmp" / "b.parquet", 9000)
    (lake / "notes.txt").write_text("not rows")
    for number, address in enumerate((str(lake), lake.as_uri(), f"{lake}/*/*.parquet")):
        first = fetch(Source("lake", address), tmp_path / f"first{number}")
        assert names(first) == ["day=1/a.parquet", "day=2/a.parquet"]
        assert fetch(Source("lake", address), tmp_path / "none", first.watermark).path is None
    write(lake / "day=3" / "a.parquet", 3000)
    assert names(fetch(Source("lake", str(lake)), tmp_path / "new", first.watermark)) == [
        "day=2/a.parquet", "day=3/a.parquet",
    ]  # fmt: skip
    late = Source("lake", str(lake), overlap=1001)
    assert len(names(fetch(late, tmp_path / "late", first.watermark))) == 3


def test_one_file_of_any_format_is_fetched_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    file = tmp_path / "exports" / "orders.csv"
    file.write_bytes(CSV)
    for number, address in enumerate((str(file), file.as_uri(), f"{tmp_path}/exports/*.csv")):
        fetched = fetch(Source("orders", address), tmp_path / f"copy{number}")
        assert (content(fetched), fetched.path) == (CSV, tmp_path / f"copy{number}" / "orders.csv")
    assert file.exists()
    (tmp_path / "exports" / "more.csv").write_bytes(CSV)
    with pytest.raises(SourceError, match="holds 2 files, none of them Parquet"):
        fetch(Source("orders", f"{tmp_path}/exports"), tmp_path / "several")
    with pytest.raises(SourceError, match=r"none\.csv does not exist"):
        fetch(Source("orders", f"{tmp_path}/none.csv"), tmp_path / "absent")


def test_what_a_source_of_files_cannot_have_is_an_error(tmp_path: Path) -> None:
    wrong = {
        "query is for databases": Source("o", "https://x/y.csv", query="SELECT 1"),
        "watermark is for databases": Source("o", "/tmp/y.csv", watermark="id"),
        "of no known kind; use postgresql://": Source("o", "mysqlx://host/db"),
        "pip install gcsfs": Source("o", "gs://bucket/y.csv"),
    }
    for message, source in wrong.items():
        with pytest.raises(SourceError, match=message):
            fetch(source, tmp_path)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket `lake` on a server that speaks S3's protocol."""
    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3", aws_access_key_id="id", aws_secret_access_key="-")
    client.create_bucket(Bucket="lake")
    yield client
    server.stop()


def test_s3_gives_files_and_folders_of_parquet(bucket: Any, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 1000)
    for key in ("events/day=1/a.parquet", "events/day=2/b.parquet", "events/_SUCCESS"):
        bucket.put_object(Bucket="lake", Key=key, Body=(tmp_path / "a.parquet").read_bytes())
    bucket.put_object(Bucket="lake", Key="orders.csv", Body=CSV)
    login = "id:key"
    assert content(fetch(Source("o", "s3://lake/orders.csv", secret=login), tmp_path / "one")) == CSV
    for address in ("s3://lake/events", "s3://lake/events/day=*/*.parquet"):
        fetched = fetch(Source("e", address, secret=login), tmp_path / address[-3:])
        assert names(fetched) == ["day=1/a.parquet", "day=2/b.parquet"]
        assert fetch(Source("e", address, secret=login), tmp_path, fetched.watermark).path is None
    with pytest.raises(SourceError, match="does not exist"):
        fetch(Source("o", "s3://lake/none.csv", secret=login), tmp_path)
    with pytest.raises(SourceError, match="is no KEY_ID:KEY"):
        fetch(Source("o", "s3://lake/orders.csv", secret=login[:2]), tmp_path)
