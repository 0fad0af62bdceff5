"""Each layout is recognised from a small made-up file and read as the data set means it."""

from collections.abc import Sequence
from typing import Any

import pytest

from components.mapping.layouts import layout_files
from components.mapping.propose import Proposal, propose
from tests.components.mapping.tables import connect, headerless, mapped, query, texts

Read = tuple[Proposal, list[dict[str, Any]], list[dict[str, Any]]]


def read(header: str | None, *rows: str, separator: str = ",") -> Read:
    """Proposal, events and items of a delimited text."""
    connection = connect()
    cells = [[cell or None for cell in row.split(separator)] for row in rows]
    if header is None:
        table = headerless(connection, cells)
    else:
        names = header.split(separator)
        table = texts(connection, {name: [row[n] for row in cells] for n, name in enumerate(names)})
    return _read(connection, table)


def read_json(**columns: str) -> Read:
    """Proposal, events and items of one JSON object, whose columns have the type JSON."""
    connection = connect()
    selected = ", ".join(f"'{value}'::JSON AS \"{name}\"" for name, value in columns.items())
    return _read(connection, query(connection, f"SELECT {selected}"))


def _read(connection: Any, table: Any) -> Read:
    proposal = propose(connection, table)
    mapping = proposal.mapping
    events = mapped(connection, table, mapping, "events") if mapping.events else []
    return proposal, events, mapped(connection, table, mapping, "items") if mapping.items else []


