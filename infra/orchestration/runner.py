"""`python -m infra.orchestration.runner POOL NAME [QUEUE]`: executes the runs of a pool; worker.py execs it.

It requests runs when the server's event stream reports a scheduled one, and every ten seconds in case an event is lost.
It imports little besides Prefect, to save memory: a worker is idle most of the time.
"""

import asyncio
import json
import logging
import os
import sys

import httpx
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.utilities.processutils import setup_signal_handlers_worker
from prefect.workers.process import ProcessWorker
from websockets.exceptions import WebSocketException

from components.core.logs import configure_logging
from infra.pools import PROCESS

LOG = logging.getLogger(__name__)
SCHEDULED = "prefect.flow-run.Scheduled"
RECONNECT_SECONDS = 2.0


async def take_runs(pool: str, name: str, queue: str | None = None) -> None:
    """Executes runs of a pool, or of one of its queues, until SIGTERM or SIGINT; started runs then continue."""
    setup_signal_handlers_worker(os.getpid(), f"the worker {name}", LOG.info)
    template = json.loads(PROCESS.read_text(encoding="utf-8"))
    worker = ProcessWorker(pool, [queue] if queue else None, name, base_job_template=template)
    scheduled = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(listen(scheduled)), group.create_task(take_when(scheduled, worker))]
            await worker.start(printer=LOG.info)
            for helper in helpers:
                helper.cancel()
    except asyncio.CancelledError:
        LOG.info("worker %s stopped", name)


async def listen(scheduled: asyncio.Event) -> None:
    """Sets the event when the server reports a scheduled run, and after each reconnection, in case one was missed."""
    while True:
        try:
            async with get_events_subscriber(EventFilter(event=EventNameFilter(name=[SCHEDULED]))) as events:
                scheduled.set()
                async for _ in events:
                    scheduled.set()
        except (OSError, WebSocketException, httpx.HTTPError) as error:
            LOG.warning("Prefect's event stream is down, polling for runs every ten seconds: %r", error)
        await asyncio.sleep(RECONNECT_SECONDS)


async def take_when(scheduled: asyncio.Event, worker: ProcessWorker) -> None:
    """Requests runs each time the event is set."""
    while True:
        await scheduled.wait()
        scheduled.clear()
        try:
            await worker.get_and_submit_flow_runs()
        except httpx.HTTPError as error:
            LOG.warning("Prefect's server does not return the scheduled runs, retrying soon: %r", error)


if __name__ == "__main__":
    configure_logging(logging.StreamHandler())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(take_runs(*sys.argv[1:]))
