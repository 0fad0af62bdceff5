"""`duotempo evaluate`: the product's default trained and ranked on a dataset folder, with no server."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from components.columns import EVENTS, Columns
from components.datasets.sources import ITEM_TEXT, Dataset, read_folder
from components.embedding.embed import embed
from components.evaluation.baselines import Popularity, RecentPopularity
from components.evaluation.errors import EvaluationError
from components.evaluation.metrics import user_share
from components.evaluation.peers import PEERS, interaction_matrix
from components.evaluation.ranking import (
    rank_bundle,
    rank_peer,
    rank_popularity,
    target_rows,
    user_states,
    with_signals,
)
from components.evaluation.results import ModelResult, summarise
from components.evaluation.splits import Rolling, Split, rolling, split
from components.fusion.fit import Catalogue, fit
from components.fusion.inputs import VectorsOf, make_documents
from components.interests.anchors import anchors
from components.interests.build import build_interests
from components.interests.keywords import Keywords, extract_keywords
from components.interests.texts import item_texts
from components.ranking.scorer import Scorer
from components.settings import Settings
from components.store.clean import clean_items
from components.store.normalize import BEYOND_SECONDS, clean_id, epoch_seconds, moments

SPLITS = ("loo", "temporal", "rolling")


def evaluate_folder(
    folder: Path, kind: str, settings: Settings, *, peers: bool = False, show_progress: bool = False
) -> dict[str, Any]:
    """Figures of `duotempo`, `pop` and `pop7` (with `peers` also item-kNN, EASE and ALS) on a dataset folder.

    Returns {"dataset", "split", "test_users", "models": {name: figures}}, see `summarise`. Raises DatasetError or
    EvaluationError when the folder cannot be judged by this split.
    """
    if kind not in SPLITS:
        raise EvaluationError(f"--split {kind!r} is none of {', '.join(SPLITS)}")
    dataset = read_folder(folder)
    return OfflineEvaluation(dataset, kind, settings, show_progress).figures(peers)


class OfflineEvaluation:
    """One dataset under one split."""

    def __init__(self, dataset: Dataset, kind: str, settings: Settings, show_progress: bool) -> None:
        self.dataset = dataset
        self.kind = kind
        self.settings = settings
        self.show_progress = show_progress
        events = as_events(dataset.events)
        self.split: Split | Rolling
        if kind == "rolling":
            chosen = settings.evaluation
            self.split = rolling(
                with_signals(events, settings.events), chosen.cut_quantile, chosen.rolling_sample, settings.fusion.seed
            )
        else:
            self.split = split(events, "loo" if kind == "loo" else "temporal")
        self.cut = pd.Timestamp(self.split.cut, unit="s", tz="UTC").round("us")
        self.items = catalogue_items(dataset, events)
        self.rows = {item: row for row, item in enumerate(self.items[Columns.ITEM])}
        self.targets = target_rows(self.split, self.rows)
        self.users = self.split.targets[Columns.USER].to_numpy(dtype=object)

    def figures(self, peers: bool) -> dict[str, Any]:
        """Trains and ranks all models."""
        texts = item_texts(self.items, self.dataset.text)
        ours, vectors = self.duotempo(texts)
        results = [ours, *self.baselines(), *(self.peers() if peers else ())]
        share = user_share(self.matrix())
        measured = vectors if any(texts) else None
        models = summarise(results, self.users, share, measured, self.settings.evaluation, self.settings.fusion.seed)
        return {"dataset": self.dataset.name, "split": self.kind, "test_users": len(self.targets), "models": models}

    def duotempo(self, texts: list[str]) -> tuple[ModelResult, np.ndarray]:
        """The product's default, and the items' text vectors."""
        began = time.monotonic()
        keywords = extract_keywords(texts, self.settings.interests.item_keywords)
        interests = self.interests(keywords)
        vectors_of, encoder = self.encode(texts, interests)
        catalogue = Catalogue(self.items, vectors_of(texts), keywords.matrix, keywords.terms, encoder)
        documents = make_documents(interests, vectors_of)
        fitted = fit(
            self.split.train,
            catalogue,
            documents,
            self.settings,
            cut=self.cut.to_pydatetime(),
            held_out="last" if self.kind == "loo" else "recent",
            show_progress=self.show_progress,
        )
        fit_s, began = time.monotonic() - began, time.monotonic()
        states = user_states(self.split, self.rows, documents, self.settings.events)
        lists, _ = rank_bundle(Scorer(fitted.bundle), states, self.settings.evaluation.k)
        rank_s = time.monotonic() - began
        return ModelResult.of("duotempo", lists, self.targets, fit_s=fit_s, rank_s=rank_s), catalogue.texts

    def interests(self, keywords: Keywords) -> pd.DataFrame:
        """Interests as of the anchors in the training side; the last anchor of a user is just after their last event.

        Without documents in the model there are none to read.
        """
        train = self.split.train
        moments = anchors(train, self.cut, self.settings.interests.anchors)
        last = train.groupby(Columns.USER)[Columns.OCCURRED_AT].max() + pd.Timedelta(microseconds=1)
        at_cut = moments[Columns.AS_OF] == self.cut
        moments.loc[at_cut, Columns.AS_OF] = moments.loc[at_cut, Columns.USER].map(last)
        if not self.settings.fusion.documents:
            moments = moments.iloc[:0]
        return build_interests(train, self.items, moments, keywords, self.settings.interests, self.settings.events)

    def encode(self, texts: list[str], interests: pd.DataFrame) -> tuple[VectorsOf, str]:
        """A function from texts to vectors, and the encoder's name."""
        documents = interests[[Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT]].to_numpy().ravel().tolist()
        distinct = list(dict.fromkeys([*texts, *documents]))
        embedded = embed(
            distinct, self.settings.embedding, self.settings.cache / "embeddings", progress=self.show_progress
        )
        row = {text: number for number, text in enumerate(distinct)}
        return (lambda wanted: embedded.vectors[[row[text] for text in wanted]]), embedded.encoder

    def baselines(self) -> Iterator[ModelResult]:
        """Popularity of all time and of the last 7 days; in `rolling` as of each target."""
        for name, model in {"pop": Popularity(), "pop7": RecentPopularity()}.items():
            began = time.monotonic()
            lists = rank_popularity(model, self.split, self.rows, self.settings.evaluation.k)
            yield ModelResult.of(name, lists, self.targets, fit_s=0.0, rank_s=time.monotonic() - began)

    def peers(self) -> Iterator[ModelResult]:
        """Item-kNN, EASE and ALS. Raises EvaluationError in `rolling`, which they do not know."""
        if isinstance(self.split, Rolling):
            raise EvaluationError("the peers are ranked on loo and temporal; leave out --peers for rolling")
        train = self.split.train
        items = train[Columns.ITEM].map(self.rows).to_numpy(np.int64)
        for name, kind in PEERS.items():
            began = time.monotonic()
            peer = kind().fit(train[Columns.USER].to_numpy(dtype=object), items, len(self.rows))
            fit_s, began = time.monotonic() - began, time.monotonic()
            lists = rank_peer(peer, self.split, self.rows, self.settings.evaluation.k)
            yield ModelResult.of(name, lists, self.targets, fit_s=fit_s, rank_s=time.monotonic() - began)

    def matrix(self) -> sparse.csr_matrix:
        """Binary training interactions, users by items."""
        train = self.split.train
        users, names = pd.factorize(train[Columns.USER])
        rows = train[Columns.ITEM].map(self.rows).to_numpy(np.int64)
        return interaction_matrix(users, rows, (len(names), len(self.rows)))


