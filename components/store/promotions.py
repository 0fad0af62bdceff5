"""The append-only record of what was promoted, refused or rolled back: MLflow keeps none."""

from sqlalchemy import ColumnElement, Engine, Select, func, insert, select
from sqlalchemy.orm import Session

from components.store.schema import Promotion

REQUESTED, CANARY, SERVING = "requested", "canary", "serving"
REFUSED, FAILED, SUPERSEDED = "refused", "failed", "superseded"
PROBLEM, RESOLVED = "problem", "healed"
PROBLEM_STATES = (PROBLEM, RESOLVED)
"""Lines of what the registry lacks of the version that serves: they tell of no promotion."""
OPEN_STATES = (REQUESTED, CANARY)
"""The states of a line. A request is open until a later line of its version tells how it ended."""
LOCK = 7_236_417
"""Of requests, so that two that come at once make one."""


def request_promotion(
    engine: Engine, version: str, from_version: str | None, actor: str, reason: str
) -> tuple[Promotion, bool]:
    """The open request of the version, and whether it is a new one: there is one at a time. Raises StoreError."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        session.execute(select(func.pg_advisory_xact_lock(LOCK)))
        if (last := _open_request(session, version)) is not None:
            return last, False
        line = Promotion(version=version, from_version=from_version, actor=actor, reason=reason, state=REQUESTED)
        session.add(line)
        session.flush()
        session.refresh(line)
        return line, True


def open_request(engine: Engine, version: str) -> Promotion | None:
    """The request of the version of which nothing tells yet how it ended. Raises StoreError."""
    with Session(engine) as session:
        return _open_request(session, version)


def open_requests(engine: Engine) -> list[Promotion]:
    """Those of all versions. Raises StoreError."""
    with Session(engine) as session:
        versions = session.scalars(select(Promotion.version).distinct()).all()
        found = [_open_request(session, version) for version in versions]
        return [request for request in found if request]


def is_open(engine: Engine, request: Promotion) -> bool:
    """Whether nothing tells yet how the request ended. Raises StoreError."""
    last = open_request(engine, request.version)
    return last is not None and last.promotion_id == request.promotion_id


def failures_in_a_row(engine: Engine, version: str) -> int:
    """How many of the version's latest requests failed, one after the other. Raises StoreError."""
    with Session(engine) as session:
        ends = [line.state for line in session.scalars(_lines_of(version)) if line.state not in OPEN_STATES]
    return next((count for count, state in enumerate(ends) if state != FAILED), len(ends))


def _open_request(session: Session, version: str) -> Promotion | None:
    lines = session.scalars(_lines_of(version)).all()
    if not lines or lines[0].state not in OPEN_STATES:
        return None
    return next((line for line in lines if line.state == REQUESTED), None)


def _lines_of(version: str) -> Select[Promotion]:
    """The lines of the version's promotions, newest first."""
    own = select(Promotion).where(Promotion.version == version, Promotion.state.not_in(PROBLEM_STATES))
    return own.order_by(Promotion.promotion_id.desc())


def record_promotion(
    engine: Engine, version: str, from_version: str | None, actor: str, reason: str, state: str
) -> None:
    """Adds a line. `from_version` is the champion before, None for the first. Raises StoreError."""
    line = {"version": version, "from_version": from_version, "actor": actor, "reason": reason, "state": state}
    with engine.begin() as connection:
        connection.execute(insert(Promotion).values(line))


def note_problem(engine: Engine, version: str, actor: str, problem: str) -> bool:
    """Adds a line when the registry lacks something else of the version that serves than it did before, and when it
    lacks nothing any more (an empty text); whether there is a new line. Raises StoreError."""
    with Session(engine) as session:
        last = session.scalars(_newest(Promotion.state.in_(PROBLEM_STATES))).first()
    told = last.reason if last and last.state == PROBLEM else ""
    if problem == told:
        return False
    reason, state = (problem, PROBLEM) if problem else (f"over: {told}", RESOLVED)
    record_promotion(engine, version, None, actor, reason, state)
    return True


def last_promotion(engine: Engine) -> Promotion | None:
    """The newest line of a promotion. Raises StoreError."""
    with Session(engine) as session:
        return session.scalars(_newest(Promotion.state.not_in(PROBLEM_STATES))).first()


def _newest(condition: ColumnElement[bool]) -> Select[Promotion]:
    return select(Promotion).where(condition).order_by(Promotion.promotion_id.desc()).limit(1)


def list_promotions(engine: Engine) -> list[Promotion]:
    """All lines, oldest first. Raises StoreError."""
    with Session(engine) as session:
        return list(session.scalars(select(Promotion).order_by(Promotion.promotion_id)))
