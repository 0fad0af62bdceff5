"""The folder of one platform: where its files lie, its secrets and its state."""

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

from components.core.files import replacing
from infra.home.errors import PlatformError

SOCKET_PATH_LIMIT = 80
"""Bytes of a Unix socket's path that every system takes, less what supervisord adds to it while it starts."""

OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""What a file's mode allows to anybody but its owner."""


@dataclass
class State:
    """What a platform remembers from one start to the next."""

    ports: dict[str, int] = field(default_factory=dict)
    """The port that each service was given."""
    usual: dict[str, int] = field(default_factory=dict)
    """The port that the settings asked for when it was given."""
    served: dict[str, str] | None = None
    """`bento_tag` and `model_version` of what is served."""
    coming: str | None = None
    """The tag of a Bento that is about to take over..."""
    on_trial: str | None = None
    """...and of one that is to be asked first."""
    environment: str = ""
    """Fingerprint of the settings that the running programs were started with."""
    deployed: str = ""
    """Fingerprint of the deployments that Prefect knows."""


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
        """Makes the folders, which nobody but their owner may enter. Raises PlatformError when the place does not allow
        it, or holds what others made."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._refuse_others()
            for folder in (self.logs, self.supervisor, self.mlflow, self.prefect, self.bentoml, self.secrets):
                folder.mkdir(mode=0o700, exist_ok=True)
            self.socket.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise PlatformError(f"DUOTEMPO_HOME {self.path} cannot be made ({error}): name another place") from error
        if self.socket.parent.stat().st_uid != os.getuid():
            raise PlatformError(
                f"{self.socket.parent} belongs to another user: remove it, or name another DUOTEMPO_HOME"
            )

    def close(self) -> None:
        """Shuts the home, and the folders in it that an earlier release left open, to everybody but their owner.

        Raises PlatformError when they are somebody else's.
        """
        own = [one for one in self.path.iterdir() if one.is_dir() and not one.is_symlink()]
        try:
            for folder in (self.path, *own):
                if folder.stat().st_mode & OTHERS:
                    folder.chmod(stat.S_IRWXU)
        except PermissionError as error:
            raise PlatformError(f"{error.filename} belongs to another user: name another DUOTEMPO_HOME") from error

    def _refuse_others(self) -> None:
        """A folder in which other things lie is not shut to those who use them."""
        ours = self._state.exists() or self.secrets.exists() or not any(self.path.iterdir())
        if self.path.stat().st_mode & OTHERS and not ours:
            raise PlatformError(
                f"{self.path} is open to others and holds what no platform made: name a folder of its own as "
                f"DUOTEMPO_HOME, or shut it yourself (chmod 700 {self.path})"
            )

    @property
    def socket(self) -> Path:
        """Supervisord's Unix socket; in /tmp when the path here is too long for one."""
        usual = self.supervisor / "supervisor.sock"
        return (
            usual if len(os.fsencode(usual)) <= SOCKET_PATH_LIMIT else Path(f"/tmp/duotempo-{self.id}/supervisor.sock")
        )

    @property
    def door(self) -> Path:
        """The Unix socket at which the keeper of the service's address hands it over."""
        return self.socket.with_name("address.sock")

    @property
    def trial(self) -> Path:
        """The Unix socket of a Bento that is on trial, before it takes over."""
        return self.socket.with_name("trial.sock")

    def ready_file(self, pid: int) -> Path:
        """What a Bento or the hook, the process of that id, writes once it does its work."""
        return self.supervisor / f"{pid}.ready"

    def own_ready_file(self) -> Path:
        """That of this process, which is not there yet."""
        file = self.ready_file(os.getpid())
        file.unlink(missing_ok=True)
        return file

    def life(self, program: str) -> Path:
        """Where the id of the process is that works as the program."""
        return self.supervisor / f"{program}.pid"

    def forget_processes(self, going_on: Collection[int] = ()) -> None:
        """What a stopped platform remembers of processes that were ready, but for those that go on, and of a Bento that
        was about to take over, unless somebody waits for it."""
        for file in self.supervisor.glob("*.ready"):
            if int(file.stem) not in going_on:
                file.unlink()
        if not self.is_locked("serve"):
            self.save(replace(self.state, coming=None, on_trial=None))

    def named(self, text: str) -> str:
        """A text for people elsewhere, in which this folder is HOME."""
        return text.replace(str(self.path), "HOME")

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def secret(self, name: str) -> str | None:
        """A secret that was made before, or None."""
        file = self.secrets / name
        return file.read_text() if file.is_file() else None

    def kept_secret(self, name: str) -> str:
        """The secret of that name, made when it is missing."""
        return self.secret(name) or self.make_secret(name)

    def make_secret(self, name: str) -> str:
        """A new random secret, in a file that only its owner reads."""
        value = secrets.token_hex(24)
        with open(self.secrets / name, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(value)
        return value

    @property
    def state(self) -> State:
        try:
            return State(**json.loads(self._state.read_text()))
        except FileNotFoundError:
            return State()
        except (ValueError, TypeError) as error:
            raise PlatformError(f"{self._state} is damaged ({error}): remove it, then `duotempo up`") from error

    def save(self, state: State) -> None:
        with replacing(self._state) as part:
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
        """Holds the lock `name` against all processes of this platform, as long as the context lasts."""
        with (self.supervisor / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
