"""Distributed training with Ray Train on several GPUs, processes or nodes; each worker runs the usual loop."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from components.cluster.cluster import RayClusterError, connected, devices, require_shared, unwrap_error
from components.fusion.distributed import rank
from components.fusion.training import Progress
from components.training.run import ModelRole, TrainingRun
from components.training.train import train

log = logging.getLogger(__name__)


def train_distributed(run: TrainingRun, role: ModelRole, encoder: str, on_epoch: Callable[[Progress], None]) -> Path:
    """Runs `components.training.train.train` in `fusion.workers` processes and returns the bundle's folder.

    The workers run on the cluster at `ray_address`, or on a temporary local cluster. Each takes a GPU if the cluster
    has any, else a CPU. All need access to the folders of the run and of its snapshot.

    Args:
        on_epoch: Called in this process.

    Raises:
        RayClusterError: Ray is missing, the cluster is too small, or a node cannot read the run's folder.
        DuotempoError: Whatever `train` raises in a worker.
    """
    workers = run.settings.fusion.workers
    lazy_run = replace(run)  # without cached tables: each worker reads the files itself

    # Disconnect from Ray only after the pool has finished: a trainer without a connection would start its own cluster.
    with connected(run.settings.ray_address), ThreadPoolExecutor(max_workers=1) as pool:
        import ray
        from ray.train import RunConfig, ScalingConfig, WorkerGroupError
        from ray.train.torch import TorchTrainer
        from ray.util.queue import Empty, Queue

        kind, available = devices()
        if available < workers:
            raise RayClusterError(
                f"the Ray cluster has {available} {kind} for {workers} workers: add nodes to it, or lower "
                "DUOTEMPO_FUSION__WORKERS"
            )
        require_shared(run.folder)
        reports = Queue(actor_options={"num_cpus": 0})

        def work() -> None:
            reports.put(ray.get_runtime_context().get_node_id())
            train(lazy_run, role, encoder, reports.put if rank() == 0 else None)

        trainer = TorchTrainer(
            work,
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=kind == "GPU"),
            run_config=RunConfig(storage_path=str(run.folder / "ray")),
        )
        training = pool.submit(trainer.fit)
        while not (training.done() and reports.empty()):
            with suppress(Empty):
                report = reports.get(timeout=1)
                if isinstance(report, Progress):
                    on_epoch(report)
                else:
                    log.info("a worker on a %s of node %s", kind, report)
        try:
            training.result()
        except WorkerGroupError as error:
            for failure in error.worker_failures.values():
                if known_error := unwrap_error(failure):
                    raise known_error from error
            raise
    return run.bundle(role)
