"""What other systems call Duotempo's events, and the SQL that translates it."""

from collections.abc import Mapping
from typing import Any

from components.core.columns import EVENTS, Columns
from components.files.sql import literal
from components.mapping.rules import IGNORE
from components.mapping.texts import null_words_sql

_WORDS = {
    "view": "pv, pageview, page_view, view_item, viewitem, item_view, product_view, productview, product_viewed, "
    "viewed, views, detail, detail_page_view, detailpageview, view_content, viewcontent, visit, browse, read, watch, "
    "watched, play, played, listen, listened, stream, impression_view, screen_view, product viewed, open, opened, "
    "video_start, video viewed, article_view, content_view, view_details, product_detail, view product, 浏览, 点击浏览",
    "click": "clicks, clicked, clk, click_item, item_click, select_item, selectitem, select_content, product_click, "
    "product_clicked, product clicked, tap, click_out, clickout, 点击",
    "cart": "addtocart, add_to_cart, add-to-cart, add to cart, addcart, add_cart, cart_add, product_added, "
    "product added, added_to_cart, basket, addtobasket, add_to_basket, 加购, addtobag, add_to_bag, cart_added",
    "purchase": "buy, bought, transaction, order, ordered, purchased, purchases, sale, sold, checkout_completed, "
    "order_completed, order completed, conversion, paid, pay, payment, completed_purchase, ecommerce_purchase, "
    "购买, alipay, checkout_complete, place_order, rent, borrow, loan, booking, book, booked",
    "rating": "rate, rated, ratings, stars, score",
    "review": "reviews, reviewed, product_reviewed, product reviewed",
    "like": "fav, favorite, favourite, favorites, favourites, favorited, liked, likes, wishlist, wish_list, "
    "add_to_wishlist, addtowishlist, add to wishlist, product_added_to_wishlist, product added to wishlist, "
    "added_to_wishlist, wish, save, saved, bookmark, bookmarked, collect, upvote, thumbs_up, thumbsup, thumbup, heart, "
    "love, star, starred, forward, share, shared, repost, retweet, follow, 收藏, 喜欢",
    "dislike": "disliked, dislikes, downvote, thumbs_down, thumbsdown, hate, is_hate, 不喜欢",
    "hide": "hidden, dismiss, dismissed, not_interested, notinterested, block, blocked, skip, skipped",
    "comment": "comments, commented, reply, replied, tag, annotate, 评论",
    "post": "posts, posted, publish, published, upload, create, created",
    IGNORE: "impression, impressions, exposure, expose, exposed, show, shown, imp, session_start, first_visit, "
    "user_engagement, remove_from_cart, removefromcart, product_removed, product removed, removed_from_cart, "
    "begin_checkout, checkout_started, checkout started, view_item_list, search, view_search_results, scroll, login, "
    "logout, identify, page, unfavorite, unlike",
}
KNOWN_WORDS: dict[str, str] = {
    **{word.strip(): event for event, words in _WORDS.items() for word in words.split(",")},
    **{event: event for event in EVENTS},
}
"""Event of each known word, in lower case."""


def event_of(word: str) -> str | None:
    """Duotempo's event, or `ignore`, of a word of another system; None if it is unknown."""
    return KNOWN_WORDS.get(word.strip().lower())


def event_sql(text: str | None, how: Mapping[str, Any], flags: Mapping[str, str]) -> str:
    """The event of a row: a constant, the first flag that is set, or the translated word; unknown words as they stand.

    Args:
        text: The stripped word in SQL, None without a column.
        how: Options of the rule.
        flags: SQL conditions with the event of each.
    """
    if "constant" in how:
        event = literal(how["constant"])
    elif flags:
        cases = " ".join(f"WHEN {condition} THEN {literal(event)}" for condition, event in flags.items())
        event = f"CASE {cases} ELSE {literal(how['otherwise']) if 'otherwise' in how else 'NULL'} END"
    else:
        words = {word.lower(): event for word, event in how.get("words", {}).items()}
        cases = " ".join(f"WHEN {literal(word)} THEN {literal(event)}" for word, event in words.items())
        event = f"CASE lower({text}) {cases} ELSE {text} END" if cases else str(text)
    if "without_value" in how:
        return f"CASE WHEN {Columns.VALUE} IS NULL THEN {literal(how['without_value'])} ELSE {event} END"
    return event


def flag_sql(column: str) -> str:
    """Whether a flag column is set: neither empty, a null word, 0 nor false."""
    text = null_words_sql(column, ("", "0", "0.0", "\\N", "NULL", "null", "nan"))
    return f"coalesce(lower({text}) NOT IN ('false', 'no', 'f', 'n'), false)"
