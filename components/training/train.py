"""Trains a model of a training run, the evaluation twin or the served model, in this process."""

from collections.abc import Callable
from pathlib import Path

from components.embedding.vectors import read_vectors
from components.fusion.distributed import rank
from components.fusion.fit import fit
from components.fusion.inputs import Catalogue
from components.fusion.training import Progress
from components.interests.documents import item_texts
from components.ranking.candidates import with_indexes
from components.training.run import ModelRole, TrainingRun


def train(run: TrainingRun, role: ModelRole, encoder: str, on_epoch: Callable[[Progress], None] | None = None) -> Path:
    """Trains a model, resuming from its checkpoint if there is one, writes its bundle, and returns the bundle's folder.

    In distributed training every process calls this on the same folder, and process 0 writes.
    """
    keywords = run.keywords()
    catalogue = Catalogue(
        items=run.items,
        texts=read_vectors(run.vectors_file, item_texts(run.items)),
        keywords=keywords.matrix,
        terms=keywords.terms,
        encoder=encoder,
    )
    fitted = fit(
        run.events(role),
        catalogue,
        run.documents(role),
        run.settings,
        cut=run.cut(role).to_pydatetime(),
        held_out="recent",
        checkpoint=run.folder / f"{role}.checkpoint",
        on_epoch=on_epoch,
    )
    if rank() == 0:
        served = role == "model"
        bundle = with_indexes(fitted.bundle, run.settings.ranking.exact_below) if served else fitted.bundle
        bundle.write(run.bundle(role))
    return run.bundle(role)
