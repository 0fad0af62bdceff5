"""A retraining as a folder of files, so that each step can be run, inspected and repeated alone.

interests.parquet  keywords.npz  terms.json  texts.parquet  vectors.parquet
validation/STAGE/  twin/bundle/  model/bundle/  report/  results/KEY.json
"""

import hashlib
import json
import logging
import secrets
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from components.cluster.interests import build_interests_on_cluster
from components.core.checksums import checksummed, reading
from components.core.columns import Columns
from components.core.errors import DuotempoError
from components.embedding.vectors import read_vectors
from components.evaluation.ranking import with_signals
from components.evaluation.splits import Rolling, rolling
from components.fusion.inputs import make_documents
from components.histories.sequences import Documents
from components.interests.build import anchors, build_interests
from components.interests.documents import item_texts
from components.interests.keywords import extract_keywords
from components.interests.profile import Keywords
from components.settings import Settings
from components.store.snapshot import Snapshot
from components.training.fingerprint import fingerprint
from components.validation import ValidationReport, embedding_frame, validate

log = logging.getLogger(__name__)
ModelRole = Literal["twin", "model"]
MODEL_ROLES: tuple[ModelRole, ...] = ("twin", "model")
"""The evaluation twin, trained before the cut of `rolling`, and the model, trained on the whole snapshot."""


class CriticalExpectationFailed(DuotempoError):
    """A critical expectation failed; the message has the number of failing rows and the report."""


@dataclass(frozen=True)
class TrainingRun:
    """The files of one retraining on one snapshot."""

    snapshot_path: Path
    folder: Path
    settings: Settings

    @classmethod
    def open(cls, snapshot_path: Path, settings: Settings) -> "TrainingRun":
        """The run of a snapshot; creates its folder under the home if it is missing."""
        folder = (settings.home / "runs" / snapshot_path.name).absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(snapshot_path.absolute(), folder, settings)

    @property
    def texts_file(self) -> Path:
        return self.folder / "texts.parquet"

    @property
    def vectors_file(self) -> Path:
        return self.folder / "vectors.parquet"

    @property
    def interests_file(self) -> Path:
        return self.folder / "interests.parquet"

    @cached_property
    def key(self) -> str:
        """Cache key of the run's results: snapshot, settings, code, and a salt that is lost with the folder."""
        salt_file = self.folder / "own"
        if not salt_file.is_file():
            salt_file.write_text(secrets.token_hex(8))
        parts = (self.snapshot_path.name, salt_file.read_text(), fingerprint(self.settings))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    @property
    def result_file(self) -> Path:
        return self.folder / "results" / f"{self.key}.json"

    def bundle(self, role: ModelRole) -> Path:
        """The bundle's folder, always called `bundle`: MLflow stores an artifact under its folder's name."""
        return self.folder / role / "bundle"

    @cached_property
    def snapshot(self) -> Snapshot:
        return Snapshot.open(self.snapshot_path)

    @cached_property
    def items(self) -> pd.DataFrame:
        return self.snapshot.items()

    @cached_property
    def rolling(self) -> Rolling:
        """The split that the twin and the gate use; its events are the whole snapshot, sorted."""
        chosen = self.settings.evaluation
        return rolling(
            with_signals(self.snapshot.events(), self.settings.events),
            chosen.cut_quantile,
            chosen.rolling_sample,
            self.settings.fusion.seed,
        )

    def cut(self, role: ModelRole) -> pd.Timestamp:
        """The exclusive end of the model's training events."""
        if role == "twin":
            return pd.Timestamp(self.rolling.cut, unit="s", tz="UTC").round("us")
        return pd.Timestamp(self.snapshot.cut)

    def events(self, role: ModelRole) -> pd.DataFrame:
        """The training events of the model."""
        return self.rolling.train if role == "twin" else self.rolling.events

    def interests(self) -> pd.DataFrame:
        """The interests of all users as of their anchors. Raises DamagedFile."""
        with reading(self.interests_file, self.remedy):
            return pq.read_table(self.interests_file).to_pandas()

    def texts(self) -> list[str]:
        """The texts to embed. Raises DamagedFile."""
        with reading(self.texts_file, self.remedy):
            return list(pq.read_table(self.texts_file)[Columns.TEXT].to_pylist())

    def keywords(self) -> Keywords:
        """The items' keywords. Raises DamagedFile."""
        matrix, terms = self.folder / "keywords.npz", self.folder / "terms.json"
        with reading(matrix, self.remedy):
            weights = sparse.load_npz(matrix).tocsr()
        with reading(terms, self.remedy):
            return Keywords(weights, json.loads(terms.read_text(encoding="utf-8")))

    @property
    def remedy(self) -> str:
        """How to recreate damaged files, for error messages."""
        return f"remove the folder {self.folder}, and run `duotempo retrain`"

    def documents(self, role: ModelRole) -> Documents:
        """The document vectors as of the anchors up to the model's cut."""
        interests = self.interests()
        up_to_cut = interests[interests[Columns.AS_OF] <= self.cut(role)]
        return make_documents(up_to_cut, lambda texts: read_vectors(self.vectors_file, texts))


