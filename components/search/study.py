"""An Optuna study whose trials are trainings of the evaluation twin by other settings.

A trial's value is the best mean gain on the events that training itself holds out (`components.fusion.holdout`): the
last events of some users from before the twin's cut. The targets of `rolling`, by which the gate judges, are never
read.
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
from components.search.space import INTERESTS, ImpossibleValues, SearchError, changed, in_force, space
from components.settings import Settings
from components.training.run import TrainingRun
from components.training.train import train

REASON = "reason"
"""Why a trial failed; one without it was interrupted."""


def folder(run: TrainingRun) -> Path:
    """Where a search keeps its state, beside what a retraining on the same snapshot writes."""
    return run.folder / "search"


def open_study(run: TrainingRun) -> optuna.Study:
    """The study of these settings on this snapshot, new or as far as it got. Its first trial is the settings in force.

    A trial that a killed process left behind is queued again. Median stopping (Google Vizier, Golovin et al. 2017)
    spares a trial for as many epochs as training itself waits for a gain.
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
        study.enqueue_trial(in_force(run.settings))
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.enqueue_trial(trial.params)
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def ask(study: optuna.Study, run: TrainingRun) -> optuna.Trial:
    """The next trial. Its sampler is seeded by its number, so that an interrupted search goes on as a whole one would.

    TPE: Watanabe 2023, arXiv 2304.11127.
    """
    study.sampler = TPESampler(seed=run.settings.fusion.seed + len(ended(study)))
    return study.ask(space(run.settings))


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were completed, pruned or failed by themselves, in their order."""
    over = study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
    return [trial for trial in over if trial.state != TrialState.FAIL or REASON in trial.user_attrs]


def trial_run(run: TrainingRun, values: dict[str, Any]) -> TrainingRun:
    """The run by other settings, in a folder that trials of the same interests share: their documents are the same.

    It ends with the epochs whose gain is the trial's value: no finishing, no choice of a mixture. Raises
    ImpossibleValues when the values do not go together.
    """
    label = ",".join(f"{name}={value:g}" for name, value in values.items() if name.startswith(INTERESTS))
    settings = changed(run.settings, values)
    fusion = settings.fusion.model_copy(update={"finish_epochs": 0})
    ranking = settings.ranking.model_copy(update={"mixture": False})
    settings = settings.model_copy(update={"fusion": fusion, "ranking": ranking})
    made = replace(run, folder=folder(run) / label, settings=settings)
    made.folder.mkdir(parents=True, exist_ok=True)
    return made


def measure(study: optuna.Study, trial: optuna.Trial, run: TrainingRun, encoder: str) -> FrozenTrial:
    """Trains the twin of the trial's run and tells the study: its value, or that it was pruned or why it failed.

    The vectors of the run must be there. Raises SearchError when training has no events to hold out.
    """
    try:
        return study.tell(trial, best_gain(trial, run, encoder))
    except optuna.TrialPruned:
        return study.tell(trial, state=TrialState.PRUNED)
    except TrainingError as error:
        return fail(study, trial, error)


def fail(study: optuna.Study, trial: optuna.Trial, error: TrainingError | ImpossibleValues) -> FrozenTrial:
    """Tells the study that the trial's values cannot be trained with, and why."""
    trial.set_user_attr(REASON, str(error))
    return study.tell(trial, state=TrialState.FAIL)


def best_gain(trial: optuna.Trial, run: TrainingRun, encoder: str) -> float:
    """Mean gain of the best epoch on the held-out events. Raises TrialPruned, TrainingError, SearchError."""
    curve: dict[int, float] = {}

    def watch(progress: Progress) -> None:
        for epoch, gain in progress.validations[len(curve) :]:
            curve[epoch] = gain
            trial.report(gain, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    (run.folder / "twin.checkpoint").unlink(missing_ok=True)  # of another trial, or of this one when it was interrupted
    train(run, "twin", encoder, watch)
    if not curve:
        raise SearchError("no user has an event to hold out, so trials cannot be compared: ingest more events")
    return max(curve.values())


def best(study: optuna.Study) -> FrozenTrial:
    """The best trial, of equal ones the first. Raises SearchError when none was completed."""
    if not study.get_trials(states=[TrialState.COMPLETE]):
        reasons = {trial.user_attrs[REASON] for trial in ended(study) if REASON in trial.user_attrs}
        raise SearchError(f"no trial was completed: {'; '.join(sorted(reasons))}")
    return study.best_trial


def _fingerprint(settings: Settings) -> str:
    """Changes with the settings in force and with the space: values of different ones are not comparable."""
    settings_in_force = {section: getattr(settings, section).model_dump(mode="json") for section in SECTIONS}
    limits = {name: distribution_to_json(distribution) for name, distribution in space(settings).items()}
    return hashlib.sha256(json.dumps([settings_in_force, limits], sort_keys=True).encode()).hexdigest()[:12]
