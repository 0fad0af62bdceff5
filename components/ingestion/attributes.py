"""Cleans the attributes of an item: names with a text, a number, or true or false."""

import re
from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from components.core.columns import ATTRIBUTE_NAME, MAX_ATTRIBUTE_TEXT, MAX_ATTRIBUTES
from components.core.normalize import clean_text, is_missing
from components.store.rows import Attribute

_NAME = re.compile(ATTRIBUTE_NAME)


def clean_attributes(raw: object) -> dict[str, Attribute]:
    """Cleans attributes; missing values and empty texts are left out.

    Numbers are rounded to double precision, whole ones to integers, so that they are stored alike from everywhere.

    Raises:
        ValueError: They are no object, there are too many, or a name or value is invalid; the message names it.
    """
    if is_missing(raw):
        return {}
    if not isinstance(raw, Mapping):
        raise ValueError("they are no object of names and values")
    if len(raw) > MAX_ATTRIBUTES:
        raise ValueError(too_many(len(raw)))
    cleaned = {}
    for name, value in raw.items():
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ValueError(f"{str(name)[:64]!r} is no name of 1 to 64 characters from a-z, 0-9, _ and -")
        if not is_missing(value) and (attribute := _cleaned(name, value)) != "":
            cleaned[name] = attribute
    return cleaned


def too_many(count: int) -> str:
    """What is wrong with more than MAX_ATTRIBUTES attributes."""
    return f"{count} names, more than {MAX_ATTRIBUTES}"


def _cleaned(name: str, value: object) -> Attribute:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(text := clean_text(value)) > MAX_ATTRIBUTE_TEXT:
            raise ValueError(f"{name} has {len(text)} characters, more than {MAX_ATTRIBUTE_TEXT}")
        return text
    if not isinstance(value, int | float | Decimal):
        raise ValueError(f"{name} is neither text nor a number, nor true or false")
    try:
        number = float(value)
        return int(number) if number.is_integer() else _finite(number)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{name} is no finite number") from error


def _finite(number: float) -> float:
    if number - number != 0:
        raise ValueError("not finite")
    return number
