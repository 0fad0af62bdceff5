"""Duotempo's texts and controls in MLflow's UI: how to promote, the status of versions, the promotion button."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from components.core.markdown import escaped
from components.registry.connection import NAME, connect
from components.registry.versions import set_champion
from components.settings import DeploySettings
from components.store.promotions import CANARY, OPEN_STATES, PROBLEM_STATES, REQUESTED, SERVING
from components.store.schema import Promotion
from components.store.variants import CHAMPION

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel


PRODUCTION = f"{NAME}-production"
"""The registered model into which the UI's *Promote model* button copies a version; the newest copy is promoted."""
MANAGED_TAG = "followed_by"
"""Tag of that model, so that an unrelated model of the same name is ignored."""
PROCESSED_TAG = "taken"
"""Tag of a processed copy. Its value is the copy's own number, because the button copies all tags."""
STATUS_TAG = "status"
SIGNATURE, OLD_PREFIX = " — Duotempo", "**Duotempo:** "
"""Marks of Duotempo's paragraph in a version's description, the second in earlier releases; others are users' own."""
HOW_TO_PROMOTE = f"""**To promote a version** do one of these:

- open it and add the alias `{CHAMPION}`;
- open it, press *Promote model*, and choose `{PRODUCTION}`;
- `duotempo promote VERSION`.

It is tested, serves some users as a canary, then all; a version that failed the gate is refused. The tag \
`{STATUS_TAG}` and the description of the version show its status, `duotempo rollback` restores the previous version."""
DESCRIPTIONS = {
    NAME: f"The versions that retrainings register.\n\n{HOW_TO_PROMOTE}\n\nDo not rename this model or delete the "
    "version that serves: `duotempo status` would report it as a problem.",
    PRODUCTION: f"Copy a version of `{NAME}` here to promote it: the newest copy counts as the alias `{CHAMPION}` "
    f"does. The versions themselves stay in `{NAME}`.\n\n{HOW_TO_PROMOTE}",
}


@dataclass(frozen=True)
class VersionStatus:
    """The promotion status of a version.

    Attributes:
        status: A few words, for a tag.
        why: Details in Markdown; may be empty.
    """

    status: str
    why: str = ""


def version_statuses(entries: Sequence[Promotion], deploy: DeploySettings) -> dict[str, VersionStatus]:
    """Derives the status of each version from all promotion entries, oldest first."""
    statuses: dict[str, VersionStatus] = {}
    last: dict[str, str] = {}
    serving: str | None = None
    for entry in entries:
        if entry.state in PROBLEM_STATES:
            continue
        if entry.state == SERVING:
            if serving not in (None, entry.version):
                rolled_back = last.get(entry.version) not in (None, *OPEN_STATES)
                statuses[str(serving)] = _replaced_status(entry, rolled_back=rolled_back)
            serving = entry.version
            statuses[entry.version] = VersionStatus(f"serving since {_time(entry.at)}", _requested_by(entry))
        elif entry.version != serving:
            statuses[entry.version] = _pending_status(entry, deploy)
        last[entry.version] = entry.state
    return statuses


def _replaced_status(entry: Promotion, *, rolled_back: bool) -> VersionStatus:
    """The status of the version that served before that of the entry."""
    if rolled_back:
        return VersionStatus(
            f"rolled back {_time(entry.at)}", f"version {entry.version} serves again, {_requested_by(entry)}"
        )
    return VersionStatus(f"served until {_time(entry.at)}", f"version {entry.version} took over")


def _pending_status(entry: Promotion, deploy: DeploySettings) -> VersionStatus:
    if entry.state == CANARY:
        until = entry.at + timedelta(seconds=deploy.canary_seconds)
        return VersionStatus(
            f"canary for {deploy.canary_share:.0%} of the users until {_time(until)}", _requested_by(entry)
        )
    if entry.state == REQUESTED:
        return VersionStatus(f"requested {_time(entry.at)}", _requested_by(entry))
    return VersionStatus(f"{entry.state} {_time(entry.at)}", escaped(entry.reason))


