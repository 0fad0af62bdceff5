"""The status of a version in a few words, derived from the rows of `promotions`."""

from datetime import UTC, datetime, timedelta

from components.registry import VersionStatus, version_statuses
from components.settings import DeploySettings
from components.store.schema import Promotion

BEGAN = datetime(2026, 11, 29, 10, tzinfo=UTC)
DEPLOY = DeploySettings(canary_share=0.1, canary_seconds=600)


def lines(*rows: tuple[str, str]) -> list[Promotion]:
    """Promotions from (version, state), a minute apart."""
    return [
        Promotion(
            version=version, state=state, actor="ann", reason="a <b>why</b>", at=BEGAN + timedelta(minutes=minute)
        )
        for minute, (version, state) in enumerate(rows)
    ]


def status(*rows: tuple[str, str]) -> dict[str, str]:
    return {version: entry.status for version, entry in version_statuses(lines(*rows), DEPLOY).items()}


REQUESTED, CANARY, SERVING = "requested", "canary", "serving"
FIRST = (("1", REQUESTED), ("1", SERVING))
SECOND = (*FIRST, ("2", REQUESTED), ("2", CANARY))


def test_each_state_has_a_status_with_its_time() -> None:
    assert status(("1", REQUESTED)) == {"1": "requested 2026-11-29 10:00 UTC"}
    assert status(*FIRST) == {"1": "serving since 2026-11-29 10:01 UTC"}
    assert status(*SECOND) == {
        "1": "serving since 2026-11-29 10:01 UTC",
        "2": "canary for 10% of the users until 2026-11-29 10:13 UTC",
    }
    assert status(*SECOND, ("2", SERVING)) == {
        "1": "served until 2026-11-29 10:04 UTC",
        "2": "serving since 2026-11-29 10:04 UTC",
    }
    for end in ("refused", "failed", "superseded"):
        assert status(*SECOND, ("2", end))["2"] == f"{end} 2026-11-29 10:04 UTC"


def test_a_rollback_differs_from_a_new_promotion() -> None:
    served = (*SECOND, ("2", SERVING))
    assert status(*served, ("1", SERVING)) == {
        "1": "serving since 2026-11-29 10:05 UTC",
        "2": "rolled back 2026-11-29 10:05 UTC",
    }
    assert status(*served, ("1", REQUESTED), ("1", SERVING))["2"] == "served until 2026-11-29 10:06 UTC"


def test_the_serving_version_stays_serving_after_other_states() -> None:
    serving = "serving since 2026-11-29 10:01 UTC"
    for end in (REQUESTED, CANARY, "failed", "problem", "healed"):
        assert status(*FIRST, ("1", end)) == {"1": serving}


def test_the_reason_is_escaped() -> None:
    (version_status,) = version_statuses(lines(("1", "refused")), DEPLOY).values()
    assert version_status == VersionStatus("refused 2026-11-29 10:00 UTC", "a &lt;b&gt;why&lt;/b&gt;")
