"""Base job templates of work pools: what a flow run of each kind of worker is started with."""

from pathlib import Path

PROCESS = Path(__file__).with_name("process.json")
"""Of the pools that `duotempo up` and `duotempo worker` make."""
