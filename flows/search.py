"""snapshot > validate > interests > embed > trials > preset."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import optuna
from optuna.trial import FrozenTrial
from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from pydantic import Field

from components import registry
from components.search import preset, study
from components.search.space import ImpossibleValues, current_values, with_values
from components.settings import Settings
from components.training import run as steps
from components.training.run import TrainingRun
from flows.retrain import embed, interests, snapshot, validate

MLFLOW_RUN = "mlflow_run"


@flow(name="search", flow_run_name="search for preset {name}", persist_result=True, result_serializer="json")
def search(trials: Annotated[int, Field(ge=1)], name: str) -> dict[str, Any]:
    """Runs `trials` trials of hyper-parameters, the current settings first, and saves the best as preset `name`.

    A retried run has the same snapshot, finds its study and runs only the remaining trials.
    """
    settings = Settings()
    file = preset.custom_preset_file(settings.home, name)
    run = TrainingRun.open(snapshot(settings, flow_run.scheduled_start_time), settings)
    validate(run, "snapshot", steps.validate_snapshot)
    base = study.trial_run(run, current_values(settings))
    encoder = embed(base, interests(base))["encoder"]
    optuna_study = study.open_study(run)
    parent = open_mlflow_run(optuna_study, run, name)
    for number in range(len(study.finished_trials(optuna_study)), trials):
        trial(run, optuna_study, parent, encoder, number)
    return save_results(settings, run, optuna_study, parent, file)


def open_mlflow_run(optuna_study: optuna.Study, run: TrainingRun, name: str) -> str:
    """Returns the MLflow parent run of the study's trials; a resumed study keeps its own."""
    if MLFLOW_RUN not in optuna_study.user_attrs:
        manifest = run.snapshot.manifest
        tags = {"snapshot_id": manifest["id"], "cut": manifest["cut"], "study": optuna_study.study_name}
        settings = run.settings.model_dump(mode="json")
        uri = os.environ["MLFLOW_TRACKING_URI"]
        optuna_study.set_user_attr(MLFLOW_RUN, registry.open_search(uri, name, settings, tags))
    return str(optuna_study.user_attrs[MLFLOW_RUN])


@task(task_run_name="trial {number}", timeout_seconds=6 * 3600, cache_policy=NO_CACHE)
def trial(run: TrainingRun, optuna_study: optuna.Study, parent: str, encoder: str, number: int) -> None:
    """Trains the twin with the next set of values; embeds the documents first if the interests' settings are new."""
    new_trial = study.ask(optuna_study, run)
    try:
        candidate = study.trial_run(run, new_trial.params)
    except ImpossibleValues as error:
        return log(parent, study.fail(optuna_study, new_trial, error))
    if not candidate.vectors_file.is_file():
        embed(candidate, interests(candidate))
    log(parent, study.measure(optuna_study, new_trial, candidate, encoder))


def save_results(
    settings: Settings, run: TrainingRun, optuna_study: optuna.Study, parent: str, file: Path
) -> dict[str, Any]:
    """Writes the best set as a preset and the table of trials as an artifact, and closes the MLflow run."""
    done, best = study.finished_trials(optuna_study), study.best(optuna_study)
    wanted, first = with_values(settings, best.params), done[0].value
    notes = {
        f"Preset {file.stem!r}, by duotempo search": datetime.now(UTC).date().isoformat(),
        "study": f"{optuna_study.study_name}, {len(done)} trials, the best is number {best.number}",
        "validation gain": f"{best.value}, with the settings in force {first}",
        "snapshot": run.snapshot_path.name,
    }
    preset.write_preset(file, wanted, notes)
    rows = [row(finished) for finished in done]
    create_table_artifact(table=rows, key="search", description=f"Trials of the search for preset {file.stem}")
    metrics = {what: value for what, value in {"best": best.value, "in_force": first}.items() if value is not None}
    registry.close_search(os.environ["MLFLOW_TRACKING_URI"], parent, metrics, file)
    return {
        "preset": file.stem,
        "file": str(file),
        "snapshot": str(run.snapshot_path),
        "best": best.number,
        "trials": rows,
        "shadowed": preset.shadowed(file.stem, wanted),
    }


def log(parent: str, finished: FrozenTrial) -> None:
    """Logs a trial as a nested run in MLflow."""
    assert finished.datetime_start and finished.datetime_complete
    registry.log_trial(
        os.environ["MLFLOW_TRACKING_URI"],
        parent,
        number=finished.number,
        state=finished.state.name.lower(),
        reason=finished.user_attrs.get(study.REASON, ""),
        params=finished.params,
        curve=finished.intermediate_values,
        value=finished.value,
        began=finished.datetime_start,
        over=finished.datetime_complete,
    )


def row(finished: FrozenTrial) -> dict[str, Any]:
    """One table row of a trial."""
    return {
        "trial": finished.number,
        "state": finished.state.name.lower(),
        "gain": finished.value,
        "seconds": round(finished.duration.total_seconds(), 1) if finished.duration else None,
        **finished.params,
    }
