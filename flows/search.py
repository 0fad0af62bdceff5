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
from components.search.space import ImpossibleValues, changed, in_force
from components.settings import Settings
from components.training import run as steps
from components.training.run import TrainingRun
from flows.retrain import embed, interests, snapshot, validate

MLFLOW_RUN = "mlflow_run"


@flow(name="search", flow_run_name="search for preset {name}", persist_result=True, result_serializer="json")
def search(trials: Annotated[int, Field(ge=1)], name: str) -> dict[str, Any]:
    """Tries `trials` sets of hyper-parameters, the settings in force first, and keeps the best one as preset `name`.

    A run that was killed and is retried has the same snapshot, finds its study there and does only what is left.
    """
    settings = Settings()
    file = preset.own_preset(settings.home, name)
    run = TrainingRun.open(snapshot(settings, flow_run.scheduled_start_time), settings)
    validate(run, "snapshot", steps.validate_snapshot)
    base = study.trial_run(run, in_force(settings))
    encoder = embed(base, interests(base))["encoder"]
    opened = study.open_study(run)
    parent = mlflow_run(opened, run, name)
    for number in range(len(study.ended(opened)), trials):
        trial(run, opened, parent, encoder, number)
    return keep(settings, run, opened, parent, file)


def mlflow_run(opened: optuna.Study, run: TrainingRun, name: str) -> str:
    """The MLflow run that the study's trials are nested in; a study that goes on keeps its own."""
    if MLFLOW_RUN not in opened.user_attrs:
        manifest = run.snapshot.manifest
        tags = {"snapshot_id": manifest["id"], "cut": manifest["cut"], "study": opened.study_name}
        settings = run.settings.model_dump(mode="json")
        uri = os.environ["MLFLOW_TRACKING_URI"]
        opened.set_user_attr(MLFLOW_RUN, registry.open_search(uri, name, settings, tags))
    return str(opened.user_attrs[MLFLOW_RUN])


@task(task_run_name="trial {number}", timeout_seconds=6 * 3600, cache_policy=NO_CACHE)
def trial(run: TrainingRun, opened: optuna.Study, parent: str, encoder: str, number: int) -> None:
    """Trains the twin by the next set of values; the documents are written and embedded when its interests are new."""
    asked = study.ask(opened, run)
    try:
        tried = study.trial_run(run, asked.params)
    except ImpossibleValues as error:
        return log(parent, study.fail(opened, asked, error))
    if not tried.vectors_file.is_file():
        embed(tried, interests(tried))
    log(parent, study.measure(opened, asked, tried, encoder))


def keep(settings: Settings, run: TrainingRun, opened: optuna.Study, parent: str, file: Path) -> dict[str, Any]:
    """Writes the best set as a preset, the table of the trials, and the end of the run in MLflow."""
    ended, best = study.ended(opened), study.best(opened)
    wanted, first = changed(settings, best.params), ended[0].value
    notes = {
        f"Preset {file.stem!r}, by duotempo search": datetime.now(UTC).date().isoformat(),
        "study": f"{opened.study_name}, {len(ended)} trials, the best is number {best.number}",
        "validation gain": f"{best.value}, with the settings in force {first}",
        "snapshot": run.snapshot_path.name,
    }
    preset.write_preset(file, wanted, notes)
    rows = [row(one) for one in ended]
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


def log(parent: str, ended: FrozenTrial) -> None:
    """A trial's nested run in MLflow."""
    assert ended.datetime_start and ended.datetime_complete
    registry.log_trial(
        os.environ["MLFLOW_TRACKING_URI"],
        parent,
        number=ended.number,
        state=ended.state.name.lower(),
        reason=ended.user_attrs.get(study.REASON, ""),
        params=ended.params,
        curve=ended.intermediate_values,
        value=ended.value,
        began=ended.datetime_start,
        over=ended.datetime_complete,
    )


def row(ended: FrozenTrial) -> dict[str, Any]:
    """A trial as a line of a table."""
    return {
        "trial": ended.number,
        "state": ended.state.name.lower(),
        "gain": ended.value,
        "seconds": round(ended.duration.total_seconds(), 1) if ended.duration else None,
        **ended.params,
    }
