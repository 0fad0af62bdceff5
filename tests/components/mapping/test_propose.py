from pathlib import Path

import pytest

from components.mapping.assignments import assigned
from components.mapping.mapping_file import mapping_text, read_mapping, write_mapping
from components.mapping.propose import propose
from components.mapping.rules import ColumnRule, Mapping, RoleMapping
from components.mapping.source import MappingError
from tests.components.mapping.tables import connect, mapped, texts


def test_columns_are_found_by_common_names() -> None:
    connection = connect()
    table = texts(
        connection,
        {"Visitor_ID": ["1"], "productSku": ["x"], "SKU": ["2"], "Action": ["Fav"], "created_at": ["2020-01-01"]},
    )
    proposal = propose(connection, table)
    assert proposal.role == "events"
    fields = proposal.mapping.role("events").fields
    assert {name: rule.column for name, rule in fields.items()} == {
        "user_id": "Visitor_ID", "item_id": "SKU", "event": "Action", "timestamp": "created_at",
    }  # fmt: skip
    assert fields["event"].how == {"words": {"fav": "like"}}
    assert proposal.confidence["user_id"] == "likely"
    assert proposal.unused == ("productSku",)
    assert proposal.time_range == (1577836800.0, 1577836800.0)
    assert proposal.samples["item_id"] == ("2",)


def test_unknown_event_words_are_listed_with_counts() -> None:
    connection = connect()
    table = texts(connection, {"user_id": ["a"] * 3, "event": ["pv", "zap", "zap"]})
    proposal = propose(connection, table, "events")
    assert proposal.event_words == {"zap": 2, "pv": 1}
    assert any("zap (2 rows)" in str(question) for question in proposal.questions)
    assert proposal.confidence["event"] == "unsure"


def test_what_no_column_holds_is_asked_for() -> None:
    connection = connect()
    proposal = propose(connection, texts(connection, {"user_id": ["a"], "size": ["b"]}), "events")
    asked = "\n".join(map(str, proposal.questions))
    assert all(name in asked for name in ("item_id = ", "timestamp = ", "event = "))


def test_null_words_count_as_missing() -> None:
    connection = connect()
    proposal = propose(connection, texts(connection, {"item_id": ["a", "NULL", None, "b"]}), "items")
    assert proposal.null_shares == {"item_id": 0.5}


@pytest.mark.parametrize(
    ("ratings", "scale"),
    [(["1", "5"], [1, 5]), (["0.5", "4"], [0.5, 5]), (["8", "10"], [1, 10]), (["40", "90"], [1, 100]),
     (["-3", "9"], [-3, 10])],
)  # fmt: skip
def test_the_scale_of_ratings_is_proposed(ratings: list[str | None], scale: list[float]) -> None:
    connection = connect()
    proposal = propose(connection, texts(connection, {"user_id": ["u", "v"], "rating": ratings}), "events")
    assert proposal.mapping.role("events").fields["value"].how["scale"] == scale
    assert proposal.mapping.role("events").fields["event"].how == {"constant": "rating"}


def test_zero_is_proposed_as_not_rated() -> None:
    connection = connect()
    table = texts(connection, {"user_id": ["u"] * 3, "rating": ["0", "8", "10"]})
    proposal = propose(connection, table, "events")
    assert proposal.confidence["value"] == "unsure"
    assert "zero_is_missing" in "\n".join(map(str, proposal.questions))
    assert [row["value"] for row in mapped(connection, table, proposal.mapping)] == [None, "4.0", "5.0"]


def test_float_ids_are_whole_only_if_the_whole_column_is() -> None:
    connection = connect()
    table = texts(connection, {"user_id": ["17850.0", "17850"], "item_id": ["1.0", "a"]})
    fields = propose(connection, table, "events").mapping.role("events").fields
    assert (fields["user_id"].how, fields["item_id"].how) == ({"whole_numbers": True}, {})


def test_lists_with_commas_are_proposed_and_asked_for() -> None:
    connection = connect()
    proposal = propose(connection, texts(connection, {"item_id": ["1"], "tags": ["a, b, c"]}), "items")
    assert proposal.mapping.role("items").fields["category"].how == {"format": "comma"}
    assert any("single" in note for note in proposal.notes)


def test_given_names_go_first_in_any_order() -> None:
    connection = connect()
    table = texts(connection, {"userId": ["1"], "movieId": ["2"], "rating": ["3.5"], "timestamp": ["1147868817"]})
    given = {"user_id": "userId", "item_id": "movieId", "value": "rating", "event": "rating"}
    for order in (given, dict(reversed(given.items()))):
        proposal = propose(connection, table, "events", assigned(order, {"events": table}))
        (row,) = mapped(connection, table, proposal.mapping)
        assert (row["user_id"], row["event"], row["value"]) == ("1", "rating", "3.5")


def test_general_names_apply_where_the_column_is() -> None:
    connection = connect()
    events = texts(connection, {"user": ["u"], "game": ["g"]}, "e")
    items = texts(connection, {"game": ["g"]}, "i")
    mapping = assigned(
        {"item_id": "game", "items.title": "game", "user_id": "user"}, {"events": events, "items": items}
    )
    assert mapping.role("events").fields == {"item_id": ColumnRule("game"), "user_id": ColumnRule("user")}
    assert mapping.role("items").fields == {"item_id": ColumnRule("game"), "title": ColumnRule("game")}


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        ({"value": "ratign"}, "no column ratign; the columns of events are user_id, rating"),
        ({"values": "rating"}, "no name values"),
        ({"items.title": "rating"}, "no file of items"),
        ({"event": "viewing"}, "no column viewing"),
    ],
)
def test_typing_errors_are_named(assignments: dict[str, str], message: str) -> None:
    table = texts(connect(), {"user_id": ["1"], "rating": ["3"]})
    with pytest.raises(MappingError, match=message):
        assigned(assignments, {"events": table})


def test_a_written_mapping_reads_back(tmp_path: Path) -> None:
    mapping = Mapping(
        RoleMapping(
            {
                "user_id": ColumnRule('odd "name" \\ é'),
                "event": ColumnRule("e", {"words": {"add to cart": "cart", "pv": "view"}}),
                "value": ColumnRule("r", {"kind": "rating", "scale": [0.5, 5], "zero_is_missing": True}),
                "timestamp": ColumnRule(None, {"constant": "2020-01-01"}),
            },
            each="list", separator=" ",
        ),
        RoleMapping(
            {"item_id": ColumnRule("i")},
            distinct=True,
            attributes={
                "country": ColumnRule("land"),
                "price": ColumnRule("Preis", {"type": "number", "decimal_comma": True}),
            },
        ),
        "Mine",
    )  # fmt: skip
    file = tmp_path / "mapping.toml"
    write_mapping(file, mapping, {"events.user_id": "likely;\nsuch as 5"})
    assert read_mapping(file) == mapping
    assert "# likely; such as 5" in file.read_text()
    assert "not in the file: title" in mapping_text(mapping)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[events", "is no TOML"),
        ("[event]", "there is no 'event'"),
        ("[events]\nuser = 'u'", "events have no user"),
        ("[events]\nuser_id = 5", "events.user_id is 5"),
        ("[events]\nuser_id = {}", "names no column"),
        ("[items]\ncategory = { column = 'c', format = 'xml' }", "format is 'xml'"),
        ("[items]\ndistinct = 'yes'", "wrong type"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text(text)
    with pytest.raises(MappingError, match=message) as error:
        read_mapping(file)
    assert str(file) in str(error.value)