def as_events(raw: pd.DataFrame) -> pd.DataFrame:
    """The rows of a dataset folder as an events frame, none cleaned, none dropped; ids as strings.

    Raises EvaluationError naming a time or an event that cannot be read.
    """
    seconds = epoch_seconds(raw[Columns.TIMESTAMP])
    refuse(raw[Columns.TIMESTAMP], ~np.isfinite(seconds), "neither epoch seconds nor an ISO 8601 time")
    refuse(raw[Columns.TIMESTAMP], seconds >= BEYOND_SECONDS, "beyond all seconds: divide milliseconds by 1,000")
    refuse(raw[Columns.EVENT], ~raw[Columns.EVENT].isin(EVENTS), f"none of {', '.join(EVENTS)}")
    events = raw.assign(
        **{name: read_ids(raw[name]) for name in (Columns.USER, Columns.ITEM)},
        **{Columns.OCCURRED_AT: moments(seconds).set_axis(raw.index)},
    ).assign(**{Columns.TIMESTAMP: seconds})
    for name, absent in ((Columns.VALUE, np.nan), (Columns.TEXT, None)):
        if name not in events:
            events[name] = absent
    return events


def read_ids(raw: pd.Series) -> pd.Series:
    """Ids as the catalogue's are read: strings without blanks around them. Raises EvaluationError for a missing one."""
    known = {value: clean_id(value) for value in raw.unique()}
    ids = raw.map(known).astype(object)
    refuse(raw, ids.isna(), "no id")
    return ids


def refuse(values: pd.Series, wrong: np.ndarray | pd.Series, problem: str) -> None:
    """Raises EvaluationError when one of the values is `wrong` (bool, one a value), naming the first."""
    if count := int(np.count_nonzero(wrong)):
        raise EvaluationError(
            f"{count} rows have a {values.name} such as {values[wrong].iloc[0]!r}, which is {problem}"
        )


def catalogue_items(dataset: Dataset, events: pd.DataFrame) -> pd.DataFrame:
    """The items frame, of the columns that may be read, with a bare row for each item that only the events name."""
    unreadable = set(ITEM_TEXT) - set(dataset.text)
    described = dataset.items.drop(columns=list(unreadable), errors="ignore")
    described = described.assign(**{Columns.ITEM: read_ids(described[Columns.ITEM])})
    missing = events.loc[~events[Columns.ITEM].isin(described[Columns.ITEM]), [Columns.ITEM]].drop_duplicates()
    return clean_items(pd.concat([described, missing], ignore_index=True), source=dataset.name).rows.reset_index(
        drop=True
    )
