"""What an answer is made of: the interest, the list, and what is told of both."""

import math
from dataclasses import dataclass, field

from components.histories.states import UserState
from components.ranking.explain import Profile
from components.ranking.scorer import Query
from serving.recommend.ranking import Listed
from serving.recommend.user_history import UserHistory


@dataclass(frozen=True)
class Answer:
    """What /recommend answers, and what others want to know of it."""

    body: dict[str, object]
    request_id: str
    listed: Listed


@dataclass(frozen=True)
class Interest:
    """What a user wants, as the model reads it, and in words. stored: what it was read from."""

    stored: UserHistory
    state: UserState
    query: Query
    told: dict[str, object]
    lists: dict[int, Listed] = field(default_factory=dict)
    """The latest list that asked for nothing but its length, by that."""


@dataclass(frozen=True)
class Ranked:
    """A list, and what it was made of."""

    interest: Interest
    listed: Listed


def in_words(long_share: float, profile: Profile) -> dict[str, object]:
    """What an answer tells of the interest."""
    known = not math.isnan(long_share)
    return {
        "long_weight": round(long_share, 4) if known else 0.0,
        "short_weight": round(1.0 - long_share, 4) if known else 0.0,
        "long": profile.long_terms(),
        "short": profile.short_terms(),
    }
