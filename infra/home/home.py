"""The home folder of one platform: its files, secrets and state."""

import fcntl
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO

from components.core.files import atomic_write
from infra.home.errors import PlatformError

SOCKET_PATH_LIMIT = 80
"""Maximum bytes of a Unix socket's path on every system, less what supervisord appends while it starts."""

NON_OWNER_BITS = stat.S_IRWXG | stat.S_IRWXO
"""Mode bits of all users but the owner."""


@dataclass
class State:
    """State of a platform that persists between starts, in platform.json."""

    ports: dict[str, int] = field(default_factory=dict)
    """Assigned port of each service."""
    usual: dict[str, int] = field(default_factory=dict)
    """Port that the settings requested when it was assigned."""
    bento: str | None = None
    """Tag of the served Bento; the table `variants` says which of its versions serve."""
    coming: str | None = None
    """Tag of a Bento that is about to take over."""
    on_trial: str | None = None
    """Tag of a Bento that must pass the smoke test first."""
    environment: str = ""
    """Fingerprint of the settings that the running programs were started with."""
    deployed: str = ""
    """Fingerprint of the deployments registered with Prefect."""


class Home:
    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.id = hashlib.sha256(str(self.path).encode()).hexdigest()[:12]
        self.logs = self.path / "logs"
        self.supervisor = self.path / "supervisor"
        self.config = self.supervisor / "supervisord.conf"
        self.pid_file = self.supervisor / "supervisord.pid"
        self.mlflow = self.path / "mlflow"
        self.prefect = self.path / "prefect"
        self.bentoml = self.path / "bentoml"
        self.secrets = self.path / "secrets"
        self.alerts = self.path / "alerts.json"
        self._state = self.path / "platform.json"

    def make(self) -> None:
        """Creates the folders with access for their owner only.

        Raises:
            PlatformError: The folders cannot be created, or the place holds other files or belongs to another user.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_shared_folder()
            for folder in (self.logs, self.supervisor, self.mlflow, self.prefect, self.bentoml, self.secrets):
                folder.mkdir(mode=0o700, exist_ok=True)
            self.socket.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise PlatformError(
                f"DUOTEMPO_HOME {self.path} cannot be created ({error}): name another folder"
            ) from error
        if self.socket.parent.stat().st_uid != os.getuid():
            raise PlatformError(
                f"{self.socket.parent} belongs to another user: remove it, or name another DUOTEMPO_HOME"
            )

    def restrict_access(self) -> None:
        """Restricts the home and its folders, which an earlier release left open, to their owner.

        Raises PlatformError if they belong to another user.
        """
        own_folders = [one for one in self.path.iterdir() if one.is_dir() and not one.is_symlink()]
        try:
            for folder in (self.path, *own_folders):
                if folder.stat().st_mode & NON_OWNER_BITS:
                    folder.chmod(stat.S_IRWXU)
        except PermissionError as error:
            raise PlatformError(f"{error.filename} belongs to another user: name another DUOTEMPO_HOME") from error

    def _check_shared_folder(self) -> None:
        """Raises PlatformError if others may use the folder and it holds files that no platform made."""
        is_platform_home = self._state.exists() or self.secrets.exists() or not any(self.path.iterdir())
        if self.path.stat().st_mode & NON_OWNER_BITS and not is_platform_home:
            raise PlatformError(
                f"{self.path} is open to others and holds what no platform made: name a folder of its own as "
                f"DUOTEMPO_HOME, or restrict it yourself (chmod 700 {self.path})"
            )

    @property
    def socket(self) -> Path:
        """Supervisord's Unix socket; in /tmp if the path in the home is too long."""
        default_path = self.supervisor / "supervisor.sock"
        return (
            default_path
            if len(os.fsencode(default_path)) <= SOCKET_PATH_LIMIT
            else Path(f"/tmp/duotempo-{self.id}/supervisor.sock")
        )

    @property
    def address_socket(self) -> Path:
        """Unix socket over which the address process passes the service's listening socket to Bentos."""
        return self.socket.with_name("address.sock")

    @property
    def smoke_test_socket(self) -> Path:
        """Unix socket of a Bento under smoke test, before it takes over."""
        return self.socket.with_name("trial.sock")

    def ready_file(self, pid: int) -> Path:
        """File that the Bento or webhook receiver with this process id writes once it is ready."""
        return self.supervisor / f"{pid}.ready"

    def new_ready_file(self) -> Path:
        """Ready file of this process; removes one left by an earlier process with the same id."""
        file = self.ready_file(os.getpid())
        file.unlink(missing_ok=True)
        return file

    def program_pid_file(self, program: str) -> Path:
        """File with the id of the process that runs the program."""
        return self.supervisor / f"{program}.pid"

    def clear_process_state(self, running_pids: Collection[int] = ()) -> None:
        """Clears a stopped platform's state about processes.

        Removes ready files, except those of `running_pids`, and forgets a Bento that was about to take over, unless a
        deployment is waiting for it.
        """
        for file in self.supervisor.glob("*.ready"):
            if int(file.stem) not in running_pids:
                file.unlink()
        if not self.is_locked("serve"):
            self.save(replace(self.state, coming=None, on_trial=None))

    def mask_path(self, text: str) -> str:
        """Replaces this folder's path in a text with HOME."""
        return text.replace(str(self.path), "HOME")

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def secret(self, name: str) -> str | None:
        """Returns an existing secret, or None."""
        file = self.secrets / name
        return file.read_text() if file.is_file() else None

    def ensure_secret(self, name: str) -> str:
        """Returns the secret of that name; creates it if it is missing."""
        return self.secret(name) or self.make_secret(name)

    def make_secret(self, name: str) -> str:
        """Creates a random secret, in a file that only its owner may read."""
        value = secrets.token_hex(24)
        with open(self.secrets / name, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(value)
        return value

    @property
    def state(self) -> State:
        try:
            values = json.loads(self._state.read_text())
            if served := values.pop("served", None):  # until release 0.1
                values["bento"] = served["bento_tag"]
            return State(**values)
        except FileNotFoundError:
            return State()
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise PlatformError(f"{self._state} is damaged ({error}): remove it, then `duotempo up`") from error

    def save(self, state: State) -> None:
        with atomic_write(self._state) as part:
            part.write_text(json.dumps(asdict(state), indent=2) + "\n")

    def is_locked(self, name: str) -> bool:
        """Whether a process holds the lock."""
        with (self.supervisor / f"{name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextmanager
    def locked(self, name: str) -> Iterator[IO[str]]:
        """Holds the lock `name`, exclusive among this platform's processes, for the duration of the context."""
        with (self.supervisor / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
