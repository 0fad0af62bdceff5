"""Small files of our own making in the known layouts, with what they mean. No two of them share users or items."""

import gzip
import json
from dataclasses import dataclass, field

Event = tuple[str, str, str, float | None, str]
"""User, item, event, value, and time in UTC."""
ML_GENRES = "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0"


@dataclass(frozen=True)
class LayoutCase:
    """Files of one layout.

    Attributes:
        layout: The name of the layout; None for headers that are known by their names alone.
        files: Content by name; each is loaded in one go with the others of its group.
        events: The events that are stored.
        items: Title and categories of each item that is stored.
        left_out: Rows that are no events, by reason.
    """

    layout: str | None
    files: dict[str, str | bytes]
    events: set[Event]
    items: dict[str, tuple[str, list[str]]]
    left_out: dict[str, int] = field(default_factory=dict)


def lines(*rows: str) -> str:
    return "\n".join(rows) + "\n"


def json_lines(*rows: dict[str, object]) -> str:
    return lines(*map(json.dumps, rows))


def untitled(*ids: str) -> dict[str, tuple[str, list[str]]]:
    return {item: ("", []) for item in ids}


CASES = {
    "movielens-latest": LayoutCase(
        "MovieLens",
        {
            "ratings.csv": lines(
                "userId,movieId,rating,timestamp",
                "9001,101,3.5,1147868817",
                "9001,102,0.5,1147868818",
            ),
            "movies.csv": lines(
                "movieId,title,genres", "101,Toy Story (1995),Adventure|Animation",
                '102,"American President, The (1995)",Comedy|Drama', "103,Heat (1995),(no genres listed)",
            ),
        },
        {("9001", "101", "rating", 3.5, "2006-05-17 12:26:57"), ("9001", "102", "rating", 0.5, "2006-05-17 12:26:58")},
        {
            "101": ("Toy Story (1995)", ["Adventure", "Animation"]),
            "102": ("American President, The (1995)", ["Comedy", "Drama"]), "103": ("Heat (1995)", []),
        },
    ),
    "movielens-tags": LayoutCase(
        "MovieLens",
        {"tags.csv": lines("userId,movieId,tag,timestamp", "9011,111,dark comedy,1147868817")},
        {("9011", "111", "comment", None, "2006-05-17 12:26:57")},
        untitled("111"),
    ),
    "movielens-100k": LayoutCase(
        "MovieLens",
        {
            "u.data": lines("9021\t121\t3\t881250949", "9022\t122\t5\t891717742"),
            "u.item": lines(
                f"121|Copycat (1995)|01-Jan-1995||http://us.imdb.com/M?Copycat%20(1995)|{ML_GENRES}",
                "122|Cité des enfants perdus, La (1995)|01-Jan-1995||http://us.imdb.com/M/x|0|0|1|" + "0|" * 15 + "0",
                "123|Unknown||||1|" + "0|" * 17 + "0",
            ).encode("latin-1"),
        },
        {("9021", "121", "rating", 3.0, "1997-12-04 15:55:49"), ("9022", "122", "rating", 5.0, "1998-04-04 19:22:22")},
        {
            "121": ("Copycat (1995)", ["Animation", "Children's", "Comedy"]),
            "122": ("Cité des enfants perdus, La (1995)", ["Adventure"]), "123": ("Unknown", []),
        },
    ),
    "movielens-1m": LayoutCase(
        "MovieLens",
        {
            "ratings.dat": lines("9031::131::5::978300760", "9031::132::3::978302109"),
            "movies.dat": lines(
                "131::One Flew Over the Cuckoo's Nest (1975)::Drama", "132::Misérables, Les (1995)::Drama|Musical",
                '133::"Great Performances" Cats (1998)::Musical',
            ).encode("latin-1"),
        },
        {("9031", "131", "rating", 5.0, "2000-12-31 22:12:40"), ("9031", "132", "rating", 3.0, "2000-12-31 22:35:09")},
        {
            "131": ("One Flew Over the Cuckoo's Nest (1975)", ["Drama"]),
            "132": ("Misérables, Les (1995)", ["Drama", "Musical"]),
            "133": ('"Great Performances" Cats (1998)', ["Musical"]),
        },
    ),
    "movielens-10m": LayoutCase(
        "MovieLens",
        {"ratings.dat": lines("9041::141::4.5::838985046", "9041::142::5::838983525")},
        {("9041", "141", "rating", 4.5, "1996-08-02 11:24:06"), ("9041", "142", "rating", 5.0, "1996-08-02 10:58:45")},
        untitled("141", "142"),
    ),
    "amazon-2014": LayoutCase(
        "Amazon reviews",
        {
            "reviews_Music.json.gz": gzip.compress(
                json_lines(
                    {
                        "reviewerID": "A2IBPI20UZIR0U", "asin": "1384719342", "reviewerName": "c. \"Tom\"",
                        "helpful": [0, 0], "reviewText": "Does what it's supposed to.", "overall": 5.0,
                        "summary": "good", "unixReviewTime": 1393545600, "reviewTime": "02 28, 2014",
                    }
                ).encode()
            ),
            "meta_Music.json.gz": gzip.compress(
                lines(
                    "{'asin': '1384719342', 'title': \"Pop filter, 6''\", 'price': 9.5, 'imUrl': 'http://x/1.jpg',"
                    " 'related': {'also_bought': ['B1']}, 'categories': [['Music', 'Accessories']]}",
                    "{'asin': 'B000068NW5', 'title': 'Cable', 'categories': [['Music', 'Cables']]}",
                ).encode()
            ),
        },
        {("A2IBPI20UZIR0U", "1384719342", "rating", 5.0, "2014-02-28 00:00:00")},
        {
            "1384719342": ("Pop filter, 6''", ["Music", "Accessories"]), "B000068NW5": ("Cable", ["Music", "Cables"]),
        },
    ),
    "amazon-2014-ratings": LayoutCase(
        "Amazon reviews",
        {
            "ratings_Books.csv": lines(
                "AH2L9G3DQHHAJ,0000000116,4.0,1019865600",
                "A2IIIDRK3PRRZY,0000000116,1.0,1395619200",
            )
        },
        {
            ("AH2L9G3DQHHAJ", "0000000116", "rating", 4.0, "2002-04-27 00:00:00"),
            ("A2IIIDRK3PRRZY", "0000000116", "rating", 1.0, "2014-03-24 00:00:00"),
        },
        untitled("0000000116"),
    ),
    "amazon-2023": LayoutCase(
        "Amazon reviews",
        {
            "All_Beauty.jsonl": json_lines(
                {
                    "rating": 4.0, "title": "Nice", "text": "I like it", "images": [], "asin": "B00YQ6X8EO",
                    "parent_asin": "B00YQ6X8EP", "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
                    "timestamp": 1588687728923, "helpful_vote": 0, "verified_purchase": True,
                }
            ),
            "meta_All_Beauty.jsonl": json_lines(
                {
                    "main_category": "All Beauty", "title": "Spray", "average_rating": 4.8, "rating_number": 10,
                    "features": [], "description": ["Long", "lasting"], "price": None, "images": [], "videos": [],
                    "store": "H", "categories": ["Hair"], "details": {"Package": "7"}, "parent_asin": "B00YQ6X8EP",
                    "bought_together": None,
                },
                {"main_category": "All Beauty", "title": "Comb", "categories": [], "parent_asin": "B07NTK7T5P"},
            ),
        },
        {("AGKHLEW2SOWHNMFQIJGBECAF7INQ", "B00YQ6X8EP", "rating", 4.0, "2020-05-05 14:08:48.923")},
        {"B00YQ6X8EP": ("Spray", ["All Beauty", "Hair"]), "B07NTK7T5P": ("Comb", ["All Beauty"])},
    ),
    "retailrocket": LayoutCase(
        "RetailRocket",
        {
            "events.csv": lines(
                "timestamp,visitorid,event,itemid,transactionid", "1433221332117,257597,view,355908,",
                "1433224214164,257597,addtocart,248676,", "1433222276276,257597,transaction,318965,4000",
            )
        },
        {
            ("257597", "355908", "view", None, "2015-06-02 05:02:12.117"),
            ("257597", "248676", "cart", None, "2015-06-02 05:50:14.164"),
            ("257597", "318965", "purchase", None, "2015-06-02 05:17:56.276"),
        },
        untitled("355908", "248676", "318965"),
    ),
    "yoochoose-clicks": LayoutCase(
        "Yoochoose",
        {
            "yoochoose-clicks.dat": lines(
                "7001,2014-04-07T10:51:09.277Z,214536502,0",
                "7001,2014-04-07T10:54:09.868Z,214536500,S",
            )
        },
        {
            ("7001", "214536502", "click", None, "2014-04-07 10:51:09.277"),
            ("7001", "214536500", "click", None, "2014-04-07 10:54:09.868"),
        },
        untitled("214536502", "214536500"),
    ),
    "yoochoose-buys": LayoutCase(
        "Yoochoose",
        {"yoochoose-buys.dat": lines("420374,2014-04-06T18:44:58.314Z,214537888,12462,2")},
        {("420374", "214537888", "purchase", 2.0, "2014-04-06 18:44:58.314")},
        untitled("214537888"),
    ),
    "taobao": LayoutCase(
        "Taobao UserBehavior",
        {
            "UserBehavior.csv": lines(
                "1000001,2268318,2520377,pv,1511544070",
                "1000001,2333346,2520771,fav,1511561733",
                "1000002,2333346,2520771,buy,1511561734",
                "1000002,2576651,149192,cart,1511572885",
            )
        },
        {
            ("1000001", "2268318", "view", None, "2017-11-24 17:21:10"),
            ("1000001", "2333346", "like", None, "2017-11-24 22:15:33"),
            ("1000002", "2333346", "purchase", None, "2017-11-24 22:15:34"),
            ("1000002", "2576651", "cart", None, "2017-11-25 01:21:25"),
        },
        {"2268318": ("", ["2520377"]), "2333346": ("", ["2520771"]), "2576651": ("", ["149192"])},
    ),
    "hm": LayoutCase(
        "H&M",
        {
            "transactions_train.csv": lines(
                "t_dat,customer_id,article_id,price,sales_channel_id",
                "2018-09-20,000058a12d5b43e67d225668fa1f8d618c13dc232df0cad8ffe7ad4a1091e318,0663713001,0.0508,2",
            ),
            "articles.csv": lines(
                "article_id,product_code,prod_name,product_type_no,product_type_name,product_group_name,detail_desc",
                '0663713001,0663713,Atlanta Push Body,283,Underwear body,Underwear,"Body in lace, with cups."',
                "0108775015,0108775,Strap top,253,Vest top,Garment Upper body,Jersey top.",
            ),
        },
        {
            (
                "000058a12d5b43e67d225668fa1f8d618c13dc232df0cad8ffe7ad4a1091e318", "0663713001", "purchase", None,
                "2018-09-20 00:00:00",
            )
        },
        {
            "0663713001": ("Atlanta Push Body", ["Underwear", "Underwear body"]),
            "0108775015": ("Strap top", ["Garment Upper body", "Vest top"]),
        },
    ),
    "book-crossing": LayoutCase(
        "Book-Crossing",
        {
            "BX-Book-Ratings.csv": lines(
                '"User-ID";"ISBN";"Book-Rating"', '"276725";"034545104X";"0"', '"276726";"0155061224";"5"',
                '"276726";"0446520802";"10"',
            ),
            "BX-Books.csv": lines(
                '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S";"Image-URL-M";"Image-URL-L"',
                '"034545104X";"Flesh Tones: A Novel";"M. J. Rose";"2002";"Ballantine";"http://s";"http://m";"http://l"',
                '"0155061224";"Rites of Passage";"Judith Rae";"2001";"Heinle";"http://s";"http://m";"http://l"',
                '"0446520802";"The \\"Notebook\\"; a novel";"Märta Sparks";"0";"Warner";"http://s";"http://m";"http://l"',
            ).encode("latin-1"),
        },
        {
            ("276725", "034545104X", "view", None, "2004-09-01 00:00:00"),
            ("276726", "0155061224", "rating", 2.5, "2004-09-01 00:00:00"),
            ("276726", "0446520802", "rating", 5.0, "2004-09-01 00:00:00"),
        },
        {
            "034545104X": ("Flesh Tones: A Novel", ["M. J. Rose"]),
            "0155061224": ("Rites of Passage", ["Judith Rae"]),
            "0446520802": ('The "Notebook"; a novel', ["Märta Sparks"]),
        },
    ),
    "goodreads": LayoutCase(
        "Goodreads",
        {
            "goodreads_interactions_poetry.json.gz": gzip.compress(
                json_lines(
                    {
                        "user_id": "8842281e1d1347389f2ab93d60773d4d", "book_id": "1384", "review_id": "1bad",
                        "is_read": True, "rating": 4, "review_text_incomplete": "",
                        "date_added": "Wed May 09 09:33:44 -0700 2007", "date_updated": "", "read_at": "",
                        "started_at": "",
                    },
                    {
                        "user_id": "8842281e1d1347389f2ab93d60773d4d", "book_id": "1376", "review_id": "eb6e",
                        "is_read": False, "rating": 0, "review_text_incomplete": "",
                        "date_added": "Tue Jan 01 00:00:01 -0800 2013", "date_updated": "", "read_at": "",
                        "started_at": "",
                    },
                ).encode()
            ),
            "goodreads_books_poetry.json.gz": gzip.compress(
                json_lines(
                    {
                        "isbn": "", "popular_shelves": [{"count": "23", "name": "poetry"}], "description": "Verse",
                        "authors": [{"author_id": "1", "role": ""}], "publication_year": "1997", "book_id": "1384",
                        "title": "The Iliad", "image_url": "https://i/1.jpg",
                    },
                    {
                        "isbn": "", "popular_shelves": [], "description": "", "publication_year": "",
                        "book_id": "1376", "title": "The Odyssey", "image_url": "",
                    },
                ).encode()
            ),
        },
        {
            ("8842281e1d1347389f2ab93d60773d4d", "1384", "rating", 4.0, "2007-05-09 16:33:44"),
            ("8842281e1d1347389f2ab93d60773d4d", "1376", "view", None, "2013-01-01 08:00:01"),
        },
        {"1384": ("The Iliad", ["poetry"]), "1376": ("The Odyssey", [])},
    ),
    "goodreads-csv": LayoutCase(
        "Goodreads",
        {
            "goodreads_interactions.csv": lines(
                "user_id,book_id,is_read,rating,is_reviewed",
                "876145,948,1,5,0",
                "876145,947,1,0,1",
            )
        },
        {
            ("876145", "948", "rating", 5.0, "2017-11-01 00:00:00"),
            ("876145", "947", "view", None, "2017-11-01 00:00:00"),
        },
        untitled("948", "947"),
    ),
}  # fmt: skip
