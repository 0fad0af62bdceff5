"""The Python functions that mapped SQL calls for unusual values."""

from duckdb import DuckDBPyConnection

from components.mapping.categories import parse_list
from components.mapping.html_text import strip_html

STRIP_HTML, PARSE_LIST = "duotempo_strip_html", "duotempo_parse_list"


def register_functions(connection: DuckDBPyConnection) -> None:
    """Makes the functions known to a connection; needed once before `mapped_sql` is run on it."""
    names = f"'{STRIP_HTML}', '{PARSE_LIST}'"
    registered = connection.execute(f"SELECT 1 FROM duckdb_functions() WHERE function_name IN ({names})").fetchall()
    if not registered:
        connection.create_function(STRIP_HTML, strip_html, ["VARCHAR"], "VARCHAR")
        connection.create_function(PARSE_LIST, parse_list, ["VARCHAR"], "VARCHAR[]")
