"""What lets the system start the platform, and bring it back when supervisor and sentinel are killed at once: a unit of
systemd's for this user, or an agent of launchd's. Both run `up`, which takes over what outlived its supervisor."""

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

INHERITED = ("DUOTEMPO_", "HF_", "PREFECT_", "MLFLOW_", "OTEL_")
"""Beginnings of the variables that the platform is started with, now and by the unit."""
AGAIN_SECONDS = 60
"""Between two looks of launchd's; systemd sees the end itself."""


@dataclass(frozen=True)
class Unit:
    """A file, its text, and the commands that make the system heed and forget it."""

    file: Path
    text: str
    load: list[list[str]]
    unload: list[list[str]]


def unit(platform: Platform) -> Unit:
    """That of the platform on this system. Raises PlatformError where there is neither systemd nor launchd."""
    name = f"duotempo-{platform.home.id}"
    if sys.platform == "darwin":
        domain = f"gui/{os.getuid()}"
        file = Path.home() / "Library" / "LaunchAgents" / f"{name}.plist"
        load = [["launchctl", "bootstrap", domain, str(file)]]
        return Unit(file, _agent(platform, name), load, [["launchctl", "bootout", f"{domain}/{name}"]])
    if sys.platform != "linux":
        raise PlatformError("this system has neither systemd nor launchd: let what it has run `duotempo up`")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    systemctl = ["systemctl", "--user"]
    return Unit(
        config / "systemd" / "user" / f"{name}.service",
        _service(platform),
        [[*systemctl, "daemon-reload"], [*systemctl, "enable", "--now", name]],
        [[*systemctl, "disable", "--now", name]],
    )


def install(platform: Platform) -> Path:
    """Writes the unit and has the system start it: its file. Raises PlatformError, also when the platform is up."""
    if platform.runs:
        raise PlatformError("the platform is up, and the system must start it to see it end: `duotempo down` first")
    wanted = unit(platform)
    platform.home.make()
    write_script(platform, os.environ)
    wanted.file.parent.mkdir(parents=True, exist_ok=True)
    wanted.file.write_text(wanted.text)
    for command in wanted.load:
        _run(command, f"{wanted.file} is written, but nothing heeds it")
    return wanted.file


def remove(platform: Platform) -> Path:
    """Stops the platform and takes the unit away: its file. Raises PlatformError."""
    wanted = unit(platform)
    if not wanted.file.exists():
        raise PlatformError(f"there is no {wanted.file}: `duotempo service install` makes it")
    for command in wanted.unload:
        _run(command, f"{wanted.file} is still there")
    wanted.file.unlink()
    script(platform).unlink(missing_ok=True)
    return wanted.file


def script(platform: Platform) -> Path:
    """What the unit runs with `up` or `down`: among the secrets, as variables may hold passwords."""
    return platform.home.secrets / "service.sh"


def write_script(platform: Platform, variables: Mapping[str, str]) -> None:
    """The command `duotempo` in this folder, with these variables and this home."""
    kept = {name: value for name, value in variables.items() if name.startswith(INHERITED)}
    kept["DUOTEMPO_HOME"] = str(platform.home.path)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(kept.items())]
    command = f'exec {shlex.quote(sys.executable)} -m cli.main "$@"'
    text = "\n".join([*lines, f"cd {shlex.quote(str(Path.cwd()))} || exit", command, ""])
    part = script(platform).with_suffix(".part")
    with open(part, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(text)
    part.replace(script(platform))


def _service(platform: Platform) -> str:
    """`KillMode=process`: what outlives the supervisor is taken over, not killed."""
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
            "TimeoutStartSec=infinity",  # each wait of `up` has its own end
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
    )


def _quoted(path: Path) -> str:
    """As systemd reads an argument."""
    text = str(path)
    for mark, plain in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        text = text.replace(mark, plain)
    return f'"{text}"'


def _agent(platform: Platform, label: str) -> str:
    """launchd runs `up` every minute as long as supervisord's pid file is there: `down` removes it, a kill does not."""
    return plistlib.dumps(
        {
            "Label": label,
            "ProgramArguments": ["/bin/sh", str(script(platform)), "up"],
            "RunAtLoad": True,
            "KeepAlive": {"PathState": {str(platform.home.pid_file): True}},
            "ThrottleInterval": AGAIN_SECONDS,
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
