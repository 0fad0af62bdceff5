"""The file that a killed training resumes from."""

import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from components.core.errors import DuotempoError
from components.core.files import replacing

log = logging.getLogger(__name__)


class CheckpointError(DuotempoError):
    """A checkpoint cannot be written; the message names the file and says how to fix it."""


def save_checkpoint(file: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Writes `state` beside `file` and renames it, so that a kill never leaves half of one. Raises CheckpointError."""
    try:
        with replacing(file) as part:
            torch.save({"fingerprint": fingerprint, **state}, part)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint {file} cannot be written ({error}): free some space, then run again"
        ) from error


def load_checkpoint(file: Path, fingerprint: str) -> dict[str, Any] | None:
    """The checkpoint, or None when there is none, it is damaged, or it belongs to other data or settings."""
    if not file.is_file():
        return None
    try:
        saved: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        log.warning("%s is damaged (%s): starting anew", file, error)
        return None
    if saved["fingerprint"] != fingerprint:
        log.info("%s belongs to another run: starting anew", file)
        return None
    return saved
