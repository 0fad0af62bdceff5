"""Column names: their limits, and how messages show them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from components.core.logs import one_line
from components.files.errors import unreadable

MAX_COLUMNS = 1000
MAX_SHOWN_COLUMNS = 20


def join_names(names: Iterable[object]) -> str:
    """Column names for a message, shortened after MAX_SHOWN_COLUMNS."""
    shown = [one_line(str(name)) for name in names]
    more = f" and {len(shown) - MAX_SHOWN_COLUMNS:,} more" if len(shown) > MAX_SHOWN_COLUMNS else ""
    return ", ".join(shown[:MAX_SHOWN_COLUMNS]) + more


def check_names(file: object, kind: str, names: Sequence[str]) -> None:
    """Raises DatasetError for too many columns, or two of one name; as in SQL, case makes no difference."""
    if len(names) > MAX_COLUMNS:
        why = f"it has {len(names):,} columns, more than {MAX_COLUMNS:,}"
        raise unreadable(file, kind, why, "keep only those that are needed")
    spellings = defaultdict(list)
    for name in names:
        spellings[name.lower()].append(name)
    if repeated := [dict.fromkeys(same) for same in spellings.values() if len(same) > 1]:
        shown = join_names(" and ".join(same) for same in repeated)
        raise unreadable(file, kind, f"two columns are named {shown}: rename one")


def numbered(names: Iterable[str]) -> list[str]:
    """The names without blanks around them; a column without a name is called after its place: `column0`."""
    return [name.strip() or f"column{place}" for place, name in enumerate(names)]
