"""Prefect's work pools and their base job templates."""

from pathlib import Path

POOLS = ("cpu", "gpu")
DEPLOY_QUEUE = "deploy"
"""Queue of the cpu pool for runs that need the serving machine."""
PROCESS = Path(__file__).with_name("process.json")
"""Job template of the pools that `duotempo up` creates."""
