"""Training on several GPUs, processes or nodes: Ray Train starts the workers, each runs the one training loop."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from components.cluster.cluster import RayClusterError, connected, devices, own_error, require_shared
from components.fusion.distributed import rank
from components.fusion.training import Progress
from components.training.run import Part, TrainingRun
from components.training.train import train

log = logging.getLogger(__name__)


def train_together(run: TrainingRun, part: Part, encoder: str, on_epoch: Callable[[Progress], None]) -> Path:
    """`components.training.train.train` in `fusion.workers` processes at once: the bundle's folder.

    They run on the Ray cluster of the settings' `ray_address`, else on one of this machine that ends with the training;
    each takes a GPU where the cluster has any, else a CPU, and all must see the folders of the run and of its snapshot.
    on_epoch is called in this process. Raises RayClusterError without Ray, with too small a cluster or with nodes that
    do not see the run, and whatever `train` raises.
    """
    workers = run.settings.fusion.workers
    lazy_run = replace(run)  # so that no table travels: each worker reads its own

    # Parts from Ray only when the pool is done: a trainer without a connection would make one of its own.
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
            train(lazy_run, part, encoder, reports.put if rank() == 0 else None)

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
                if known_error := own_error(failure):
                    raise known_error from error
            raise
    return run.bundle(part)
