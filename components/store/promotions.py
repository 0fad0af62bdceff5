"""The append-only log of promotions, refusals and rollbacks, which MLflow does not keep."""

from sqlalchemy import ColumnElement, Engine, Select, func, insert, select
from sqlalchemy.orm import Session

from components.store.schema import Promotion

REQUESTED, CANARY, SERVING = "requested", "canary", "serving"
REFUSED, FAILED, SUPERSEDED = "refused", "failed", "superseded"
PROBLEM, RESOLVED = "problem", "healed"
PROBLEM_STATES = (PROBLEM, RESOLVED)
"""States of entries about registry problems with the served version, not about a promotion."""
OPEN_STATES = (REQUESTED, CANARY)
"""States of an open request. It is open until a later entry of its version records the outcome."""
LOCK = 7_236_417
"""Advisory lock on requests, so that concurrent ones create only one entry."""


def request_promotion(
    engine: Engine, version: str, from_version: str | None, actor: str, reason: str, *, forced: bool = False
) -> tuple[Promotion, bool]:
    """Returns the version's open request, created unless there is one, and whether it is new. Raises StoreError."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        session.execute(select(func.pg_advisory_xact_lock(LOCK)))
        if (existing := _open_request(session, version)) is not None:
            return existing, False
        entry = Promotion(
            version=version, from_version=from_version, actor=actor, reason=reason, state=REQUESTED, forced=forced
        )
        session.add(entry)
        session.flush()
        session.refresh(entry)
        return entry, True


def open_request(engine: Engine, version: str) -> Promotion | None:
    """The open request of the version, or None. Raises StoreError."""
    with Session(engine) as session:
        return _open_request(session, version)


def open_requests(engine: Engine) -> list[Promotion]:
    """The open requests of all versions. Raises StoreError."""
    with Session(engine) as session:
        versions = session.scalars(select(Promotion.version).distinct()).all()
        requests = [_open_request(session, version) for version in versions]
        return [request for request in requests if request]


def is_open(engine: Engine, request: Promotion) -> bool:
    """Whether the request has no outcome yet. Raises StoreError."""
    current = open_request(engine, request.version)
    return current is not None and current.promotion_id == request.promotion_id


def consecutive_failures(engine: Engine, version: str) -> int:
    """The number of the version's latest requests that failed consecutively. Raises StoreError."""
    with Session(engine) as session:
        outcomes = [entry.state for entry in session.scalars(_entries_of(version)) if entry.state not in OPEN_STATES]
    return next((count for count, state in enumerate(outcomes) if state != FAILED), len(outcomes))


def failed_forced_request(engine: Engine, version: str) -> Promotion | None:
    """The version's latest request, if it was forced and its deployment failed. Raises StoreError."""
    with Session(engine) as session:
        entries = session.scalars(_entries_of(version)).all()
    if not entries or entries[0].state != FAILED:
        return None
    request = next((entry for entry in entries if entry.state == REQUESTED), None)
    return request if request and request.forced else None


def _open_request(session: Session, version: str) -> Promotion | None:
    entries = session.scalars(_entries_of(version)).all()
    if not entries or entries[0].state not in OPEN_STATES:
        return None
    return next((entry for entry in entries if entry.state == REQUESTED), None)


def _entries_of(version: str) -> Select[Promotion]:
    """Selects the promotion entries of a version, newest first."""
    query = select(Promotion).where(Promotion.version == version, Promotion.state.not_in(PROBLEM_STATES))
    return query.order_by(Promotion.promotion_id.desc())


def record_promotion(
    engine: Engine, version: str, from_version: str | None, actor: str, reason: str, state: str
) -> None:
    """Appends an entry. `from_version` is the previous champion, None for the first. Raises StoreError."""
    entry = {"version": version, "from_version": from_version, "actor": actor, "reason": reason, "state": state}
    with engine.begin() as connection:
        connection.execute(insert(Promotion).values(entry))


def record_problem(engine: Engine, version: str, actor: str, problem: str) -> bool:
    """Appends an entry when the registry's problem with the served version has changed or is resolved.

    Args:
        problem: The current problem; empty when there is none.

    Returns:
        Whether an entry was appended.

    Raises:
        StoreError: Postgres cannot be used.
    """
    with Session(engine) as session:
        entry = session.scalars(_newest(Promotion.state.in_(PROBLEM_STATES))).first()
    last_problem = entry.reason if entry and entry.state == PROBLEM else ""
    if problem == last_problem:
        return False
    reason, state = (problem, PROBLEM) if problem else (f"over: {last_problem}", RESOLVED)
    record_promotion(engine, version, None, actor, reason, state)
    return True


def last_promotion(engine: Engine) -> Promotion | None:
    """The newest promotion entry, or None. Raises StoreError."""
    with Session(engine) as session:
        return session.scalars(_newest(Promotion.state.not_in(PROBLEM_STATES))).first()


def _newest(condition: ColumnElement[bool]) -> Select[Promotion]:
    return select(Promotion).where(condition).order_by(Promotion.promotion_id.desc()).limit(1)


def list_promotions(engine: Engine) -> list[Promotion]:
    """All entries, oldest first. Raises StoreError."""
    with Session(engine) as session:
        return list(session.scalars(select(Promotion).order_by(Promotion.promotion_id)))
