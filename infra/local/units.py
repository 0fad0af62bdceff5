"""User units of systemd and agents of launchd that start the platform.

They also restart it if supervisor and sentinel are killed at once. Both run `up`, which adopts running programs.
"""

import os
import plistlib
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.home.errors import PlatformError
from infra.local.platform import Platform

INHERITED_PREFIXES = ("DUOTEMPO_", "HF_", "PREFECT_", "MLFLOW_", "OTEL_")
"""Prefixes of the environment variables that the unit passes on."""
RESTART_SECONDS = 60
"""Interval of launchd's restarts; systemd notices the end itself."""


@dataclass(frozen=True)
class Unit:
    """A unit file, its text, and the commands that load and unload it."""

    file: Path
    text: str
    load: list[list[str]]
    unload: list[list[str]]


def unit(platform: Platform) -> Unit:
    """Returns the platform's unit for this system. Raises PlatformError without systemd or launchd."""
    name = f"duotempo-{platform.home.id}"
    if sys.platform == "darwin":
        domain = f"gui/{os.getuid()}"
        file = Path.home() / "Library" / "LaunchAgents" / f"{name}.plist"
        load = [["launchctl", "bootstrap", domain, str(file)]]
        return Unit(file, _agent(platform, name), load, [["launchctl", "bootout", f"{domain}/{name}"]])
    if sys.platform != "linux":
        raise PlatformError("this system has neither systemd nor launchd: run `duotempo up` from its own init system")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    systemctl = ["systemctl", "--user"]
    return Unit(
        config / "systemd" / "user" / f"{name}.service",
        _service(platform),
        [[*systemctl, "daemon-reload"], [*systemctl, "enable", "--now", name]],
        [[*systemctl, "disable", "--now", name]],
    )


def install(platform: Platform) -> Path:
    """Writes and loads the unit, and returns its file. Raises PlatformError, also if the platform is up."""
    if platform.runs:
        raise PlatformError("the platform is up, but the system must start it to monitor it: `duotempo down` first")
    definition = unit(platform)
    platform.home.make()
    write_script(platform, os.environ)
    definition.file.parent.mkdir(parents=True, exist_ok=True)
    definition.file.write_text(definition.text)
    for command in definition.load:
        _run(command, f"{definition.file} is written, but could not be loaded")
    return definition.file


def remove(platform: Platform) -> Path:
    """Stops the platform, removes the unit and returns its file. Raises PlatformError."""
    definition = unit(platform)
    if not definition.file.exists():
        raise PlatformError(f"there is no {definition.file}: `duotempo service install` creates it")
    for command in definition.unload:
        _run(command, f"{definition.file} is still there")
    definition.file.unlink()
    script(platform).unlink(missing_ok=True)
    return definition.file


def script(platform: Platform) -> Path:
    """Script that the unit runs with `up` or `down`; stored with the secrets, as its variables may hold passwords."""
    return platform.home.secrets / "service.sh"


def write_script(platform: Platform, variables: Mapping[str, str]) -> None:
    """Writes a script that runs `duotempo` in the current folder with these variables and this home."""
    kept = {name: value for name, value in variables.items() if name.startswith(INHERITED_PREFIXES)}
    kept["DUOTEMPO_HOME"] = str(platform.home.path)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(kept.items())]
    command = f'exec {shlex.quote(sys.executable)} -m cli.main "$@"'
    text = "\n".join([*lines, f"cd {shlex.quote(str(Path.cwd()))} || exit", command, ""])
    part = script(platform).with_suffix(".part")
    with open(part, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(text)
    part.replace(script(platform))


def _service(platform: Platform) -> str:
    """Text of the systemd unit. `KillMode=process`: programs that outlive the supervisor are adopted, not killed."""
    run, pid_file = _quoted(script(platform)), str(platform.home.pid_file).replace("%", "%%")
    return "\n".join(
        [
            "[Unit]",
            f"Description=Duotempo in {str(platform.home.path).replace('%', '%%')}",
            "",
            "[Service]",
            "Type=forking",
            f"PIDFile={pid_file}",
            f"ExecStart=/bin/sh {run} up",
            f"ExecStop=/bin/sh {run} down",
            "Restart=on-failure",
            "RestartSec=2",
            "KillMode=process",
            "TimeoutStartSec=infinity",  # each step of `up` has its own timeout
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
    )


def _quoted(path: Path) -> str:
    """Quotes a path as an argument of a systemd unit."""
    text = str(path)
    for character, escaped_text in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        text = text.replace(character, escaped_text)
    return f'"{text}"'


def _agent(platform: Platform, label: str) -> str:
    """Text of the launchd agent, which runs `up` each minute while supervisord's pid file exists.

    `down` removes the pid file, a kill does not.
    """
    return plistlib.dumps(
        {
            "Label": label,
            "ProgramArguments": ["/bin/sh", str(script(platform)), "up"],
            "RunAtLoad": True,
            "KeepAlive": {"PathState": {str(platform.home.pid_file): True}},
            "ThrottleInterval": RESTART_SECONDS,
            "AbandonProcessGroup": True,
        }
    ).decode()


def _run(command: list[str], problem: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PlatformError(f"{problem}: this system has no {command[0]}") from error
    if done.returncode:
        raise PlatformError(f"{problem}: `{shlex.join(command)}` says: {done.stderr.strip()}")