def _requested_by(entry: Promotion) -> str:
    return escaped(f"requested by {entry.actor}" + (f": {entry.reason}" if entry.reason else ""))


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def ensure_model_pages(tracking_uri: str) -> None:
    """Creates the model for the button, and describes both models unless they have a description.

    Raises RegistryError.
    """
    with connect(tracking_uri) as client:
        models = _models(client)
        if PRODUCTION not in models:
            client.create_registered_model(PRODUCTION, {MANAGED_TAG: "duotempo"}, DESCRIPTIONS[PRODUCTION])
        if NAME in models and not models[NAME].description:
            client.update_registered_model(NAME, DESCRIPTIONS[NAME])


def promote_newest_copy(tracking_uri: str) -> str:
    """Sets the alias `champion` on the version that the button copied last, unless that copy is processed already.

    Returns:
        A message about the copy; empty when there is no new one.

    Raises:
        RegistryError: MLflow cannot be used.
    """
    with connect(tracking_uri) as client:
        model = _models(client).get(PRODUCTION)
        if model is None or MANAGED_TAG not in model.tags:
            return ""
        newest = max(_versions(client, PRODUCTION), key=lambda entry: int(entry.version), default=None)
        if newest is None or newest.tags.get(PROCESSED_TAG) == str(newest.version):
            return ""
        number = _source(newest)
        numbers = {str(entry.version) for entry in _versions(client, NAME)}
        if number not in numbers:
            _write_status(client, newest, VersionStatus("ignored", f"this is not a copy of a version of `{NAME}`"))
        else:
            set_champion(tracking_uri, number)
        client.set_model_version_tag(PRODUCTION, newest.version, PROCESSED_TAG, str(newest.version))
    return _copy_message(newest, number) if number in numbers else ""


def recent_copy_message(tracking_uri: str, version: str, since: datetime) -> str:
    """The message of `promote_newest_copy` if a version was copied since a time; else empty. Raises RegistryError."""
    with connect(tracking_uri) as client:
        copies = [entry for entry in _versions(client, PRODUCTION) if _source(entry) == version]
    newest = max(copies, key=lambda entry: int(entry.version), default=None)
    return _copy_message(newest, version) if newest and newest.creation_timestamp > 1000 * since.timestamp() else ""


def publish_statuses(tracking_uri: str, version_statuses: Mapping[str, VersionStatus]) -> None:
    """Writes the statuses to the versions and their copies in MLflow, where they have changed. Raises RegistryError."""
    with connect(tracking_uri) as client:
        for entry in [*_versions(client, NAME), *_versions(client, PRODUCTION)]:
            number = str(entry.version) if entry.name == NAME else _source(entry)
            if version_status := version_statuses.get(number):
                _write_status(client, entry, version_status)


def _write_status(client: "MlflowClient", entry: "ModelVersion", version_status: VersionStatus) -> None:
    if entry.tags.get(STATUS_TAG) != version_status.status:
        client.set_model_version_tag(entry.name, entry.version, STATUS_TAG, version_status.status)
    paragraph = f"{version_status.status}{f': {version_status.why}' if version_status.why else ''}{SIGNATURE}"
    parts = (entry.description or "").split("\n\n")
    others = [part for part in parts if part and not part.endswith(SIGNATURE) and not part.startswith(OLD_PREFIX)]
    if (text := "\n\n".join([paragraph, *others])) != entry.description:
        client.update_model_version(entry.name, entry.version, text)


def _copy_message(copy: "ModelVersion", number: str) -> str:
    return f"copy {copy.version} of version {number} was made in {PRODUCTION}"


def _source(copy: "ModelVersion") -> str:
    """The number of the version that the button copied; empty for a copy of another model."""
    match = re.fullmatch(rf"models:/{NAME}/(\d+)", str(copy.source))
    return match[1] if match else ""


def _models(client: "MlflowClient") -> dict[str, "RegisteredModel"]:
    results = (client.search_registered_models(f"name='{name}'") for name in (NAME, PRODUCTION))
    return {models[0].name: models[0] for models in results if models}


def _versions(client: "MlflowClient", name: str) -> list["ModelVersion"]:
    return list(client.search_model_versions(f"name='{name}'"))
