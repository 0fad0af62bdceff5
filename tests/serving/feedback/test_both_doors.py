"""The same rows, good and bad, get the same verdicts from a bulk load and from /feedback."""

import json
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.columns import EVENTS
from components.datasets.opened_files import InputFiles, open_files
from components.files.connection import connect
from components.ingestion.load_files import judge_files
from components.mapping.mapping_file import mapping_from
from components.settings import Settings
from components.store.engine import make_engine
from serving.contract.responses import FeedbackAnswer
from tests.support.postgres import stored
from tests.support.service import RunningService
from tests.support.service_client import REUSED
from tests.support.toy_data import NAMES

NAME_OF_USER = "{user}"
MAPPING = mapping_from(
    {
        "events": {
            **{name: name for name in ("user_id", "item_id", "event", "value", "text", "event_id")},
            "timestamp": {"column": "timestamp", "format": "seconds"},
        },
        "items": {"item_id": "item_id"},
    }
)
"""Every name is its own column. What only files have, such as words for missing values, is not among the rows."""
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
ROW = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from([NAME_OF_USER, f" {NAME_OF_USER} ", f"{NAME_OF_USER}-2", "", "  ", "x" * 201, "a​b"]),
        "item_id": st.sampled_from([*NAMES[:4], f" {NAMES[0]}", "nowhere", "", "y" * 201]),
        "event": st.one_of(st.sampled_from(EVENTS), st.sampled_from(["VIEW", " like ", "gaze", ""])),
        "timestamp": st.one_of(
            st.integers(1_000_000_000, 1_700_000_000),
            st.floats(1e9, 1.7e9),
            st.sampled_from([0, -5, 1e11, 1.7e12, time.time() + 86_400, "2024-05-01T10:00:00Z", "2024-05-01", "soon"]),
        ),
    },
    optional={
        "value": st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([1e13, "4.5", "five", " 3 ", "1e400"])),
        "text": st.one_of(st.none(), TEXT, st.sampled_from(["fine", " so  so ", "R&amp;D"])),
        "event_id": st.sampled_from([None, f"{NAME_OF_USER}-e", "e" * 201]),
    },
)
Verdict = dict[int, str]


def of_file(database: str, rows: Sequence[dict[str, Any]]) -> tuple[set[str], int, Verdict]:
    """The ids of accepted events, the number of duplicates, and the error code of each rejected row."""
    engine = make_engine(database)
    with TemporaryDirectory() as folder, connect(Path(folder)) as connection:
        file = Path(folder) / "events.jsonl"
        columns = MAPPING.role("events").columns()
        file.write_text("\n".join(json.dumps({name: row.get(name) for name in columns}) for row in rows))
        catalogue = Path(folder) / "items.jsonl"
        catalogue.write_text(json.dumps({"item_id": NAMES[0]}))
        opened = open_files(connection, InputFiles(file, catalogue), mapping=MAPPING)
        judged = judge_files(connection, opened, Settings(), source="feedback", now=datetime.now(UTC), engine=engine)
        rejected = connection.execute("SELECT row, split_part(reason, ':', 1) FROM rejected_events").fetchall()
        accepted = {event for (event,) in connection.execute("SELECT event_id FROM good_events").fetchall()}
    engine.dispose()
    return accepted, judged.events.duplicates, dict(rejected)


def of_feedback(client: httpx.Client, rows: Sequence[dict[str, Any]]) -> tuple[int, int, Verdict]:
    response = client.post("/feedback", json={"events": rows})
    assert response.status_code == 200, response.text
    answer = FeedbackAnswer.model_validate(response.json())
    return answer.accepted, answer.duplicates, {row.index: row.reason.split(":")[0] for row in answer.rejected}


@settings(REUSED, max_examples=30)
@given(templates=st.lists(ROW, min_size=1, max_size=8))
def test_both_doors_give_the_same_verdicts(
    client: httpx.Client, service: RunningService, templates: list[dict[str, Any]]
) -> None:
    user = uuid.uuid4().hex
    rows = [
        {name: value.replace(NAME_OF_USER, user) if isinstance(value, str) else value for name, value in row.items()}
        for row in templates
    ]
    accepted, duplicates, rejected = of_file(service.database, rows)
    assert of_feedback(client, rows) == (len(accepted), duplicates, rejected)
    query = "SELECT event_id FROM events WHERE user_id IN (%s, %s)"
    assert {event for (event,) in stored(service.database, query, user, f"{user}-2")} == accepted
