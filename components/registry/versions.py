"""Reads the registered versions back, and moves the alias `champion`."""

import logging
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.bundle.bundle import CHECKSUM, MANIFEST, BundleError, check_files
from components.registry.connection import NAME, RegistryError, connect
from components.store.variants import CHAMPION

BUNDLE_TAG = "bundle_checksum"
"""The tag that tells a version's bundle from all others; versions of before 2026-12 have none."""
AT = "_at_"
"""MLflow allows no @ in a metric's name: ndcg@10 is kept as ndcg_at_10."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """A registered version. tags: gate, gate_reason, git_commit, snapshot_id, cut, twin_cut, bundle_checksum, refused
    (if it was)."""

    version: str
    run_id: str
    created_at: datetime
    aliases: tuple[str, ...]
    tags: dict[str, str]
    metrics: dict[str, float]
    url: str

    @property
    def gate_passed(self) -> bool:
        return self.tags.get("gate") == "passed"

    @property
    def gate_reason(self) -> str:
        return self.tags.get("gate_reason", "the version has no gate tag")


def version_url(tracking_uri: str, number: str) -> str:
    """The page of a version in MLflow's UI."""
    return f"{tracking_uri.rstrip('/')}/#/models/{NAME}/versions/{number}"


def versions(tracking_uri: str) -> list[Version]:
    """All registered versions, newest first."""
    with connect(tracking_uri) as client:
        import mlflow

        models = client.search_registered_models(f"name='{NAME}'")
        if not models:
            return []
        aliases: dict[str, list[str]] = {}
        for alias, number in models[0].aliases.items():
            aliases.setdefault(str(number), []).append(alias)
        runs = {
            run.info.run_id: run.data.metrics
            for run in mlflow.search_runs(experiment_names=[NAME], output_format="list")
        }
        found = [
            Version(
                version=str(entry.version),
                run_id=str(entry.run_id),
                created_at=datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
                aliases=tuple(sorted(aliases.get(str(entry.version), []))),
                tags=dict(entry.tags),
                metrics={name.replace(AT, "@"): value for name, value in runs.get(str(entry.run_id), {}).items()},
                url=version_url(tracking_uri, entry.version),
            )
            for entry in client.search_model_versions(f"name='{NAME}'")
        ]
    return sorted(found, key=lambda entry: -int(entry.version))


def version(tracking_uri: str, number: str) -> Version:
    """One version. Raises RegistryError naming the known ones when it is none of them."""
    known = versions(tracking_uri)
    for entry in known:
        if entry.version == str(number):
            return entry
    names = ", ".join(entry.version for entry in known) or "none: register one with `duotempo retrain`"
    raise RegistryError(f"{NAME} has no version {number!r} in MLflow at {tracking_uri}; known versions: {names}")


def champion(tracking_uri: str) -> Version | None:
    """The version that bears the alias `champion`."""
    return bearer(tracking_uri, CHAMPION)


def bearer(tracking_uri: str, alias: str) -> Version | None:
    """The version that bears an alias."""
    return next((entry for entry in versions(tracking_uri) if alias in entry.aliases), None)


def champion_number(tracking_uri: str) -> str | None:
    """The number of the version that bears the alias `champion`: one question, for who asks often."""
    with connect(tracking_uri) as client:
        models = client.search_registered_models(f"name='{NAME}'")
        number = models[0].aliases.get(CHAMPION) if models else None
        return None if number is None else str(number)


def set_champion(tracking_uri: str, number: str) -> Version:
    """Gives the alias `champion` to a version; an earlier refusal of it is forgotten."""
    target = version(tracking_uri, number)
    forget_refusal(tracking_uri, target)
    with connect(tracking_uri) as client:
        client.set_registered_model_alias(NAME, CHAMPION, target.version)
    return target


def forget_refusal(tracking_uri: str, refused: Version) -> None:
    """Takes the tag of an earlier refusal away, if there is one: somebody wants the version again."""
    if "refused" in refused.tags:
        with connect(tracking_uri) as client:
            client.delete_model_version_tag(NAME, refused.version, "refused")


def clear_champion(tracking_uri: str) -> None:
    """Takes the alias `champion` away, so that no version bears it."""
    with connect(tracking_uri) as client:
        client.delete_registered_model_alias(NAME, CHAMPION)


def tag_refused(tracking_uri: str, number: str, reason: str) -> None:
    """Marks a version as refused by a deployment, with the reason."""
    with connect(tracking_uri) as client:
        client.set_model_version_tag(NAME, number, "refused", reason)


def download_bundle(tracking_uri: str, number: str, to: Path) -> Path:
    """Puts the bundle of a version into the folder `to`; a version never changes, so one that is there and whole is
    kept. Raises BundleError when MLflow's own copy is damaged, or another version's."""
    entry = version(tracking_uri, number)
    artifact = f"models:/{NAME}/{entry.version}/artifacts/bundle"
    return _download(tracking_uri, artifact, to, entry.tags.get(BUNDLE_TAG))


def download_twin(tracking_uri: str, number: str, to: Path) -> Path:
    """Puts the bundle of a version's evaluation twin into the folder `to`, as `download_bundle` does."""
    entry = version(tracking_uri, number)
    return _download(tracking_uri, f"runs:/{entry.run_id}/twin", to)


def _download(tracking_uri: str, artifact: str, to: Path, known: str | None = None) -> Path:
    if (to / MANIFEST).is_file():
        try:
            _check(to, known)
        except BundleError as error:
            log.warning("fetched again: %s", error)
            shutil.rmtree(to)
        else:
            return to
    to.parent.mkdir(parents=True, exist_ok=True)
    with connect(tracking_uri), tempfile.TemporaryDirectory(dir=to.parent, prefix=".download-") as scratch:
        import mlflow

        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=artifact, dst_path=scratch))
        if not (folder / MANIFEST).is_file():
            raise RegistryError(f"{artifact} in MLflow at {tracking_uri} holds no bundle: register the version again")
        try:
            _check(folder, known)
        except BundleError as error:
            raise BundleError(f"{artifact} in MLflow at {tracking_uri} is damaged: retrain ({error})") from error
        folder.rename(to)
    return to


def _check(folder: Path, known: str | None) -> None:
    """Raises BundleError where a file is not what was written, or all of them are of another bundle than the known."""
    found = check_files(folder).get(CHECKSUM)
    if known and found and found != known:
        raise BundleError(f"{folder} holds the bundle of another version")
