"""`duotempo evaluate`: trains and evaluates models on a dataset folder, without any service."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from components.bundle.bundle import Bundle
from components.core.columns import EVENTS, Columns
from components.core.ids import clean_id
from components.core.normalize import MAX_EPOCH_SECONDS
from components.core.timestamps import epoch_seconds, moments
from components.datasets.sources import ITEM_TEXT, Dataset, read_folder
from components.embedding.embed import embed
from components.evaluation.baselines import PEERS, Popularity, RecentPopularity, interaction_matrix
from components.evaluation.exposure import exposure, exposure_by_users, item_groups, item_slices, user_slices
from components.evaluation.metrics import user_share
from components.evaluation.ranking import (
    past_trend,
    rank_bundle,
    rank_peer,
    rank_popularity,
    target_rows,
    user_states,
    with_signals,
)
from components.evaluation.results import ModelResult, summarise, summarise_slices
from components.evaluation.splits import EvaluationError, Rolling, Split, rolling, split
from components.fusion.fit import Fitted, fit
from components.fusion.fusions import FUSIONS, UnknownFusion, make_fusion
from components.fusion.inputs import Catalogue, VectorsOf, make_documents
from components.fusion.training import Progress
from components.histories.sequences import Documents
from components.ingestion.clean import clean_items
from components.ingestion.frames import as_frame, records
from components.interests.build import anchors, build_interests
from components.interests.documents import item_texts
from components.interests.keywords import extract_keywords
from components.interests.profile import Keywords
from components.ranking.scorer import Scorer
from components.settings import Settings
from components.store.rows import ItemRow

SPLITS = ("loo", "temporal", "rolling")
PRODUCT = "duotempo"
BASELINES: dict[str, type[Popularity]] = {"pop": Popularity, "pop7": RecentPopularity}
MODELS = (PRODUCT, *FUSIONS, *BASELINES, *PEERS)
"""Names of the models that can be evaluated; custom fusions by `module:Class` besides."""
DEFAULT_MODELS = (PRODUCT, *BASELINES)


def evaluate_folder(
    folder: Path,
    kind: str,
    settings: Settings,
    *,
    models: Sequence[str] = DEFAULT_MODELS,
    show_progress: bool = False,
) -> dict[str, Any]:
    """Evaluates models on a dataset folder, see `OfflineEvaluation.figures`.

    Args:
        kind: One of SPLITS.
        models: Names in MODELS, or custom fusions as `module:Class`.

    Raises:
        DatasetError: The folder is not a readable dataset.
        EvaluationError: A model or split is unknown, or the dataset has no targets under this split.
    """
    if kind not in SPLITS:
        raise EvaluationError(f"--split {kind!r} is none of {', '.join(SPLITS)}")
    check_models(models, kind, settings)
    evaluation = OfflineEvaluation(read_folder(folder), kind, settings, show_progress)
    return evaluation.figures([evaluation.result(name) for name in dict.fromkeys(models)])


def check_models(models: Sequence[str], kind: str, settings: Settings) -> None:
    """Raises EvaluationError if a model is unknown, or a peer is requested for `rolling`, which is not supported."""
    for name in models:
        if name in MODELS:
            continue
        try:
            make_fusion(name, settings.fusion.width)
        except UnknownFusion as error:
            raise EvaluationError(
                f"--model {name!r} is none of {', '.join(MODELS)}, and no custom fusion: {error}"
            ) from error
    if kind == "rolling" and (requested_peers := [name for name in models if name in PEERS]):
        raise EvaluationError(
            f"{', '.join(requested_peers)}: the peers are ranked on loo and temporal; leave out --peers for rolling"
        )


@dataclass(frozen=True)
class Prepared:
    """Inputs shared by all models of the product, and the seconds to prepare them."""

    catalogue: Catalogue
    documents: Documents
    seconds: float


class OfflineEvaluation:
    """Evaluation of models on one dataset under one split."""

    def __init__(self, dataset: Dataset, kind: str, settings: Settings, show_progress: bool) -> None:
        self.dataset = dataset
        self.kind = kind
        self.show_progress = show_progress
        events = as_events(dataset.events)
        self.settings = settings
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

    def figures(self, results: Sequence[ModelResult]) -> dict[str, Any]:
        """Metrics of ranked models, see `summarise`, `summarise_slices` and `exposure`.

        Returns:
            {"dataset", "split", "test_users", "models": {name: metrics}, "slices": {slice: {"targets", "models"}},
            "exposure": {group: {"items", "events", "models"}}, "exposure_by_users": {slice: {group: {name: share}}}},
            without empty slices.
        """
        texts = self.prepared.catalogue.texts
        chosen, seed = self.settings.evaluation, self.settings.fusion.seed
        interactions = self.matrix()
        share, popularity = user_share(interactions), interactions.getnnz(axis=0)
        history_sizes = np.array([len(history) for history in self.split.histories()])
        groups = item_groups(popularity, self.items[Columns.CATEGORY].tolist())
        user_masks = user_slices(history_sizes, chosen)
        masks = user_masks | item_slices(self.targets, groups)
        return {
            "dataset": self.dataset.name,
            "split": self.kind,
            "test_users": len(self.targets),
            "models": summarise(results, self.users, share, texts if texts.any() else None, chosen, seed),
            "slices": summarise_slices(results, masks, self.users, chosen, seed),
            "exposure": exposure(results, popularity, groups),
            "exposure_by_users": exposure_by_users(results, user_masks, groups),
        }

    def result(self, name: str) -> ModelResult:
        """Trains and ranks a model accepted by `check_models`."""
        if name in BASELINES:
            return self.baseline(name)
        if name in PEERS:
            return self.peer(name)
        return self.product(name)

    def product(self, name: str) -> ModelResult:
        """Trains and ranks the product with its default fusion or another one; `fit_s` includes the preparation."""
        prepare_s, started = self.prepared.seconds, time.monotonic()
        fitted = self.fit(self.settings if name == PRODUCT else with_fusion(self.settings, name))
        fit_s, started = prepare_s + time.monotonic() - started, time.monotonic()
        lists = self.rank(fitted.bundle)
        return ModelResult.of(name, lists, self.targets, fit_s=fit_s, rank_s=time.monotonic() - started)

    @cached_property
    def prepared(self) -> Prepared:
        """Keywords, interests and embeddings, computed once for all models of the product."""
        started = time.monotonic()
        texts = item_texts(self.items, self.dataset.text)
        keywords = extract_keywords(texts, self.settings.interests.item_keywords)
        interests = self.interests(keywords)
        vectors_of, encoder = self.encode(texts, interests)
        catalogue = Catalogue(self.items, vectors_of(texts), keywords.matrix, keywords.terms, encoder)
        return Prepared(catalogue, make_documents(interests, vectors_of), time.monotonic() - started)

    def fit(self, settings: Settings, on_epoch: Callable[[Progress], None] | None = None) -> Fitted:
        """Trains the product on the training side of the split."""
        return fit(
            self.split.train,
            self.prepared.catalogue,
            self.prepared.documents,
            settings,
            cut=self.cut.to_pydatetime(),
            held_out="last" if self.kind == "loo" else "recent",
            on_epoch=on_epoch,
            show_progress=self.show_progress,
        )

    def rank(self, bundle: Bundle) -> NDArray[np.int64]:
        """Lists (targets, k) of item rows from a trained bundle, without seen items."""
        states = user_states(self.split, self.rows, self.prepared.documents, self.settings.events)
        trend = past_trend(self.split, self.rows, self.settings.events)
        return rank_bundle(Scorer(bundle, trend), states, self.settings.evaluation.k)[0]

    def interests(self, keywords: Keywords) -> pd.DataFrame:
        """Interests as of the anchors of the training side; empty when the model uses no documents.

        A user's last anchor is just after the last event instead of the cut.
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
        return (lambda texts: embedded.vectors[[row[text] for text in texts]]), embedded.encoder

    def baseline(self, name: str) -> ModelResult:
        """Ranks by popularity, all-time or of the last 7 days; in `rolling` as of each target's time."""
        started = time.monotonic()
        lists = rank_popularity(BASELINES[name](), self.split, self.rows, self.settings.evaluation.k)
        return ModelResult.of(name, lists, self.targets, fit_s=0.0, rank_s=time.monotonic() - started)

    def peer(self, name: str) -> ModelResult:
        """Fits and ranks item-kNN, EASE or ALS, which need a fixed training side."""
        assert isinstance(self.split, Split)
        started = time.monotonic()
        train = self.split.train
        items = train[Columns.ITEM].map(self.rows).to_numpy(np.int64)
        peer = PEERS[name]().fit(train[Columns.USER].to_numpy(dtype=object), items, len(self.rows))
        fit_s, started = time.monotonic() - started, time.monotonic()
        lists = rank_peer(peer, self.split, self.rows, self.settings.evaluation.k)
        return ModelResult.of(name, lists, self.targets, fit_s=fit_s, rank_s=time.monotonic() - started)

    def matrix(self) -> sparse.csr_matrix:
        """Binary training interactions (users, items)."""
        train = self.split.train
        users, names = pd.factorize(train[Columns.USER])
        rows = train[Columns.ITEM].map(self.rows).to_numpy(np.int64)
        return interaction_matrix(users, rows, (len(names), len(self.rows)))


