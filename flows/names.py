"""What a flow run is called in Prefect: by what it does and on what."""

from collections.abc import Callable

from prefect.runtime import flow_run


def by_time(what: str) -> Callable[[], str]:
    """`WHAT 2026-11-29 03:00`, by the time (UTC) the run was due, which a retry does not change."""
    return lambda: f"{what} {flow_run.scheduled_start_time:%Y-%m-%d %H:%M}"
