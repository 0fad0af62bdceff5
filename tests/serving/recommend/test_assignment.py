"""Assignment of users to variants."""

import pytest

from components.store.variants import CANARY, CHALLENGER, CHAMPION, SHADOW, ServingVariant
from serving.recommend.variants import assigned, shadowed

USERS = [f"user {number}" for number in range(20_000)]


def assignments(**others: ServingVariant) -> dict[str, ServingVariant]:
    return {CHAMPION: ServingVariant(CHAMPION, "1"), **others}


def users_of(variant: str, variants: dict[str, ServingVariant]) -> set[str]:
    return {user for user in USERS if assigned(variants, user).variant == variant}


def test_a_single_champion_serves_all_users() -> None:
    assert users_of(CHAMPION, assignments()) == set(USERS)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_canary_has_its_share_and_the_same_users_each_time(share: float) -> None:
    variants = assignments(canary=ServingVariant(CANARY, "2", share))
    chosen = users_of(CANARY, variants)
    assert len(chosen) / len(USERS) == pytest.approx(share, abs=0.01)
    assert users_of(CANARY, variants) == chosen


def test_a_larger_share_keeps_the_users_of_a_smaller_one() -> None:
    assert users_of(CANARY, assignments(canary=ServingVariant(CANARY, "2", 0.1))) < users_of(
        CANARY, assignments(canary=ServingVariant(CANARY, "2", 0.3))
    )


def test_successive_canaries_are_independent() -> None:
    first, second = (
        users_of(CANARY, assignments(canary=ServingVariant(CANARY, version, 0.1))) for version in ("2", "3")
    )
    assert len(first & second) / len(first) == pytest.approx(0.1, abs=0.03)


def test_a_canary_does_not_move_users_of_the_challenger() -> None:
    challenger = ServingVariant(CHALLENGER, "5", 0.2)
    before = users_of(CHALLENGER, assignments(challenger=challenger))
    both = assignments(challenger=challenger, canary=ServingVariant(CANARY, "2", 0.1))
    assert users_of(CHALLENGER, both) == before
    assert len(before) / len(USERS) == pytest.approx(0.2, abs=0.01)
    assert len(users_of(CANARY, both)) / len(USERS) == pytest.approx(0.1, abs=0.01)


def test_a_shadow_samples_requests_and_serves_no_user() -> None:
    variants = assignments(shadow=ServingVariant(SHADOW, "4", 0.25))
    assert users_of(CHAMPION, variants) == set(USERS)
    sampled = [request for request in USERS if shadowed(variants, request)]
    assert len(sampled) / len(USERS) == pytest.approx(0.25, abs=0.02)
    assert shadowed(assignments(), "a request") is None
