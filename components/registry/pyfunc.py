"""The registered model in MLflow's format (models from code): histories in, recommendations out.

Input: one row per user with `history` (item ids, oldest first) and `k`. Output: `item_ids` and `scores`, best first,
at most k, without items of the history. Unknown ids are ignored; a user without known items gets popular ones.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray

from components.bundle.bundle import Bundle
from components.core.columns import Columns
from components.histories.states import UserState
from components.ranking.scorer import Scorer

SECONDS_BETWEEN = 3600.0
"""Histories have no times, so events are assumed an hour apart, the last one at the bundle's cut."""


class RegisteredModel(PythonModel):
    """Scores with the same Scorer as the service and the evaluation."""

    def load_context(self, context: Any) -> None:
        bundle = Bundle.read(Path(context.artifacts["bundle"]))
        self._scorer = Scorer(bundle)
        self._items = np.array(bundle.items[Columns.ITEM].to_pylist(), dtype=object)
        self._now = datetime.fromisoformat(bundle.manifest["cut"]).timestamp()

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        states = [self._state(history) for history in model_input["history"]]
        totals = self._scorer.score(states).total
        answers = [self._top(*row) for row in zip(totals, states, model_input["k"], strict=True)]
        return pd.DataFrame(answers, columns=["item_ids", "scores"])

    def _state(self, history: Sequence[str]) -> UserState:
        rows = np.array([self._scorer.row[item] for item in history if item in self._scorer.row], dtype=np.int64)
        times = self._now - SECONDS_BETWEEN * np.arange(len(rows))[::-1]
        return UserState(rows, times, np.ones(len(rows), dtype=np.float32), self._now)

    def _top(self, total: NDArray[np.float32], state: UserState, k: int) -> tuple[list[str], list[float]]:
        unseen = np.setdiff1d(np.arange(len(total)), state.items)
        best = unseen[np.argsort(-total[unseen], kind="stable")[:k]]
        return self._items[best].tolist(), total[best].astype(float).tolist()


set_model(RegisteredModel())
