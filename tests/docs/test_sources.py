"""The source and the commands of docs/sources.md, run against a shop's database."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.postgres import emptied, stored
from tests.support.source_database import shop_database
from tests.support.web_server import Page, web_server

DOCUMENT = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The blocks of code of the document in a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    return [code for name, code in found if name == language]


def test_the_source_of_the_document_is_inspected_and_loaded(postgres_url: str, database: str, tmp_path: Path) -> None:
    page = {"/export/orders.csv": Page(b"user_id,item_id,event,timestamp\nu3,c,purchase,2026-01-05 12:00:00\n")}
    with (
        shop_database(postgres_url, [(1, "u1", "a"), (2, "u2", "b")]) as shop,
        emptied(database),
        web_server(page) as server,
    ):
        shop.run("ALTER TABLE orders RENAME id TO order_id")
        settings = re.sub('address = ".*"', f'address = "{shop.address}"', blocks("toml")[0])
        (tmp_path / "duotempo.toml").write_text(settings)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DUOTEMPO_")}
        environment = clean | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PGPASSWORD": shop.password,
            "DUOTEMPO_HOME": str(tmp_path / "home"),
            "DUOTEMPO_DATABASE_URL": database,
            "DUOTEMPO_SOURCE_ORDERS_SECRET": shop.password,
        }

        def run(command: str) -> str:
            done = subprocess.run(
                command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            return done.stdout

        (from_page, _, from_query), (inspect, ingest) = (code.splitlines() for code in blocks(""))
        run(inspect)
        mapping = tmp_path / "orders.toml"
        lines = '[events]\nevent = { constant = "purchase" }\ntimestamp = "ordered_at"\n'
        mapping.write_text(mapping.read_text().replace("[events]\n", lines))
        run(ingest)
        assert "orders: nothing new" in run(ingest)
        assert stored(database, "SELECT count(*), min(event), min(source) FROM events") == [(2, "purchase", "orders")]
        run(from_page.replace("https://shop.example", server.url))
        run(from_query.replace("postgresql://reader@shop.example/shop", shop.address))
        assert stored(database, "SELECT count(*) FROM events WHERE source = 'orders'") == [(3,)]
