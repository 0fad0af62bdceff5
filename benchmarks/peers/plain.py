"""The straightforward peer: FastAPI, the history read by SQLAlchemy, a dot product over all items, a sort."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine, insert, select

from components.store.schema import Event, User

BUNDLE = Path(os.environ["DUOTEMPO_BUNDLES"]) / "1"
ITEMS = pq.read_table(BUNDLE / "items.parquet", columns=["item_id", "title", "category"]).to_pylist()
ROWS = {item["item_id"]: row for row, item in enumerate(ITEMS)}
VECTORS = np.load(BUNDLE / "vectors.npy")
engine = create_engine(os.environ["DUOTEMPO_DATABASE_URL"])
app = FastAPI()


class Recommend(BaseModel):
    user_id: str
    k: int = 10


class FeedbackEvent(BaseModel):
    event_id: str
    user_id: str
    item_id: str
    event: str


class Feedback(BaseModel):
    events: list[FeedbackEvent]


@app.post("/recommend")
def recommend(request: Recommend) -> dict[str, Any]:
    with engine.connect() as connection:
        seen = connection.scalars(select(Event.item_id).where(Event.user_id == request.user_id)).all()
    rows = [ROWS[item] for item in seen]
    scores = VECTORS @ VECTORS[rows].mean(axis=0) if rows else VECTORS[:, 0].copy()
    scores[rows] = -np.inf
    best = np.argsort(-scores)[: request.k]
    return {"items": [{**ITEMS[row], "score": float(scores[row]), "rank": n} for n, row in enumerate(best, 1)]}


@app.post("/feedback")
def feedback(body: Feedback) -> dict[str, int]:
    now = datetime.now(UTC)
    with engine.begin() as connection:
        for event in body.events:
            existing = connection.scalar(select(User.user_id).where(User.user_id == event.user_id))
            if existing is None:
                connection.execute(insert(User).values(user_id=event.user_id))
            connection.execute(insert(Event).values(**event.model_dump(), occurred_at=now, source="plain"))
    return {"accepted": len(body.events)}
