"""SQL that finds the rows that are valid as they stand, and makes their events as `components.ingestion.clean` does.

The conditions are strict: a row that they leave out is not wrong, but has to be read by `clean`.
"""

from collections.abc import Collection

from components.core.columns import EVENTS, MAX_ID, VALUE_REQUIRED, Columns
from components.core.normalize import MAX_EPOCH_SECONDS
from components.ingestion.clean import TimeBounds

IDS = (Columns.EVENT_ID, Columns.SESSION, Columns.REQUEST)
TEXTS = (Columns.TEXT, Columns.MODEL_VERSION, Columns.VARIANT)
OPTIONAL = (*IDS, Columns.VALUE, *TEXTS)
"""Columns that an input of events need not have."""
REQUIRED = (Columns.USER, Columns.ITEM, Columns.EVENT, Columns.TIMESTAMP)
_ID = "[!-~]([ -~]*[!-~])?"
"""Printable ASCII without blanks at its ends."""
_TEXT = "[!-%''-~]+( [!-%''-~]+)*"
"""Words of printable ASCII with single blanks, without `&`, which may begin an HTML entity."""
_NUMBER = r"(-[1-9][0-9]{0,8}|[0-9]{1,9})(\.[0-9]{1,17})?"


def plain_event(columns: Collection[str], times: TimeBounds) -> str:
    """A condition on a row of events: all but its user and item are known to be valid, and need no cleaning.

    Args:
        columns: The columns of the input.
    """
    names = ", ".join(f"'{name}'" for name in EVENTS)
    seconds, latest = Columns.TIMESTAMP, min(times.latest, MAX_EPOCH_SECONDS - 1)
    conditions = [
        _plain_id(Columns.USER),
        _plain_id(Columns.ITEM),
        f"{Columns.EVENT} IN ({names})",
        f"{seconds} BETWEEN {times.earliest!r} AND {latest!r}",
    ]
    conditions += [f"({name} IS NULL OR {_plain_id(name)})" for name in IDS if name in columns]
    conditions += [f"({name} IS NULL OR regexp_full_match({name}, '{_TEXT}'))" for name in TEXTS if name in columns]
    needing_value = ", ".join(f"'{name}'" for name in VALUE_REQUIRED)
    without_value = f"{Columns.EVENT} NOT IN ({needing_value})"
    if Columns.VALUE in columns:
        conditions.append(f"CASE WHEN {Columns.VALUE} IS NULL THEN {without_value} ELSE {_plain_number()} END")
    else:
        conditions.append(without_value)
    if "reject" in columns:
        conditions.append("reject IS NULL")
    return f"coalesce({' AND '.join(conditions)}, false)"


def event_of(columns: Collection[str], stored_user: str) -> dict[str, str]:
    """The columns of a plain row's event as SQL; `micros` is its time in epoch microseconds.

    Args:
        columns: The columns of the input.
        stored_user: SQL of the user's id as stored.
    """
    optional = {name: name if name in columns else "CAST(NULL AS VARCHAR)" for name in OPTIONAL}
    value = f"CAST({optional[Columns.VALUE]} AS DOUBLE)"
    # as Python's round(): half to even
    micros = f"CAST(round_even({Columns.TIMESTAMP} * 1e6, 0) AS BIGINT)"
    parts = (
        "$source", stored_user, Columns.ITEM, Columns.EVENT, f"CAST({micros} AS VARCHAR)",
        f"coalesce(CAST({value} AS VARCHAR), '')", f"coalesce({optional[Columns.TEXT]}, '')",
    )  # fmt: skip
    digest = f"sha256(concat({', chr(31), '.join(parts)}))"
    return {
        Columns.EVENT_ID: f"coalesce({optional[Columns.EVENT_ID]}, {digest})",
        Columns.USER: stored_user,
        Columns.ITEM: Columns.ITEM,
        Columns.EVENT: Columns.EVENT,
        Columns.VALUE: value,
        Columns.TEXT: optional[Columns.TEXT],
        "micros": micros,
        **{name: optional[name] for name in (Columns.SESSION, Columns.REQUEST, Columns.MODEL_VERSION, Columns.VARIANT)},
    }


def _plain_id(name: str) -> str:
    return f"(length({name}) <= {MAX_ID} AND regexp_full_match({name}, '{_ID}'))"


def _plain_number() -> str:
    value = Columns.VALUE
    # str() writes smaller numbers with an exponent
    size = f"abs(TRY_CAST({value} AS DOUBLE))"
    return f"regexp_full_match({value}, '{_NUMBER}') AND ({size} = 0 OR {size} >= 0.001)"
