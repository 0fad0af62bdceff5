"""SQL of values as text: stripped, null words as NULL, whole numbers without `.0`."""

from components.files.sql import literal
from components.mapping.source import BLANKS, is_float, is_nested

NULL_WORDS = (
    "", "\\N", "NULL", "null", "Null", "nan", "NaN", "NAN", "None", "none", "<NA>", "<null>", "(null)", "N/A", "n/a",
    "#N/A", "undefined",
)  # fmt: skip
"""Texts that stand for a missing value in every column."""
NULL_NUMBERS = ("NA", "na", "-", "--", "?", "NaT", "nil")
"""Further ones, in columns of numbers, times and categories, where they can mean nothing else."""
NULL_TEXTS = ("", "\\N", "NULL", "null", "nan", "NaN", "None", "<NA>", "(null)")
"""The ones in titles and other texts, which may well hold a word such as `none`."""
_WHOLE = r"[+-]?[0-9]+\.0+"


def stripped_sql(column: str, kind: str) -> str:
    """A column as text without blanks at its ends.

    Args:
        column: In SQL.
        kind: Its DuckDB type.
    """
    if kind == "VARCHAR":
        text = column
    elif kind == "JSON":
        text = f"({column} ->> '$')"
    elif is_nested(kind):
        text = f"CAST(to_json({column}) AS VARCHAR)"
    elif is_float(kind):
        return _float_sql(column)
    else:
        text = f"CAST({column} AS VARCHAR)"
    ends = f"{_visible_sql(f'ascii({text})')} AND {_visible_sql(f'ascii(right({text}, 1))')}"
    return f"CASE WHEN {ends} THEN {text} ELSE trim({text}, {literal(BLANKS)}) END"


def nested_sql(column: str, kind: str) -> str:
    """Whether a value is an object or an array, where one value is needed."""
    if kind == "JSON":
        return f"coalesce(json_type({column}) IN ('OBJECT', 'ARRAY'), false)"
    return f"({column} IS NOT NULL)" if is_nested(kind) else "false"


def null_words_sql(text: str, null_words: tuple[str, ...]) -> str:
    """A text, or NULL if it is a null word."""
    cases = " ".join(f"WHEN {literal(word)} THEN NULL" for word in null_words)
    return f"CASE {text} {cases} ELSE {text} END"


def matched_sql(text: str, pattern: str) -> str:
    """The first group of a regular expression in a text, or NULL without a match."""
    return f"nullif(regexp_extract({text}, {literal(pattern)}, 1), '')"


def whole_number_sql(text: str) -> str:
    """A text without the `.0` of a whole number."""
    return f"CASE WHEN regexp_full_match({text}, {literal(_WHOLE)}) THEN split_part({text}, '.', 1) ELSE {text} END"


def _visible_sql(code: str) -> str:
    """Whether a character is surely no blank; `trim` with many characters takes ten times as long as this test."""
    return f"({code} BETWEEN 33 AND 126 OR {code} BETWEEN 161 AND 8191 OR {code} BETWEEN 12353 AND 65278)"


def _float_sql(column: str) -> str:
    number = f"CAST({column} AS DOUBLE)"
    whole = f"{number} = trunc({number}) AND abs({number}) < 1e15"
    return (
        f"CASE WHEN isnan({number}) THEN NULL WHEN {whole} THEN CAST(CAST({number} AS BIGINT) AS VARCHAR) "
        f"ELSE CAST({column} AS VARCHAR) END"
    )
