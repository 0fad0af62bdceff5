"""What people read and press on MLflow's own page: how to promote, what became of a version, the button."""

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
"""The registered model into which the page's button copies a version: its newest copy counts as the alias does."""
MANAGED_TAG = "followed_by"
"""Tag of that model, so that one of the same name that somebody had before promotes nothing."""
PROCESSED_TAG = "taken"
"""Tag of a copy that was followed: its own number, as the button copies all tags."""
STATUS_TAG = "status"
OUR_PARAGRAPH = "**Duotempo:** "
"""How our paragraph of a version's description begins; what else stands there is a person's."""
HOW_TO_PROMOTE = f"""**To promote a version** do one of these:

- open it and add the alias `{CHAMPION}`;
- open it, press *Promote model*, and choose `{PRODUCTION}`;
- `duotempo promote VERSION`.

It is tested, answers some people as a canary, then everybody; a version that the gate failed is refused. The tag \
`{STATUS_TAG}` and the description of the version say what became of it, `duotempo rollback` goes back."""
DESCRIPTIONS = {
    NAME: f"The versions that retrainings register.\n\n{HOW_TO_PROMOTE}\n\nDo not rename this model or delete the "
    "version that serves: `duotempo status` would report it as a problem.",
    PRODUCTION: f"Copy a version of `{NAME}` here to promote it: the newest copy counts as the alias `{CHAMPION}` "
    f"does. The versions themselves stay in `{NAME}`.\n\n{HOW_TO_PROMOTE}",
}


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
        if line.state in PROBLEM_STATES:
            continue
        if line.state == SERVING:
            if serving not in (None, line.version):
                back = last.get(line.version) not in (None, *OPEN_STATES)
                found[str(serving)] = _replaced_status(line, rolled_back=back)
            serving = line.version
            found[line.version] = Standing(f"serving since {_time(line.at)}", _requested_by(line))
        elif line.version != serving:
            found[line.version] = _pending_status(line, deploy)
        last[line.version] = line.state
    return found


def _replaced_status(line: Promotion, *, rolled_back: bool) -> Standing:
    """Of the version that served before the one of the line."""
    if rolled_back:
        return Standing(f"rolled back {_time(line.at)}", f"version {line.version} serves again, {_requested_by(line)}")
    return Standing(f"served until {_time(line.at)}", f"version {line.version} took over")


def _pending_status(line: Promotion, deploy: DeploySettings) -> Standing:
    if line.state == CANARY:
        until = line.at + timedelta(seconds=deploy.canary_seconds)
        return Standing(f"canary for {deploy.canary_share:.0%} of the users until {_time(until)}", _requested_by(line))
    if line.state == REQUESTED:
        return Standing(f"requested {_time(line.at)}", _requested_by(line))
    return Standing(f"{line.state} {_time(line.at)}", escaped(line.reason))


def _requested_by(line: Promotion) -> str:
    return escaped(f"asked for by {line.actor}" + (f": {line.reason}" if line.reason else ""))


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def introduce(tracking_uri: str) -> None:
    """Makes the model of the button, and describes both models where nobody has done so. Raises RegistryError."""
    with connect(tracking_uri) as client:
        models = _models(client)
        if PRODUCTION not in models:
            client.create_registered_model(PRODUCTION, {MANAGED_TAG: "duotempo"}, DESCRIPTIONS[PRODUCTION])
        if NAME in models and not models[NAME].description:
            client.update_registered_model(NAME, DESCRIPTIONS[NAME])


def follow_copy(tracking_uri: str) -> str:
    """Gives the alias `champion` to the version of which the newest copy is one that nobody has followed yet.

    Returns what was done, empty when there is no such copy. Raises RegistryError.
    """
    with connect(tracking_uri) as client:
        model = _models(client).get(PRODUCTION)
        if model is None or MANAGED_TAG not in model.tags:
            return ""
        newest = max(_versions(client, PRODUCTION), key=lambda entry: int(entry.version), default=None)
        if newest is None or newest.tags.get(PROCESSED_TAG) == str(newest.version):
            return ""
        number = _source(newest)
        known = {str(entry.version) for entry in _versions(client, NAME)}
        if number not in known:
            _write_status(client, newest, Standing("ignored", f"this is no copy of a version of `{NAME}`"))
        else:
            set_champion(tracking_uri, number)
        client.set_model_version_tag(PRODUCTION, newest.version, PROCESSED_TAG, str(newest.version))
    return _copy_message(newest, number) if number in known else ""


def copied(tracking_uri: str, version: str, since: datetime) -> str:
    """What `follow_copy` has said of a version that was copied since then; empty when it was not.

    Raises RegistryError.
    """
    with connect(tracking_uri) as client:
        copies = [entry for entry in _versions(client, PRODUCTION) if _source(entry) == version]
    newest = max(copies, key=lambda entry: int(entry.version), default=None)
    return _copy_message(newest, version) if newest and newest.creation_timestamp > 1000 * since.timestamp() else ""


def show_standings(tracking_uri: str, standings: Mapping[str, Standing]) -> None:
    """Writes what became of the versions onto their pages and those of their copies, where it says something else.

    Raises RegistryError.
    """
    with connect(tracking_uri) as client:
        for entry in [*_versions(client, NAME), *_versions(client, PRODUCTION)]:
            number = str(entry.version) if entry.name == NAME else _source(entry)
            if standing := standings.get(number):
                _write_status(client, entry, standing)


def _write_status(client: "MlflowClient", entry: "ModelVersion", standing: Standing) -> None:
    if entry.tags.get(STATUS_TAG) != standing.status:
        client.set_model_version_tag(entry.name, entry.version, STATUS_TAG, standing.status)
    ours = f"{OUR_PARAGRAPH}{standing.status}{f': {standing.why}' if standing.why else ''}"
    persons = [part for part in (entry.description or "").split("\n\n") if part and not part.startswith(OUR_PARAGRAPH)]
    if (text := "\n\n".join([ours, *persons])) != entry.description:
        client.update_model_version(entry.name, entry.version, text)


def _copy_message(copy: "ModelVersion", number: str) -> str:
    return f"copy {copy.version} of version {number} was made in {PRODUCTION}"


def _source(copy: "ModelVersion") -> str:
    """The number of the version that the button copied, empty when it is none of ours."""
    found = re.fullmatch(rf"models:/{NAME}/(\d+)", str(copy.source))
    return found[1] if found else ""


def _models(client: "MlflowClient") -> dict[str, "RegisteredModel"]:
    found = (client.search_registered_models(f"name='{name}'") for name in (NAME, PRODUCTION))
    return {models[0].name: models[0] for models in found if models}


def _versions(client: "MlflowClient", name: str) -> list["ModelVersion"]:
    return list(client.search_model_versions(f"name='{name}'"))