def values(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


EVENT = ("user_id", "item_id", "event", "value", "timestamp")


@pytest.mark.parametrize(
    ("layout", "header", "separator", "row", "expected"),
    [
        ("MovieLens", "userId,movieId,rating,timestamp", ",", "1,2,3.5,1147868817",
         ("1", "2", "rating", "3.5", 1147868817.0)),
        ("MovieLens", None, "\t", "196\t242\t3\t881250949", ("196", "242", "rating", "3", 881250949.0)),
        ("Amazon reviews", "user_id,parent_asin,rating,timestamp", ",", "AE,B01,5.0,1433221332117",
         ("AE", "B01", "rating", "5.0", 1433221332.117)),
        ("Amazon reviews", None, ",", "A3SGXH7AUHU8GW,0001501348,5.0,1370304000",
         ("A3SGXH7AUHU8GW", "0001501348", "rating", "5.0", 1370304000.0)),
        ("RetailRocket", "timestamp,visitorid,event,itemid,transactionid", ",", "1433221332117,2,addtocart,3,",
         ("2", "3", "cart", None, 1433221332.117)),
        ("Yoochoose", None, ",", "1,2014-04-07T10:51:09.277Z,214536502,0",
         ("1", "214536502", "click", None, 1396867869.277)),
        ("Yoochoose", None, ",", "1,2014-04-07T10:51:09.277Z,214536502,12462,2",
         ("1", "214536502", "purchase", "2", 1396867869.277)),
        ("Taobao UserBehavior", None, ",", "1,2,3,fav,1511544070", ("1", "2", "like", None, 1511544070.0)),
        ("H&M", "t_dat,customer_id,article_id,price,sales_channel_id", ",", "2018-09-20,00f,0663713001,0.05,2",
         ("00f", "0663713001", "purchase", None, 1537401600.0)),
        ("Book-Crossing", "User-ID;ISBN;Book-Rating", ";", "1;034545104X;0",
         ("1", "034545104X", "view", None, 1093996800.0)),
        ("Book-Crossing", "User-ID;ISBN;Book-Rating", ";", "1;034545104X;7",
         ("1", "034545104X", "rating", "3.5", 1093996800.0)),
        ("Goodreads", "user_id,book_id,review_id,rating,date_added", ",", "u,b,r,4,Sat Aug 19 09:00:00 -0700 2017",
         ("u", "b", "rating", "4", 1503158400.0)),
        ("Goodreads", "user_id,book_id,is_read,rating,is_reviewed", ",", "u,b,1,0,0",
         ("u", "b", "view", None, 1509494400.0)),
        ("Last.fm", None, "\t", "user_000001\t2009-05-04T23:08:57Z\tf1\tDeep Dish\t\tSome Track",
         ("user_000001", "Some Track", "view", None, 1241478537.0)),
        ("Last.fm", "userID\tartistID\tweight", "\t", "2\t51\t13883", ("2", "51", "view", "13883", 1304208000.0)),
        ("MIND", None, "\t", "1\tU13740\t11/11/2019 9:05:58 AM\tN1 N2\tN5-1 N6-0",
         ("U13740", "N5", "click", None, 1573463158.0)),
        ("KuaiRec", "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio", ",",
         "1,2,9000,6000,t,d,1593898247.0,1.5", ("1", "2", "view", "1.5", 1593898247.0)),
        ("KuaiRand", "user_id,video_id,time_ms,is_click,is_like,is_comment,is_hate,play_time_ms", ",",
         "1,2,1650000000000,1,1,0,0,1500", ("1", "2", "like", "1.5", 1650000000.0)),
        ("Online Retail", "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country", ",",
         "489434,85048,LIGHTS,12,2009-12-01 07:45:00,6.95,13085.0,UK",
         ("13085", "85048", "purchase", "12", 1259653500.0)),
        ("Gorse", "feedback_type,user_id,item_id,time_stamp", ",", "star,u,i,2020-01-01 00:00:00+00:00",
         ("u", "i", "like", None, 1577836800.0)),
        ("Segment", "id,anonymous_id,user_id,event,original_timestamp,product_id", ",",
         "m1,x,,product_added,2020-01-01 00:00:00,p", ("x", "p", "cart", None, 1577836800.0)),
        ("Shopify orders", "Name,Email,Created at,Lineitem quantity,Lineitem name,Lineitem sku", ",",
         "#1001,a@b.c,2020-01-01 00:00:00 +0100,2,Mug,M1", ("a@b.c", "M1", "purchase", "2", 1577833200.0)),
    ],
)  # fmt: skip
def test_events_of_a_layout(layout: str, header: str | None, separator: str, row: str, expected: Sequence[Any]) -> None:
    proposal, events, _ = read(header, row, separator=separator)
    assert proposal.layout == layout
    assert (*values(events[0], *EVENT[:4]), pytest.approx(events[0]["timestamp"])) == expected
    assert events[0]["reject"] is None


@pytest.mark.parametrize(
    ("layout", "header", "separator", "row", "expected"),
    [
        ("MovieLens", "movieId,title,genres", ",", "1,Alien (1979),Horror|Sci-Fi",
         ("1", "Alien (1979)", ["Horror", "Sci-Fi"])),
        ("MovieLens", "movieId,title,genres", ",", "1,Alien,(no genres listed)", ("1", "Alien", [])),
        ("MovieLens", None, "::", "1::Alien (1979)::Horror|Sci-Fi", ("1", "Alien (1979)", ["Horror", "Sci-Fi"])),
        ("MovieLens", None, "|", "1|Alien (1979)|01-Jan-1979||u|0|1|0|0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0",
         ("1", "Alien (1979)", ["Action", "Horror", "Sci-Fi"])),
        ("H&M", "article_id,prod_name,product_type_name,product_group_name,detail_desc", ",",
         "01,Top,Vest,Upper,Jersey",
         ("01", "Top", ["Upper", "Vest"])),
        ("Instacart", "product_id,product_name,aisle_id,department_id", ",", "1,Tea,61,19", ("1", "Tea", ["19", "61"])),
        ("Book-Crossing", "ISBN;Book-Title;Book-Author;Year-Of-Publication", ";", "0195;Myth;Mark;2002",
         ("0195", "Myth", ["Mark"])),
        ("MIND", None, "\t", "N5\tnews\tworld\tHeadline\tAbstract\thttps://x\t[]\t[]",
         ("N5", "Headline", ["news", "world"])),
        ("Shopify orders", "Handle,Title,Body (HTML),Vendor,Type,Tags", ",", "mug,Mug,<p>x</p>,V,Home > Mugs,blue",
         ("mug", "Mug", ["Home", "Mugs", "blue"])),
    ],
)  # fmt: skip
def test_items_of_a_layout(layout: str, header: str | None, separator: str, row: str, expected: Sequence[Any]) -> None:
    proposal, _, items = read(header, row, separator=separator)
    assert (proposal.layout, proposal.role) == (layout, "items")
    assert values(items[0], "item_id", "title", "category") == expected


def test_taobao_items_have_the_category_of_the_events() -> None:
    _, events, items = read(None, "1,2,30,pv,1511544070", "1,2,30,buy,1511544071", "1,4,50,cart,1511544072")
    assert [event["event"] for event in events] == ["view", "purchase", "cart"]
    assert [values(item, "item_id", "category") for item in items] == [("2", ["30"]), ("4", ["50"])]


def test_mind_leaves_out_impressions_without_a_click() -> None:
    _, events, _ = read(None, "1\tU13740\t11/11/2019 9:05:58 AM\tN1 N2\tN5-1 N6-0", separator="\t")
    assert [values(event, "row", "item_id", "event") for event in events] == [(0, "N5", "click"), (0, "N6", "ignore")]
    assert events[1]["reject"].startswith("ignored: ")


def test_amazon_reviews_and_metadata_as_json() -> None:
    proposal, events, _ = read_json(
        reviewerID='"A1"', asin='"B1"', overall="5.0", reviewText='"Good<br>one"', unixReviewTime="1370304000"
    )
    assert proposal.layout == "Amazon reviews"
    assert values(events[0], *EVENT, "text") == ("A1", "B1", "rating", "5.0", 1370304000.0, "Good one")
    _, _, items = read_json(asin='"B1"', title='"Lamp"', categories='[["Home", "Lamps"]]', imUrl='"http://x"')
    assert values(items[0], "item_id", "title", "category") == ("B1", "Lamp", ["Home", "Lamps"])
    _, _, items = read_json(
        parent_asin='"B1"', title='"Lamp"', main_category='"Home"', categories='["Lamps"]', description='["a", "b"]'
    )
    assert values(items[0], "description", "category") == ("a b", ["Home", "Lamps"])


def test_goodreads_shelves_are_categories() -> None:
    proposal, _, items = read_json(
        book_id='"1"', title='"T"', description='"D"', popular_shelves='[{"count":"3","name":"fantasy"}]'
    )
    assert (proposal.layout, items[0]["category"]) == ("Goodreads", ["fantasy"])


def test_ga4_items_are_rows() -> None:
    proposal, events, items = read_json(
        event_date='"20200101"', event_timestamp="1577836800000000", event_name='"add_to_cart"', user_pseudo_id='"u.1"',
        items='[{"item_id":"a","item_name":"A","item_category":"x","quantity":2},{"item_id":"b"}]',
    )  # fmt: skip
    assert proposal.layout == "GA4"
    assert [event["item_id"] for event in events] == ["a", "b"]
    assert values(events[0], *EVENT) == ("u.1", "a", "cart", "2", 1577836800.0)
    assert values(items[0], "item_id", "title", "category") == ("a", "A", ["x"])


def test_segment_properties_are_read() -> None:
    proposal, events, items = read_json(
        event='"Product Viewed"', anonymousId='"x"', userId="null", timestamp='"2020-01-01T00:00:00.000Z"',
        properties='{"product_id":"p","name":"Mug","category":"Home"}',
    )  # fmt: skip
    assert proposal.layout == "Segment"
    assert values(events[0], *EVENT) == ("x", "p", "view", None, 1577836800.0)
    assert values(items[0], "item_id", "title", "category") == ("p", "Mug", ["Home"])


def test_gorse_items_may_be_hidden() -> None:
    proposal, _, items = read_json(
        ItemId='"1"', IsHidden="true", Categories='["x"]', Timestamp='"2020-01-01T00:00:00Z"'
    )
    assert (proposal.layout, items[0]["available"], items[0]["published_at"]) == ("Gorse", "false", 1577836800.0)


def test_recbole_headers_are_known_without_their_types() -> None:
    proposal, events, _ = read("user_id:token\titem_id:token\trating:float\ttimestamp:float", "1\t2\t3.0\t881250949.0",
                               separator="\t")  # fmt: skip
    assert proposal.confidence["user_id"] == "sure"
    assert values(events[0], *EVENT) == ("1", "2", "rating", "3.0", 881250949.0)
    _, _, items = read(
        "item_id:token\tmovie_title:token_seq\tclass:token_seq", "1\tToy Story\tAnimation", separator="\t"
    )
    assert values(items[0], "item_id", "title") == ("1", "Toy Story")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("order_id,product_id,add_to_cart_order,reordered", "1,2,3,0"),
        ("timestamp,itemid,property,value", "1433221332117,1,categoryid,5"),
    ],
)
def test_files_that_need_work_first_say_which(header: str, row: str) -> None:
    proposal, _, _ = read(header, row)
    assert proposal.layout is not None
    assert proposal.questions[0].what.startswith(f"{proposal.layout}: ")


def test_every_layout_is_recognised_by_its_columns_or_kinds() -> None:
    assert all(bool(file.columns) != bool(file.kinds) for file in layout_files())
    assert all(file.tables or file.note for file in layout_files())
