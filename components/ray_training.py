"""Training on several GPUs, processes or nodes: Ray Train starts the workers, each runs the one training loop."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from components.errors import DuotempoError
from components.fusion.distributed import rank
from components.fusion.training import Progress
from components.training_run import Part, TrainingRun, train


class RayTrainingError(DuotempoError):
    """Ray cannot train here; the message says what is missing."""


def train_together(run: TrainingRun, part: Part, encoder: str, on_epoch: Callable[[Progress], None]) -> Path:
    """`components.training_run.train` in `fusion.workers` processes at once: the bundle's folder.

    They run on the Ray cluster that RAY_ADDRESS names, else on one of this machine that ends with the training; each
    takes a GPU where the cluster has any, else a CPU, and all must see the folders of the run and of its snapshot.
    on_epoch is called in this process. Raises RayTrainingError without Ray or with too small a cluster, and whatever
    `train` raises.
    """
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig, WorkerGroupError
        from ray.train.torch import TorchTrainer
        from ray.util.queue import Empty, Queue
    except ModuleNotFoundError as error:
        raise RayTrainingError(
            f'{error.name} is not installed, and DUOTEMPO_FUSION__WORKERS is more than 1: pip install "duotempo[ray]"'
        ) from error

    workers = run.settings.fusion.workers
    unread = replace(run)  # so that no table travels: each worker reads its own

    def work() -> None:
        train(unread, part, encoder, reports.put if rank() == 0 else None)

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with ThreadPoolExecutor(max_workers=1) as pool, ray.init():
        resources = ray.cluster_resources()
        kind = "GPU" if "GPU" in resources else "CPU"
        if resources[kind] < workers:
            raise RayTrainingError(
                f"the Ray cluster has {resources[kind]:.0f} {kind} for {workers} workers: add nodes to it, or lower "
                "DUOTEMPO_FUSION__WORKERS"
            )
        reports = Queue(actor_options={"num_cpus": 0})
        trainer = TorchTrainer(
            work,
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=kind == "GPU"),
            run_config=RunConfig(storage_path=str(run.folder / "ray")),
        )
        training = pool.submit(trainer.fit)
        while not (training.done() and reports.empty()):
            with suppress(Empty):
                on_epoch(reports.get(timeout=1))
        try:
            training.result()
        except WorkerGroupError as error:
            for failure in error.worker_failures.values():
                if isinstance(failure, DuotempoError):
                    raise failure from error
            raise
    return run.bundle(part)
