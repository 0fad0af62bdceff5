"""The steps of one adaptation on one snapshot. `flows/adapt.py` runs them as tasks, `adapt_encoder` in this process.

HOME/encoders/NAME is the encoder; HOME/runs/SNAPSHOT/NAME/{base,adapted} are the two trainings that evaluate it.
"""

import hashlib
import json
import logging
import re
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from components.adaptation.comparison import Comparison, compare
from components.adaptation.pairs import Pairs, make_pairs
from components.embedding.embed import embed
from components.embedding.encoder import make_encoder
from components.embedding.vectors import text_hash, write_vectors
from components.settings import Settings
from components.training.run import TrainingRun, extract_interests
from components.training.train import train

if TYPE_CHECKING:
    from components.adaptation.training import Adaptation

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdaptationRun:
    """One adaptation on one snapshot.

    Attributes:
        name: Name of the adapted encoder: its base, the method, and a digest of everything that affects it.
        base: The training run with the encoder of the settings.
    """

    name: str
    base: TrainingRun

    @classmethod
    def open(cls, snapshot_path: Path, settings: Settings) -> "AdaptationRun":
        """The adaptation of these settings on a snapshot. Raises EncoderError when the encoder does not exist."""
        base = TrainingRun.open(snapshot_path, settings)
        base_settings = base.settings
        identity = {
            "snapshot": base.snapshot.manifest["id"],
            "encoder": make_encoder(base_settings.embedding).identity,
            "seed": base_settings.fusion.seed,
            "cut": base_settings.evaluation.cut_quantile,
            **{
                part: getattr(base_settings, part).model_dump(mode="json")
                for part in ("adaptation", "events", "interests")
            },
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", base_settings.embedding.model.removeprefix("packaged:")).strip("-")[-40:]
        name = f"{slug}-{base_settings.adaptation.method}-{digest}"
        return cls(name, replace(base, folder=_make_folder(base.folder / name / "base")))

    @property
    def encoder(self) -> Path:
        """The folder of the adapted encoder."""
        return self.base.settings.home.absolute() / "encoders" / self.name

    @cached_property
    def adapted(self) -> TrainingRun:
        """The training run with the adapted encoder; it differs from `base` only in the encoder."""
        settings = self.base.settings
        embedding = settings.embedding.model_copy(update={"model": str(self.encoder)})
        return replace(
            self.base,
            folder=_make_folder(self.base.folder.with_name("adapted")),
            settings=settings.model_copy(update={"embedding": embedding}),
        )


def collect_pairs(run: AdaptationRun) -> Pairs:
    """Writes the interests of both training runs, and builds pairs from the events before the cut of `rolling`.

    Raises AdaptationError, see `make_pairs`.
    """
    base = run.base
    for evaluation in (base, run.adapted):
        extract_interests(evaluation)
    return make_pairs(
        base.events("twin"),
        base.items,
        base.interests(),
        base.settings.events,
        base.settings.adaptation,
        cut=base.cut("twin"),
        seed=base.settings.fusion.seed,
    )


def train_encoder(run: AdaptationRun, pairs: Pairs, *, show_progress: bool = True) -> "Adaptation":
    """Trains the encoder, or reuses the one of an earlier attempt. Raises AdaptationError, EncoderError."""
    from components.adaptation.training import Adaptation, adapt  # imports peft, which takes seconds

    if run.encoder.is_dir():
        logger.info("%s exists already and is not trained again", run.encoder)
        return Adaptation.read(run.encoder)
    settings = run.base.settings
    return adapt(
        pairs,
        settings.embedding,
        settings.adaptation,
        run.encoder,
        seed=settings.fusion.seed,
        show_progress=show_progress,
    )


def train_twin(run: TrainingRun, *, show_progress: bool = True) -> Path:
    """Embeds the texts with the encoder of the run and trains its twin. Returns the folder of the bundle."""
    texts = run.texts()
    embedded = embed(texts, run.settings.embedding, run.settings.cache / "embeddings", progress=show_progress)
    write_vectors(run.vectors_file, [text_hash(text) for text in texts], embedded.vectors)
    return train(run, "twin", embedded.encoder)


def compare_encoders(run: AdaptationRun, adaptation: "Adaptation") -> Comparison:
    """Compares the two twins on the `rolling` split."""
    manifest = run.base.snapshot.manifest
    facts = {
        "encoder": run.name,
        "snapshot": run.base.snapshot_path.name,
        "cut of pairs and twins": run.base.cut("twin").isoformat(),
        "events": manifest["rows"]["events"],
        "items": manifest["rows"]["items"],
        "targets": len(run.base.rolling.targets),
        **{name.replace("_", " "): value for name, value in asdict(adaptation).items()},
    }
    return compare(run.base, run.adapted, facts)


def adapt_encoder(
    snapshot_path: Path, settings: Settings, *, show_progress: bool = True
) -> tuple[Path, "Adaptation", Comparison]:
    """Runs all steps without any server. Returns the encoder's folder, the adaptation and its evaluation."""
    run = AdaptationRun.open(snapshot_path, settings)
    adaptation = train_encoder(run, collect_pairs(run), show_progress=show_progress)
    for evaluation in (run.base, run.adapted):
        train_twin(evaluation, show_progress=show_progress)
    return run.encoder, adaptation, compare_encoders(run, adaptation)


def _make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
