"""One retraining as a folder of files, so that each step can be run, looked at and repeated alone.

    interests.parquet  keywords.npz  terms.json  texts.parquet  vectors.parquet
    validation/STAGE/  twin/  model/  (bundles)  report/
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse
from sqlalchemy import Engine

from components.columns import Columns
from components.embedding.vectors import read_vectors
from components.evaluation.splits import SIGNAL, Rolling, rolling
from components.fusion.fit import Catalogue, fit
from components.fusion.inputs import make_documents
from components.fusion.sequences import Documents
from components.fusion.training import Progress
from components.interests.anchors import anchors
from components.interests.build import build_interests
from components.interests.keywords import extract_keywords
from components.interests.signals import signals
from components.interests.texts import item_texts
from components.settings import Settings
from components.store.history import write_documents
from components.store.snapshot import Snapshot

Part = Literal["twin", "model"]
PARTS: tuple[Part, ...] = ("twin", "model")
"""The evaluation twin, trained before the cut of `rolling`, and the model, trained on the whole snapshot."""


@dataclass(frozen=True)
class TrainingRun:
    """The files of one retraining on one snapshot."""

    snapshot_path: Path
    folder: Path
    settings: Settings

    @classmethod
    def open(cls, snapshot_path: Path, settings: Settings) -> "TrainingRun":
        """The run of a snapshot, in a folder of its own under the home, made when it is missing."""
        folder = (settings.home / "runs" / snapshot_path.name).absolute()
        folder.mkdir(parents=True, exist_ok=True)
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

    def bundle(self, part: Part) -> Path:
        return self.folder / part

    @cached_property
    def snapshot(self) -> Snapshot:
        return Snapshot.open(self.snapshot_path)

    @cached_property
    def items(self) -> pd.DataFrame:
        return self.snapshot.items()

    @cached_property
    def rolling(self) -> Rolling:
        """The split that the twin and the gate live by; its events are the whole snapshot, sorted."""
        events = self.snapshot.events()
        chosen = self.settings.evaluation
        return rolling(
            events.assign(**{SIGNAL: signals(events, self.settings.events)}),
            chosen.cut_quantile,
            chosen.rolling_sample,
            self.settings.fusion.seed,
        )

    def cut(self, part: Part) -> pd.Timestamp:
        """Exclusive: training of the part sees only events before it."""
        if part == "twin":
            return pd.Timestamp(self.rolling.cut, unit="s", tz="UTC")
        return pd.Timestamp(self.snapshot.cut)

    def events(self, part: Part) -> pd.DataFrame:
        """The events that the part is trained on."""
        return self.rolling.train if part == "twin" else self.rolling.events

    def documents(self, part: Part) -> Documents:
        """The document vectors as of anchors up to the part's cut."""
        interests = pd.read_parquet(self.interests_file)
        known = interests[interests[Columns.AS_OF] <= self.cut(part)]
        return make_documents(known, lambda texts: read_vectors(self.vectors_file, texts))


def extract_interests(run: TrainingRun) -> Path:
    """Writes the interests of all users as of their anchors, the items' keywords, and the texts to embed: their file."""
    settings = run.settings.interests
    texts = item_texts(run.items)
    keywords = extract_keywords(texts, settings.item_keywords)
    moments = pd.concat([anchors(run.events(part), run.cut(part), settings.anchors) for part in PARTS])
    moments = moments.drop_duplicates().sort_values([Columns.USER, Columns.AS_OF], ignore_index=True)
    interests = build_interests(run.rolling.events, run.items, moments, keywords, settings, run.settings.events)
    interests.to_parquet(run.interests_file, index=False)
    sparse.save_npz(run.folder / "keywords.npz", keywords.matrix)
    (run.folder / "terms.json").write_text(json.dumps(keywords.terms, ensure_ascii=False), encoding="utf-8")
    documents = interests[[Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT]].to_numpy().ravel().tolist()
    distinct = [text for text in dict.fromkeys([*texts, *documents]) if text]
    pq.write_table(pa.table({Columns.TEXT: pa.array(distinct, pa.string())}), run.texts_file)
    return run.texts_file


def train(run: TrainingRun, part: Part, encoder: str, on_epoch: Callable[[Progress], None] | None = None) -> Path:
    """Trains a part, or goes on from its checkpoint, and writes its bundle: the bundle's folder."""
    catalogue = Catalogue(
        items=run.items,
        texts=read_vectors(run.vectors_file, item_texts(run.items)),
        keywords=sparse.load_npz(run.folder / "keywords.npz").tocsr(),
        terms=json.loads((run.folder / "terms.json").read_text(encoding="utf-8")),
        encoder=encoder,
    )
    fitted = fit(
        run.events(part),
        catalogue,
        run.documents(part),
        run.settings,
        cut=run.cut(part).to_pydatetime(),
        held_out="recent",
        checkpoint=run.folder / f"{part}.checkpoint",
        on_epoch=on_epoch,
    )
    return fitted.bundle.write(run.bundle(part))


def store_user_vectors(run: TrainingRun, encoder: str, engine: Engine) -> int:
    """Writes LLM(D_l) and LLM(D_s) of all users as of the cut into Postgres: how many."""
    documents = run.documents("model")
    latest = pd.Series(documents.as_of).groupby(documents.users).idxmax().to_numpy()
    return write_documents(
        engine,
        encoder,
        documents.users[latest].tolist(),
        pd.to_datetime(documents.as_of[latest], unit="s", utc=True).to_pydatetime().tolist(),
        documents.vectors[latest, 0],
        documents.vectors[latest, 1],
    )
