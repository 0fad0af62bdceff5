"""Common names of columns in people's files, most likely first."""

import re
from collections.abc import Sequence

from components.core.columns import Columns
from components.mapping.rules import Role

_TYPED_SUFFIX = re.compile(r":(token|token_seq|float|float_seq)$")
_SYNONYMS: dict[Role, dict[str, str]] = {
    "events": {
        Columns.USER: "userid user uid customerid customer visitorid visitor clientid memberid member reviewerid "
        "accountid account personid person buyerid profileid username userkey playerid studentid learnerid readerid "
        "listenerid anonymousid userpseudoid deviceid",
        Columns.ITEM: "itemid item iid productid product movieid stockcode sku articleid asin parentasin bookid "
        "videoid songid trackid isbn businessid newsid gameid goodsid contentid postid courseid offerid creativeid "
        "artistid animeid listingid jobid recipeid hotelid objectid entityid game movie book song article video",
        Columns.EVENT: "event eventtype eventname action actiontype behavior behaviour behaviortype interaction "
        "interactiontype activity activitytype feedbacktype feedback what verb type kind",
        Columns.TIMESTAMP: "timestamp timestampms unixtimestamp ts time datetime eventtime eventtimestamp timems "
        "occurredat createdat created invoicedate unixreviewtime reviewtime when unixtime epoch transactiondate "
        "orderdate purchasedate tdat dateadded ratedat date eventdate day",
        Columns.VALUE: "value rating ratings stars overall score bookrating reviewscore userrating quantity qty "
        "itemquantity playcount plays listens count weight watchratio playduration playtimems dwell dwelltime "
        "duration price amount",
        Columns.TEXT: "text reviewtext reviewbody reviewcontent review comment body content message",
        Columns.SESSION: "sessionid session usersession visitid",
        Columns.EVENT_ID: "eventid",
        Columns.REQUEST: "requestid",
        Columns.MODEL_VERSION: "modelversion",
        Columns.VARIANT: "variant",
    },
    "items": {
        Columns.ITEM: "itemid item iid productid movieid stockcode sku articleid parentasin asin bookid videoid "
        "songid trackid isbn businessid newsid gameid goodsid contentid postid courseid offerid artistid animeid "
        "listingid jobid recipeid hotelid handle id game movie book song",
        Columns.TITLE: "title name itemname productname producttitle movietitle prodname booktitle articletitle "
        "videotitle headline songname trackname itemtitle",
        Columns.DESCRIPTION: "description desc abstract overview plot detaildesc summary longdescription blurb body "
        "content text",
        Columns.CATEGORY: "category categories genres genre categorycode maincategory productcategory itemcategory "
        "categoryname categoryid department class producttype tags labels topic topics subject",
        Columns.AVAILABLE: "available instock isavailable isactive active",
        Columns.PUBLISHED_AT: "publishedat published releasedate publicationdate publisheddate datepublished "
        "releaseyear yearofpublication publicationyear originalpublicationyear year launchdate",
        Columns.IMAGE: "imageuri imageurl image imgurl imurl img imagelink imagesrc thumbnail poster posterpath "
        "imageurll pictureurl picture coverurl",
        Columns.CREATOR: "creatorid creator authorid author artistid artist artistname sellerid seller sellername "
        "vendorid vendor channelid channel uploaderid uploader publisherid publisher merchantid merchant bookauthor "
        "director postedby",
    },
}
EVENT_CATEGORIES = ("category", "categorycode", "categoryid", "categoryname", "productcategory", "itemcategory")
"""Names of columns that describe the item in an events file."""
_ATTRIBUTES = {
    "price": ("number", "price unitprice saleprice sellingprice listprice retailprice currentprice preis prix precio"),
    "currency": ("text", "currency currencycode pricecurrency"),
    "url": ("text", "url link producturl itemurl pageurl permalink"),
    "brand": ("text", "brand brandname manufacturer make"),
    "color": ("text", "color colour colorname colourname"),
    "size": ("text", "size sizename"),
    "material": ("text", "material fabric"),
    "gender": ("text", "gender"),
    "language": ("text", "language lang languagecode originallanguage"),
    "condition": ("text", "condition itemcondition"),
}
"""Well-known attributes of items: their types, and the plain names of their columns."""
VALUE_KINDS = {
    "rating": "rating ratings stars overall score bookrating reviewscore userrating",
    "quantity": "quantity qty itemquantity",
    "count": "playcount plays listens count weight",
    "dwell": "playduration playtimems dwell dwelltime duration",
    "price": "price amount unitprice",
}


def plain_name(name: str) -> str:
    """A column's name without case, separators and the typed suffix of RecBole."""
    return re.sub(r"[\W_]", "", _TYPED_SUFFIX.sub("", name.strip())).lower()


def matching_column(role: Role, name: str, columns: Sequence[str]) -> str | None:
    """The column that most likely holds one of Duotempo's names."""
    plain: dict[str, str] = {}
    for column in columns:
        plain.setdefault(plain_name(column), column)
    if name in columns:
        return name
    return next((plain[synonym] for synonym in synonyms(role, name) if synonym in plain), None)


def synonyms(role: Role, name: str) -> list[str]:
    """The plain names of a field, most likely first."""
    return [plain_name(name), *_SYNONYMS[role].get(name, "").split()]


def known_attribute(column: str) -> tuple[str, str] | None:
    """The attribute, and its type, that a column holds by its name."""
    plain = plain_name(column)
    return next(((name, kind) for name, (kind, names) in _ATTRIBUTES.items() if plain in names.split()), None)


def value_kind(column: str) -> str:
    """The kind of a value by the name of its column."""
    plain = plain_name(column)
    return next((kind for kind, names in VALUE_KINDS.items() if plain in names.split()), "number")
