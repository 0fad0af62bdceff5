"""What became of each version, in the words that MLflow's page shows: by the lines of `promotions` alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from components.core.markdown import escaped
from components.settings import DeploySettings
from components.store.promotions import CANARY, NOTES, OPEN, REQUESTED, SERVING
from components.store.schema import Promotion


@dataclass(frozen=True)
class Standing:
    """status: a few words, for a tag. why: Markdown, empty where there is nothing more to say."""

    status: str
    why: str = ""


def standings(lines: Sequence[Promotion], deploy: DeploySettings) -> dict[str, Standing]:
    """By version. lines: all promotions, oldest first."""
    found: dict[str, Standing] = {}
    last: dict[str, str] = {}
    serving: str | None = None
    for line in lines:
        if line.state in NOTES:
            continue
        if line.state == SERVING:
            if serving not in (None, line.version):
                back = last.get(line.version) not in (None, *OPEN)
                found[str(serving)] = _replaced(line, rolled_back=back)
            serving = line.version
            found[line.version] = Standing(f"serving since {_time(line.at)}", _by(line))
        elif line.version != serving:
            found[line.version] = _under_way(line, deploy)
        last[line.version] = line.state
    return found


def _replaced(line: Promotion, *, rolled_back: bool) -> Standing:
    """Of the version that served before the one of the line."""
    if rolled_back:
        return Standing(f"rolled back {_time(line.at)}", f"version {line.version} serves again, {_by(line)}")
    return Standing(f"served until {_time(line.at)}", f"version {line.version} took over")


def _under_way(line: Promotion, deploy: DeploySettings) -> Standing:
    if line.state == CANARY:
        until = line.at + timedelta(seconds=deploy.canary_seconds)
        return Standing(f"canary for {deploy.canary_share:.0%} of the users until {_time(until)}", _by(line))
    if line.state == REQUESTED:
        return Standing(f"requested {_time(line.at)}", _by(line))
    return Standing(f"{line.state} {_time(line.at)}", escaped(line.reason))


def _by(line: Promotion) -> str:
    return escaped(f"asked for by {line.actor}" + (f": {line.reason}" if line.reason else ""))


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