def extract_interests(run: TrainingRun) -> Path:
    """Writes the interests of all users as of their anchors, the items' keywords, and the texts to embed.

    Returns:
        The file of the texts.
    """
    settings = run.settings.interests
    texts = item_texts(run.items)
    keywords = extract_keywords(texts, settings.item_keywords)
    moments = pd.concat([anchors(run.events(role), run.cut(role), settings.anchors) for role in MODEL_ROLES])
    moments = moments.drop_duplicates().sort_values([Columns.USER, Columns.AS_OF], ignore_index=True)
    address = run.settings.ray_address
    build = partial(build_interests_on_cluster, address=address) if address else build_interests
    interests = build(run.rolling.events, run.items, moments, keywords, settings, run.settings.events)
    with checksummed(run.interests_file):
        interests.to_parquet(run.interests_file, index=False)
    with checksummed(matrix := run.folder / "keywords.npz"):
        sparse.save_npz(matrix, keywords.matrix)
    with checksummed(terms := run.folder / "terms.json"):
        terms.write_text(json.dumps(keywords.terms, ensure_ascii=False), encoding="utf-8")
    documents = interests[[Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT]].to_numpy().ravel().tolist()
    distinct = [text for text in dict.fromkeys([*texts, *documents]) if text]
    with checksummed(run.texts_file):
        pq.write_table(pa.table({Columns.TEXT: pa.array(distinct, pa.string())}), run.texts_file)
    return run.texts_file


def validate_snapshot(run: TrainingRun) -> ValidationReport:
    """Validates events, items and feedback. Raises CriticalExpectationFailed."""
    manifest = run.snapshot.manifest
    frames = {"events": run.snapshot.events(), "items": run.items}
    return _validated(run, "snapshot", frames, previous_rows=manifest["previous_rows"])


def validate_features(run: TrainingRun) -> ValidationReport:
    """Validates interests and embeddings. Raises CriticalExpectationFailed."""
    texts = run.texts()
    frames = {
        "interests": run.interests(),
        "embeddings": embedding_frame(texts, read_vectors(run.vectors_file, texts)),
    }
    references = {
        Columns.USER: run.rolling.events[Columns.USER].unique(),
        Columns.ITEM: run.items[Columns.ITEM].to_numpy(),
    }
    return _validated(run, "features", frames, references=references)


def _validated(run: TrainingRun, stage: str, frames: dict[str, pd.DataFrame], **options: Any) -> ValidationReport:
    folder = run.folder / "validation" / stage
    report = validate(frames, folder, cut=run.snapshot.cut, settings=run.settings.validation, **options)
    if not report.success:
        raise CriticalExpectationFailed(
            f"validation of the {stage} failed, nothing was trained: "
            + "; ".join(f"{failure.suite}: {failure.message}" for failure in report.critical_failures)
            + f" Details: {report.docs.as_uri()}"
            + (f" To quarantine the rows: {report.remedy}" if report.remedy else "")
        )
    return report
