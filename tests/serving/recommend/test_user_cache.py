"""Users in memory, while others write and erase at the same time."""

from collections.abc import Sequence

import pytest

from serving.recommend.user_cache import MOST_EVENTS, UserCache


def after(known: str, events: Sequence[str]) -> str:
    return known + "".join(events)


@pytest.fixture
def users() -> UserCache[str, str]:
    users = UserCache[str, str]()
    users.followed(True)
    users.read(["ann", "bob"], lambda: {"ann": "a", "bob": "b"})
    return users


def test_what_happened_is_added_once(users: UserCache[str, str]) -> None:
    with users.writing({"ann"}):
        users.happened({"ann": ["x"]})
    assert (users.get("ann", after), users.get("ann", after), users.get("bob", after)) == ("ax", "ax", "b")


def test_what_is_read_between_the_commit_and_its_news_is_not_kept(users: UserCache[str, str]) -> None:
    users.changed("ann")
    with users.writing({"ann"}):
        assert users.read(["ann"], lambda: {"ann": "ax"}) == {"ann": "ax"}
        users.happened({"ann": ["x"]})
    assert users.get("ann", after) is None
    users.read(["ann"], lambda: {"ann": "ax"})
    assert users.get("ann", after) == "ax"


def test_the_news_of_a_commit_bring_nobody_back_who_was_erased_after_it(users: UserCache[str, str]) -> None:
    with users.writing({"ann"}):
        users.gone("ann")
        users.read(["ann"], lambda: {"ann": ""})
        users.happened({"ann": ["x"]})
    assert users.get("ann", after) is None
    assert users.last("ann", after) is None


def test_what_two_write_at_once_is_not_kept_before_both_are_done(users: UserCache[str, str]) -> None:
    users.changed("ann")
    with users.writing({"ann"}):
        with users.writing({"ann"}):
            pass
        users.read(["ann"], lambda: {"ann": "ax"})
        assert users.get("ann", after) is None


def test_who_did_much_since_they_asked_is_read_anew(users: UserCache[str, str]) -> None:
    for _ in range(MOST_EVENTS):
        users.happened({"ann": ["x"]})
    assert users.get("ann", after) == "a" + MOST_EVENTS * "x"
    for _ in range(MOST_EVENTS + 1):
        users.happened({"ann": ["y"], "bob": ["y"]})
        users.get("bob", after)
    assert users.get("ann", after) is None
    assert users.last("ann", after) == "a" + MOST_EVENTS * "x" + (MOST_EVENTS + 1) * "y", "while nothing can be read"
    users.read(["ann"], lambda: {"ann": "read"})
    assert users.get("ann", after) == "read"
