"""The bounds of what is stored, once: cleaning rejects what is beyond them, and the suites of `expectations/` fail."""

MAX_ID = 200
"""Characters of an id."""
MAX_VALUE = 1e12
"""A value lies between this and its negative."""
MAX_CATEGORIES = 1000
"""Categories of an item."""
VALUED = ("rating",)
"""Events that say nothing without a value."""
