"""Categories from lists, JSON, Python lists, paths and separated text."""

import ast
import json
from collections.abc import Iterator
from functools import lru_cache

from components.mapping.texts import NULL_NUMBERS, NULL_WORDS

MAX_DEPTH = 20
"""Deepest nesting of a list of categories."""
MAX_LENGTH = 100_000
"""Longest text that is parsed as a list."""
MAX_CACHED = 200
"""Longest text whose categories are cached; many items have the same."""
SEPARATORS = {"path": r"\s*[|>›»]\s*", "pipe": r"\|", "comma": ",", "semicolon": ";", "space": r"\s+"}
"""Regular expressions that split a text into categories, by format."""
_NAME_KEYS = ("name", "title", "label", "value", "category")
_MISSING = frozenset(NULL_WORDS + NULL_NUMBERS)


def parse_list(text: str) -> list[str]:
    """Parses a JSON or Python list of texts, also a nested one; objects count by their name, or else by their lists.

    A text that is no list is one category.
    """
    return list(_cached(text) if len(text) <= MAX_CACHED else _categories(text))


def _categories(text: str) -> list[str]:
    try:
        return [name for name in _flat(_parsed(text), 0) if name not in _MISSING]
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return [text]


_cached = lru_cache(maxsize=20_000)(_categories)


def _parsed(text: str) -> object:
    if len(text) > MAX_LENGTH:
        raise ValueError("too long")
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)


def _flat(value: object, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _flat(part, depth + 1)
    elif isinstance(value, dict):
        names = [value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)]
        lists = [part for part in value.values() if isinstance(part, list)]
        if names:
            yield names[0].strip()
        elif lists:
            yield from _flat(lists, depth + 1)
        elif value:
            raise ValueError("an object without a name")
    else:
        yield str(value).strip()
