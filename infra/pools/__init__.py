"""Prefect's work pools, and their base job templates: what a flow run of each kind of worker is started with."""

from pathlib import Path

POOLS = ("cpu", "gpu")
DEPLOY_QUEUE = "deploy"
"""The queue of the cpu pool whose runs need the machine that serves."""
PROCESS = Path(__file__).with_name("process.json")
"""Of the pools that `duotempo up` and `duotempo worker` make."""
