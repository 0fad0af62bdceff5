"""The converters on small synthetic archives in the documented formats (no MovieLens data)."""

import io
import zipfile

import pandas as pd

from components.datasets.movielens import latest_small_official, ml_100k_official, ml_100k_recbole
from components.datasets.named import content_digest

U_DATA = "196\t242\t3\t881250949\n186\t1\t5\t891717742\n"
FLAGS = {"Action": 1, "Comedy": 5, "Drama": 8}


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as writer:
        for name, content in files.items():
            writer.writestr(name, content.encode("latin-1") if name.endswith("u.item") else content)
    return buffer.getvalue()


def movie(number: int, title: str, *genres: int) -> str:
    flags = "|".join("1" if genre in genres else "0" for genre in range(19))
    return f"{number}|{title}|01-Jan-1995||http://example.org/{number}|{flags}\n"


OFFICIAL = archive(**{
    "ml-100k/u.data": U_DATA,
    "ml-100k/u.item": movie(1, "Café  Noir (1995)", FLAGS["Comedy"], FLAGS["Drama"])
    + movie(242, "Kites & Co. (1996)", FLAGS["Action"]) + movie(267, "unknown", 0),
})  # fmt: skip
RECBOLE = archive(**{
    "recbole/dataset_example/ml-100k/ml-100k.inter":
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n186\t1\t5\t891717742\n",
    "recbole/dataset_example/ml-100k/ml-100k.item":
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tCafé Noir\t1995\tComedy Drama\n242\tKites & Co.\t1996\tAction\n267\tunkonwn\tunkonwn\tunknown\n",
})  # fmt: skip
LATEST = archive(**{
    "ml-latest-small/ratings.csv":
        "userId,movieId,rating,timestamp\n2,1,3.5,200\n10,3,0.5,200\n1,1,4.0,300\n2,3,5.0,200\n",
    "ml-latest-small/movies.csv":
        'movieId,title,genres\n1,"Kites, The (1995)",Action|Drama\n3,Untold,(no genres listed)\n',
    "ml-latest-small/tags.csv": "userId,movieId,tag,timestamp\n2,1,late,900\n2,1,early ,100\n1,1,late,950\n",
})  # fmt: skip


def test_the_official_100k_keeps_its_order() -> None:
    interactions, items = ml_100k_official(OFFICIAL)
    assert interactions.to_dict("records") == [
        {"user_id": "196", "item_id": "242", "timestamp": 881250949, "event": "rating", "value": 3.0},
        {"user_id": "186", "item_id": "1", "timestamp": 891717742, "event": "rating", "value": 5.0},
    ]
    assert items.to_dict("records") == [
        {"item_id": "1", "title": "Café Noir (1995)", "category": "Comedy|Drama", "description": ""},
        {"item_id": "242", "title": "Kites & Co. (1996)", "category": "Action", "description": ""},
        {"item_id": "267", "title": "", "category": "", "description": ""},
    ]


def test_the_recbole_copy_gives_equal_frames() -> None:
    for official, copy in zip(ml_100k_official(OFFICIAL), ml_100k_recbole(RECBOLE), strict=True):
        pd.testing.assert_frame_equal(official, copy)


def test_latest_small_is_sorted_stably_by_time_and_user() -> None:
    interactions, items = latest_small_official(LATEST)
    seen = interactions[["user_id", "item_id", "value", "timestamp"]].values.tolist()
    assert seen == [["10", "3", 0.5, 200], ["2", "1", 3.5, 200], ["2", "3", 5.0, 200], ["1", "1", 4.0, 300]]
    assert items.to_dict("records") == [
        {"item_id": "1", "title": "Kites, The (1995)", "category": "Action|Drama", "description": "Tags: early, late"},
        {"item_id": "3", "title": "Untold", "category": "", "description": ""},
    ]


def test_the_digest_is_independent_of_order() -> None:
    interactions, _ = ml_100k_official(OFFICIAL)
    assert content_digest(interactions) == content_digest(interactions[::-1])
    assert content_digest(interactions) != content_digest(interactions.assign(value=1.0))
