"""Times the epochs of RecTools' SASRec: `.venv-peers/bin/python sasrec.py EVENTS.parquet OPTIONS`.

EVENTS: user_id, item_id, timestamp (epoch seconds). OPTIONS: JSON with threads, epochs, accelerator (cpu or gpu), and
`model`, the keyword arguments of SASRecModel. Prints JSON: seconds of each epoch, and sequences and targets per epoch.
"""

import json
import logging
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


class EpochTimes(Callback):
    """Wall-clock seconds of each training epoch, data loading included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.started)


def main(events: pd.DataFrame, options: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(options["threads"])
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    def trainer() -> Trainer:
        epochs = options["epochs"]
        return Trainer(
            max_epochs=epochs,
            min_epochs=epochs,
            accelerator=options["accelerator"],
            devices=1,
            callbacks=[EpochTimes()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    data = pd.DataFrame(
        {
            Columns.User: events["user_id"].to_numpy(),
            Columns.Item: events["item_id"].to_numpy(),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(events["timestamp"].to_numpy(), unit="s"),
        }
    )
    model = SASRecModel(get_trainer_func=trainer, **options["model"])
    model.fit(Dataset.construct(data))
    # the model trains with a copy of its trainer, callbacks included
    times = next(callback for callback in model.fit_trainer.callbacks if isinstance(callback, EpochTimes))
    sizes = events.groupby("user_id").size().to_numpy()
    targets = np.minimum(sizes - 1, options["model"]["session_max_len"])
    return {"seconds": times.seconds, "sequences": int((targets > 0).sum()), "targets": int(targets.sum())}


if __name__ == "__main__":
    print(json.dumps(main(pd.read_parquet(sys.argv[1]), json.loads(sys.argv[2]))))
