"""Encodings: a text in any common one is read, and one that cannot be told is refused with its line."""

import codecs

import pytest

from tests.components.files.conftest import Open, Refused

TITLES = {
    "gb18030": "很好看的电影，值得一看",
    "big5": "臥虎藏龍是一部好看的電影",
    "shift_jis": "千と千尋の神隠し、もののけ姫",
    "euc_kr": "기생충은 아주 좋은 영화",
    "cp1251": "Чужой среди своих, ёлки",
    "cp1252": "Amélie – “Le Père Noël” Größe",
    "latin-1": "José",
}


@pytest.mark.parametrize("encoding", TITLES)
def test_the_encoding_is_detected_and_noted(encoding: str, open_file: Open) -> None:
    content = f'id,title\n1,"{TITLES[encoding]}"\n2,plain\n'
    table, rows = open_file("rows.csv", content.encode(encoding))
    assert rows == [("1", TITLES[encoding]), ("2", "plain")]
    assert any(note.startswith("encoding ") and note.endswith("(detected)") for note in table.notes)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_read(encoding: str, open_file: Open) -> None:
    content = "id;title\n" + "1;Amélie\n" * 30
    table, rows = open_file("rows.csv", content.encode(encoding))
    assert rows == [("1", "Amélie")] * 30
    assert "delimiter ;" in table.notes
    assert open_file("rows.jsonl", '{"a": "é"}\n'.encode("utf-16"))[1] == [('"é"',)]


def test_a_late_byte_beyond_utf_8_is_seen(open_file: Open) -> None:
    content = b"id,title\n" + b"1,plain\n" * 1_000_000 + "2,Amélie\n".encode("cp1252")
    table, rows = open_file("rows.csv", content)
    assert rows[-1] == ("2", "Amélie")
    assert table.notes == ("encoding Latin-1 (cp1252) (detected)",)


def test_utf_8_needs_no_note(open_file: Open) -> None:
    for mark in (b"", codecs.BOM_UTF8):
        table, rows = open_file("rows.csv", mark + "id,title\n1,很Ам\u2028é😀\n".encode())
        assert rows == [("1", "很Ам\u2028é😀")]
        assert [column.name for column in table.columns] == ["id", "title"]
        assert table.notes == ()


def test_a_named_encoding_applies(open_file: Open, refused: Refused) -> None:
    content = "id,title\n1,Łódź żółw\n".encode("cp1250")
    table, rows = open_file("rows.csv", content, encoding="cp1250")
    assert rows == [("1", "Łódź żółw")]
    assert table.notes == ("encoding CP1250 (as named)",)
    assert "no encoding is named utf-99" in refused("rows.csv", content, encoding="utf-99")
    assert "is not UTF-8 (line 2: invalid" in refused("rows.csv", content, encoding="utf-8")


@pytest.mark.parametrize("content", [b"id,title\n1,\x81\x8d\n", "id,title\n1,é很\n2,好\n".encode() + b"3,\xff\n"])
def test_what_cannot_be_decoded_is_refused_with_its_line(content: bytes, refused: Refused) -> None:
    number = content.count(b"\n")
    message = refused("rows.csv", content)
    assert f"is not UTF-8 (line {number}: invalid start byte)" in message
    assert "save it as UTF-8, or name its encoding" in message