def with_fusion(settings: Settings, kind: str) -> Settings:
    """A copy of the settings with another fusion."""
    return settings.model_copy(update={"fusion": settings.fusion.model_copy(update={"kind": kind})})


def as_events(raw: pd.DataFrame) -> pd.DataFrame:
    """The interactions of a dataset folder as an events frame; no row is dropped, ids become strings.

    Raises:
        EvaluationError: A time, event or id is invalid.
    """
    seconds = epoch_seconds(raw[Columns.TIMESTAMP])
    reject_rows(raw[Columns.TIMESTAMP], ~np.isfinite(seconds), "neither epoch seconds nor an ISO 8601 time")
    reject_rows(
        raw[Columns.TIMESTAMP], seconds >= MAX_EPOCH_SECONDS, "beyond all seconds: divide milliseconds by 1,000"
    )
    reject_rows(raw[Columns.EVENT], ~raw[Columns.EVENT].isin(EVENTS), f"none of {', '.join(EVENTS)}")
    events = raw.assign(
        **{name: clean_ids(raw[name]) for name in (Columns.USER, Columns.ITEM)},
        **{Columns.OCCURRED_AT: moments(seconds).set_axis(raw.index)},
    ).assign(**{Columns.TIMESTAMP: seconds})
    for name, default in ((Columns.VALUE, np.nan), (Columns.TEXT, None)):
        if name not in events:
            events[name] = default
    return events


