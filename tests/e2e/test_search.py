"""A hyper-parameter search, from the command to a preset."""

import json

import pytest
from mlflow import MlflowClient

from components.settings import Settings
from tests.support.command_result import Answer
from tests.support.shell import Shell

pytestmark = pytest.mark.timeout(900)


@pytest.mark.long
def test_a_search_saves_its_best_trial_as_a_preset(shell: Shell, ingested: Answer) -> None:
    done = shell.run("search", "--trials", "2", "--name", "found", "--wait")
    assert "DUOTEMPO_PRESET=found duotempo up && DUOTEMPO_PRESET=found duotempo retrain" in done.text
    client = MlflowClient(shell.mlflow_url)
    experiment = client.get_experiment_by_name("duotempo-search")
    assert experiment
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert [run.info.run_name for run in trials] == ["trial 0", "trial 1"]
    values = [run.data.metrics["validation_gain"] for run in trials]
    assert parent.data.metrics == pytest.approx({"best": max(values), "in_force": values[0]})
    assert trials[0].data.params.items() <= parent.data.params.items()
    curve = client.get_metric_history(trials[0].info.run_id, "gain")
    assert values[0] == max(point.value for point in curve)
    assert [run.info.status for run in runs] == ["FINISHED"] * 3

    best = trials[values.index(max(values))]
    preset = Settings(preset="found", home=shell.home)
    assert str(preset.fusion.width) == best.data.params["fusion.width"]
    assert float(best.data.params["fusion.learning_rate"]) == preset.fusion.learning_rate
    assert preset.fusion.batch_size == Settings(preset="demo").fusion.batch_size
    (search,) = shell.prefect.runs("search")
    rows = json.loads(shell.prefect.artifacts(search["id"])["search"]["data"])
    assert [row["gain"] for row in rows] == values
