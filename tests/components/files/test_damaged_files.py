"""Files with random damage: each is refused with its name, or all its rows are read; nothing else is raised."""

import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.files.errors import DatasetError
from tests.components.files.conftest import Open
from tests.components.files.test_excel import ROWS, workbook


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": list(range(50)), "title": ["x"] * 50, "tags": [["a"]] * 50}), buffer)
    return buffer.getvalue()


WHOLE = {
    "rows.csv": b"id,title\n" + b'1,"say ""hi"""\n2,plain\n' * 3,
    "rows.tsv": b'id\ttitle\n1\t"a b"\n2\tplain\n',
    "rows.dat": b"1::Alien (1979)::5\n2::Up::3\n",
    "rows.jsonl": b'{"id": 1, "tags": ["a", {"b": null}]}\n{"id": "2"}\n',
    "rows.json": b'[{"id": 1}, {"tags": [1]}]',
    "rows.meta": b"{'id': '1', 'tags': ['a']}\n{'id': '2'}\n",
    "utf16.csv": ("id;title\n" + "1;é\n" * 10).encode("utf-16"),
    "gbk.csv": ("id,title\n" + "1,很好看的电影\n" * 5).encode("gb18030"),
    "rows.csv.gz": gzip.compress(b"id,title\n1,x\n2,y\n"),
    "rows.zst": pa.compress(b"id,title\n1,x\n2,y\n", codec="zstd", asbytes=True),
    "rows.parquet": parquet(),
    "rows.xlsx": workbook(Sales=ROWS),
}
INSERTED = [b"", b'"', b",", b"\n", b"\r", b'\\"', b"\x00", b"\xff", b"\xe9", b"#", b"::", b"\t", b"[", b"{'"]
DAMAGE = st.tuples(st.floats(0, 1), st.integers(0, 20), st.sampled_from(INSERTED))


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(damages=st.lists(DAMAGE, min_size=1, max_size=4))
def test_a_damaged_file_is_refused_or_read(name: str, damages: list[tuple[float, int, bytes]], open_file: Open) -> None:
    content = WHOLE[name]
    for place, removed, inserted in damages:
        start = int(place * len(content))
        content = content[:start] + inserted + content[start + removed :]
    try:
        table, rows = open_file(name, content)
    except DatasetError as error:
        assert name in str(error)
        assert len(str(error)) < 1000
    else:
        assert table.rows == len(rows) > 0
