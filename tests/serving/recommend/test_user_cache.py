"""Users in memory, while others write and erase at the same time."""

from collections.abc import Sequence

import pytest

from serving.recommend.user_cache import MAX_PENDING_EVENTS, UserCache


def apply(value: str, events: Sequence[str]) -> str:
    return value + "".join(events)


@pytest.fixture
def users() -> UserCache[str, str]:
    users = UserCache[str, str]()
    users.set_listening(True)
    users.read(["ann", "bob"], lambda: {"ann": "a", "bob": "b"})
    return users


def test_what_happened_is_added_once(users: UserCache[str, str]) -> None:
    with users.writing({"ann"}):
        users.add_events({"ann": ["x"]})
    assert (users.get("ann", apply), users.get("ann", apply), users.get("bob", apply)) == ("ax", "ax", "b")


def test_what_is_read_between_the_commit_and_its_news_is_not_kept(users: UserCache[str, str]) -> None:
    users.invalidate("ann")
    with users.writing({"ann"}):
        assert users.read(["ann"], lambda: {"ann": "ax"}) == {"ann": "ax"}
        users.add_events({"ann": ["x"]})
    assert users.get("ann", apply) is None
    users.read(["ann"], lambda: {"ann": "ax"})
    assert users.get("ann", apply) == "ax"


def test_the_news_of_a_commit_bring_nobody_back_who_was_erased_after_it(users: UserCache[str, str]) -> None:
    with users.writing({"ann"}):
        users.remove("ann")
        users.read(["ann"], lambda: {"ann": ""})
        users.add_events({"ann": ["x"]})
    assert users.get("ann", apply) is None
    assert users.last_known("ann", apply) is None


def test_what_two_write_at_once_is_not_kept_before_both_are_done(users: UserCache[str, str]) -> None:
    users.invalidate("ann")
    with users.writing({"ann"}):
        with users.writing({"ann"}):
            pass
        users.read(["ann"], lambda: {"ann": "ax"})
        assert users.get("ann", apply) is None


def test_who_did_much_since_they_asked_is_read_anew(users: UserCache[str, str]) -> None:
    for _ in range(MAX_PENDING_EVENTS):
        users.add_events({"ann": ["x"]})
    assert users.get("ann", apply) == "a" + MAX_PENDING_EVENTS * "x"
    for _ in range(MAX_PENDING_EVENTS + 1):
        users.add_events({"ann": ["y"], "bob": ["y"]})
        users.get("bob", apply)
    assert users.get("ann", apply) is None
    assert users.last_known("ann", apply) == "a" + MAX_PENDING_EVENTS * "x" + (MAX_PENDING_EVENTS + 1) * "y", (
        "while nothing can be read"
    )
    users.read(["ann"], lambda: {"ann": "read"})
    assert users.get("ann", apply) == "read"
