"""The SQL functions that do the service's work: files beside the Python that calls them."""

from pathlib import Path

from alembic import op

FUNCTIONS = Path(__file__).parents[2] / "components" / "store" / "functions"


def load_function(name: str) -> None:
    """Creates or replaces what `components/store/functions/{name}.sql` defines.

    A change of such a file reaches databases that exist by a migration that loads it again.
    """
    op.execute((FUNCTIONS / f"{name}.sql").read_text(encoding="utf-8"))