def clean_ids(raw: pd.Series) -> pd.Series:
    """Ids cleaned as in ingestion: stripped strings. Raises EvaluationError for a missing or invalid id."""
    id_by_value = {value: clean_id(value) for value in raw.unique()}
    ids = raw.map(id_by_value).astype(object)
    reject_rows(raw, ids.isna(), "no id")
    return ids


def reject_rows(values: pd.Series, invalid: NDArray[np.bool_] | pd.Series, problem: str) -> None:
    """Raises EvaluationError with the count and the first of the invalid values, if any."""
    if count := int(np.count_nonzero(invalid)):
        raise EvaluationError(
            f"{count} rows have a {values.name} such as {values[invalid].iloc[0]!r}, which is {problem}"
        )


def catalogue_items(dataset: Dataset, events: pd.DataFrame) -> pd.DataFrame:
    """The items frame, limited to the dataset's permitted text columns, with a bare row for items without metadata."""
    excluded_columns = set(ITEM_TEXT) - set(dataset.text)
    described = dataset.items.drop(columns=list(excluded_columns), errors="ignore")
    described = described.assign(**{Columns.ITEM: clean_ids(described[Columns.ITEM])})
    missing = events.loc[~events[Columns.ITEM].isin(described[Columns.ITEM]), [Columns.ITEM]].drop_duplicates()
    cleaned = clean_items(records(pd.concat([described, missing])), source=dataset.name)
    unusable = ~events[Columns.ITEM].isin([item.item_id for item in cleaned.rows])
    reject_rows(
        events[Columns.ITEM],
        unusable,
        f"not usable: {'; '.join(rejection.reason for rejection in cleaned.rejected[:3])}",
    )
    return as_frame(cleaned.rows, ItemRow)
