"""An Optuna study whose trials train the evaluation twin with different settings.

A trial's value is the best mean gain on the validation split of training (`components.fusion.validation`): the last
events of some users before the twin's cut. The targets of `rolling`, which the gate uses, are never read.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from components.fusion.training import Progress, TrainingError
from components.search.preset import SECTIONS
from components.search.space import INTERESTS, ImpossibleValues, SearchError, current_values, space, with_values
from components.settings import Settings
from components.training.run import TrainingRun
from components.training.train import train

REASON = "reason"
"""User attribute with the reason of a failed trial; a failed trial without it was interrupted."""


def folder(run: TrainingRun) -> Path:
    """Folder of the search state, inside the folder of retrainings on the same snapshot."""
    return run.folder / "search"


def open_study(run: TrainingRun) -> optuna.Study:
    """Opens or creates the study of these settings on this snapshot. The first trial uses the current settings.

    Trials interrupted by a killed process are queued again. Median stopping (Google Vizier, Golovin et al. 2017) starts
    after as many epochs as the patience of training.
    """
    folder(run).mkdir(parents=True, exist_ok=True)
    fusion = run.settings.fusion
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder(run) / "trials.journal"))),
        study_name=_fingerprint(run.settings),
        direction="maximize",
        pruner=MedianPruner(n_startup_trials=5, n_warmup_steps=fusion.patience * fusion.validate_every),
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(current_values(run.settings))
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.enqueue_trial(trial.params)
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def ask(study: optuna.Study, run: TrainingRun) -> optuna.Trial:
    """Samples the next trial with TPE (Watanabe 2023, arXiv 2304.11127).

    The sampler is seeded by the trial's number, so an interrupted search continues exactly like an uninterrupted one.
    """
    study.sampler = TPESampler(seed=run.settings.fusion.seed + len(finished_trials(study)))
    return study.ask(space(run.settings))


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Finished trials in order: completed, pruned, or failed with a reason; not interrupted ones."""
    over = study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
    return [trial for trial in over if trial.state != TrialState.FAIL or REASON in trial.user_attrs]


def trial_run(run: TrainingRun, values: dict[str, Any]) -> TrainingRun:
    """The training run of a trial. Trials with the same interest settings share a folder, as their documents are equal.

    The run skips the finishing epochs and the choice of blending weights, because only validation gain is needed.
    Raises ImpossibleValues for an invalid combination of values.
    """
    label = ",".join(f"{name}={value:g}" for name, value in values.items() if name.startswith(INTERESTS))
    settings = with_values(run.settings, values)
    fusion = settings.fusion.model_copy(update={"finish_epochs": 0})
    ranking = settings.ranking.model_copy(update={"mixture": False})
    settings = settings.model_copy(update={"fusion": fusion, "ranking": ranking})
    modified = replace(run, folder=folder(run) / label, settings=settings)
    modified.folder.mkdir(parents=True, exist_ok=True)
    return modified


def measure(study: optuna.Study, trial: optuna.Trial, run: TrainingRun, encoder: str) -> FrozenTrial:
    """Trains the twin of the trial's run and reports its value, pruning or failure to the study.

    The vectors of the run must exist. Raises SearchError when training has no events for validation.
    """
    try:
        return study.tell(trial, best_gain(trial, run, encoder))
    except optuna.TrialPruned:
        return study.tell(trial, state=TrialState.PRUNED)
    except TrainingError as error:
        return fail(study, trial, error)


def fail(study: optuna.Study, trial: optuna.Trial, error: TrainingError | ImpossibleValues) -> FrozenTrial:
    """Marks a trial as failed, with the reason."""
    trial.set_user_attr(REASON, str(error))
    return study.tell(trial, state=TrialState.FAIL)


def best_gain(trial: optuna.Trial, run: TrainingRun, encoder: str) -> float:
    """Mean gain on the validation split at the best epoch. Raises TrialPruned, TrainingError, SearchError."""
    curve: dict[int, float] = {}

    def watch(progress: Progress) -> None:
        for epoch, gain in progress.validations[len(curve) :]:
            curve[epoch] = gain
            trial.report(gain, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    (run.folder / "twin.checkpoint").unlink(
        missing_ok=True
    )  # left by another trial, or by an interrupted run of this one
    train(run, "twin", encoder, watch)
    if not curve:
        raise SearchError("no user has an event to hold out, so trials cannot be compared: ingest more events")
    return max(curve.values())


def best(study: optuna.Study) -> FrozenTrial:
    """The best completed trial, the first on ties. Raises SearchError when there is none."""
    if not study.get_trials(states=[TrialState.COMPLETE]):
        reasons = {trial.user_attrs[REASON] for trial in finished_trials(study) if REASON in trial.user_attrs}
        raise SearchError(f"no trial was completed: {'; '.join(sorted(reasons))}")
    return study.best_trial


def _fingerprint(settings: Settings) -> str:
    """Digest of the current settings and the search space: values of trials are comparable only if it is equal."""
    settings_in_force = {section: getattr(settings, section).model_dump(mode="json") for section in SECTIONS}
    limits = {name: distribution_to_json(distribution) for name, distribution in space(settings).items()}
    return hashlib.sha256(json.dumps([settings_in_force, limits], sort_keys=True).encode()).hexdigest()[:12]
