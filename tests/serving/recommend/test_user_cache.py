"""The user cache under concurrent writes and erasures."""

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


def test_pending_events_are_applied_once(users: UserCache[str, str]) -> None:
    with users.writing({"ann"}):
        users.add_events({"ann": ["x"]})
    assert (users.get("ann", apply), users.get("ann", apply), users.get("bob", apply)) == ("ax", "ax", "b")


def test_a_read_during_a_pending_commit_is_not_cached(users: UserCache[str, str]) -> None:
    users.invalidate("ann")
    with users.writing({"ann"}):
        assert users.read(["ann"], lambda: {"ann": "ax"}) == {"ann": "ax"}
        users.add_events({"ann": ["x"]})
    assert users.get("ann", apply) is None
    users.read(["ann"], lambda: {"ann": "ax"})
    assert users.get("ann", apply) == "ax"


def test_events_stored_before_an_erasure_do_not_restore_the_user(users: UserCache[str, str]) -> None:
    with users.writing({"ann"}):
        users.remove("ann")
        users.read(["ann"], lambda: {"ann": ""})
        users.add_events({"ann": ["x"]})
    assert users.get("ann", apply) is None
    assert users.last_known("ann", apply) is None


def test_a_read_during_concurrent_commits_is_not_cached(users: UserCache[str, str]) -> None:
    users.invalidate("ann")
    with users.writing({"ann"}):
        with users.writing({"ann"}):
            pass
        users.read(["ann"], lambda: {"ann": "ax"})
        assert users.get("ann", apply) is None


def test_a_user_with_many_pending_events_is_read_again(users: UserCache[str, str]) -> None:
    for _ in range(MAX_PENDING_EVENTS):
        users.add_events({"ann": ["x"]})
    assert users.get("ann", apply) == "a" + MAX_PENDING_EVENTS * "x"
    for _ in range(MAX_PENDING_EVENTS + 1):
        users.add_events({"ann": ["y"], "bob": ["y"]})
        users.get("bob", apply)
    assert users.get("ann", apply) is None
    assert users.last_known("ann", apply) == "a" + MAX_PENDING_EVENTS * "x" + (MAX_PENDING_EVENTS + 1) * "y", (
        "as fallback while Postgres is away"
    )
    users.read(["ann"], lambda: {"ann": "read"})
    assert users.get("ann", apply) == "read"
