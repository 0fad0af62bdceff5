"""Who is answered by which variant."""

import pytest

from components.store.variants import CANARY, CHALLENGER, CHAMPION, SHADOW, Part
from serving.recommend.variants import assigned, shadowed

USERS = [f"user {number}" for number in range(20_000)]


def parts(**others: Part) -> dict[str, Part]:
    return {CHAMPION: Part(CHAMPION, "1"), **others}


def of(variant: str, wanted: dict[str, Part]) -> set[str]:
    return {user for user in USERS if assigned(wanted, user).variant == variant}


def test_without_others_the_champion_has_everybody() -> None:
    assert of(CHAMPION, parts()) == set(USERS)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_canary_has_its_share_and_the_same_users_each_time(share: float) -> None:
    wanted = parts(canary=Part(CANARY, "2", share))
    chosen = of(CANARY, wanted)
    assert len(chosen) / len(USERS) == pytest.approx(share, abs=0.01)
    assert of(CANARY, wanted) == chosen


def test_a_larger_share_takes_nobody_away() -> None:
    assert of(CANARY, parts(canary=Part(CANARY, "2", 0.1))) < of(CANARY, parts(canary=Part(CANARY, "2", 0.3)))


def test_another_canary_meets_others() -> None:
    first, second = (of(CANARY, parts(canary=Part(CANARY, version, 0.1))) for version in ("2", "3"))
    assert len(first & second) / len(first) == pytest.approx(0.1, abs=0.03)


def test_a_canary_moves_no_user_of_the_challenger() -> None:
    challenger = Part(CHALLENGER, "5", 0.2)
    before = of(CHALLENGER, parts(challenger=challenger))
    both = parts(challenger=challenger, canary=Part(CANARY, "2", 0.1))
    assert of(CHALLENGER, both) == before
    assert len(before) / len(USERS) == pytest.approx(0.2, abs=0.01)
    assert len(of(CANARY, both)) / len(USERS) == pytest.approx(0.1, abs=0.01)


def test_a_shadow_answers_a_sample_of_the_requests_and_nobody() -> None:
    wanted = parts(shadow=Part(SHADOW, "4", 0.25))
    assert of(CHAMPION, wanted) == set(USERS)
    sampled = [request for request in USERS if shadowed(wanted, request)]
    assert len(sampled) / len(USERS) == pytest.approx(0.25, abs=0.02)
    assert shadowed(parts(), "a request") is None
