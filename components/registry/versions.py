"""Reads registered versions, downloads their bundles, and moves the alias `champion`."""

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
"""The tag with the checksum of a version's bundle; versions from before 2026-12 have none."""
AT = "_at_"
"""Replaces @, which MLflow does not allow in metric names: ndcg@10 is logged as ndcg_at_10."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        tags: gate, gate_reason, git_commit, snapshot_id, cut, twin_cut, bundle_checksum, and refused if it was.
        url: Its page in MLflow's UI.
    """

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
    """The URL of a version in MLflow's UI."""
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
        result = [
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
    return sorted(result, key=lambda entry: -int(entry.version))


def version(tracking_uri: str, number: str) -> Version:
    """Reads one version. Raises RegistryError, listing the versions, when it does not exist."""
    registered = versions(tracking_uri)
    for entry in registered:
        if entry.version == str(number):
            return entry
    names = ", ".join(entry.version for entry in registered) or "none: register one with `duotempo retrain`"
    raise RegistryError(f"{NAME} has no version {number!r} in MLflow at {tracking_uri}; known versions: {names}")


def champion(tracking_uri: str) -> Version | None:
    """The version with the alias `champion`, or None."""
    return version_with_alias(tracking_uri, CHAMPION)


def version_with_alias(tracking_uri: str, alias: str) -> Version | None:
    """The version with an alias, or None."""
    return next((entry for entry in versions(tracking_uri) if alias in entry.aliases), None)


def champion_number(tracking_uri: str) -> str | None:
    """The number of the version with the alias `champion`, in a single request, for frequent polling."""
    with connect(tracking_uri) as client:
        models = client.search_registered_models(f"name='{NAME}'")
        number = models[0].aliases.get(CHAMPION) if models else None
        return None if number is None else str(number)


def set_champion(tracking_uri: str, number: str) -> Version:
    """Sets the alias `champion` on a version and clears an earlier refusal of it."""
    target = version(tracking_uri, number)
    clear_refusal(tracking_uri, target)
    with connect(tracking_uri) as client:
        client.set_registered_model_alias(NAME, CHAMPION, target.version)
    return target


def clear_refusal(tracking_uri: str, refused: Version) -> None:
    """Removes the tag of an earlier refusal, so that the version can be promoted again."""
    if "refused" in refused.tags:
        with connect(tracking_uri) as client:
            client.delete_model_version_tag(NAME, refused.version, "refused")


def clear_champion(tracking_uri: str) -> None:
    """Removes the alias `champion`."""
    with connect(tracking_uri) as client:
        client.delete_registered_model_alias(NAME, CHAMPION)


def tag_refused(tracking_uri: str, number: str, reason: str) -> None:
    """Tags a version as refused by a deployment, with the reason."""
    with connect(tracking_uri) as client:
        client.set_model_version_tag(NAME, number, "refused", reason)


def download_bundle(tracking_uri: str, number: str, to: Path) -> Path:
    """Downloads the bundle of a version into the folder `to`, unless it is there and intact.

    Raises:
        BundleError: MLflow's copy is damaged or belongs to another version.
        RegistryError: The version or its bundle does not exist.
    """
    entry = version(tracking_uri, number)
    artifact = f"models:/{NAME}/{entry.version}/artifacts/bundle"
    return _download(tracking_uri, artifact, to, entry.tags.get(BUNDLE_TAG))


def download_twin(tracking_uri: str, number: str, to: Path) -> Path:
    """Downloads the bundle of a version's evaluation twin into the folder `to`, like `download_bundle`."""
    entry = version(tracking_uri, number)
    return _download(tracking_uri, f"runs:/{entry.run_id}/twin", to)


def _download(tracking_uri: str, artifact: str, to: Path, expected: str | None = None) -> Path:
    if (to / MANIFEST).is_file():
        try:
            _check(to, expected)
        except BundleError as error:
            log.warning("bundle downloaded again: %s", error)
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
            _check(folder, expected)
        except BundleError as error:
            raise BundleError(f"{artifact} in MLflow at {tracking_uri} is damaged: retrain ({error})") from error
        folder.rename(to)
    return to


def _check(folder: Path, expected: str | None) -> None:
    """Raises BundleError when a file is damaged, or when the bundle's checksum differs from the expected one."""
    checksum = check_files(folder).get(CHECKSUM)
    if expected and checksum and checksum != expected:
        raise BundleError(f"{folder} holds the bundle of another version")
