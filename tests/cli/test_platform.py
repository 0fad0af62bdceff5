"""Commands that need the platform, where there is none."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.command_line import Run
from tests.support.ports import free_port


@pytest.mark.parametrize(
    "words",
    [("retrain",), ("retrain", "--wait"), ("promote", "1"), ("rollback",), ("recommend", "42"),
     ("batch", "--out", "all.parquet"), ("secrets", "show", "mlflow")],
    ids=" ".join,
)  # fmt: skip
def test_without_a_platform_a_command_says_how_to_start_one(duotempo: Run, words: tuple[str, ...]) -> None:
    answer = duotempo(*words)
    assert answer.code == 1
    assert "duotempo up" in answer.text


def test_the_login_of_somebody_elses_server_is_that_of_the_environment(duotempo: Run) -> None:
    outside = {"DUOTEMPO_PLATFORM__PREFECT_API_URL": "http://prefect:4200/api"}
    answer = duotempo("secrets", "show", "prefect", **outside)
    assert answer.code == 1
    assert "PREFECT_API_AUTH_STRING" in answer.text
    known = duotempo("secrets", "show", "prefect", **outside, PREFECT_API_AUTH_STRING="ann:of the cluster")
    assert known.out.strip() == "ann:of the cluster"


def test_the_systems_unit_is_shown_and_what_is_not_there_is_told(duotempo: Run, tmp_path: Path) -> None:
    home = tmp_path / "a 100% home"
    variables = {"DUOTEMPO_HOME": str(home), "XDG_CONFIG_HOME": str(tmp_path), "DUOTEMPO_API_KEY": "hush"}
    shown = duotempo("service", "install", "--print", **variables)
    if sys.platform == "linux":
        run = f'ExecStart=/bin/sh "{home}/secrets/service.sh" up'.replace("%", "%%")
        assert {run, "KillMode=process", "Restart=on-failure"} <= set(shown.out.splitlines())
    assert "hush" not in shown.text
    assert not home.exists()
    missing = duotempo("service", "remove", **variables)
    assert missing.code == 1
    assert "duotempo service install" in missing.text


def test_status_tells_programs_and_people_that_nothing_runs(duotempo: Run) -> None:
    said = duotempo("status")
    assert said.code == 3
    assert "the platform is down: duotempo up starts it" in said.text
    answer = duotempo("status", "--json")
    assert answer.code == 3
    status = json.loads(answer.out)
    assert status["state"] == "down"
    assert {"postgres", "prefect", "mlflow"} <= set(status["services"])
    assert not any(service["healthy"] or service["pid"] for service in status["services"].values())
    assert status["served"] is None


def test_down_without_a_platform_is_no_error(duotempo: Run) -> None:
    assert duotempo("down").code == 0


def test_up_with_a_database_that_is_down_names_it_without_its_password(duotempo: Run) -> None:
    port = free_port()
    answer = duotempo("up", DUOTEMPO_DATABASE_URL=f"postgresql://me:s3cret@127.0.0.1:{port}/shop")
    assert answer.code == 1
    assert f"127.0.0.1:{port}" in answer.text
    assert "DUOTEMPO_DATABASE_URL" in answer.text
    assert "s3cret" not in answer.text


def test_an_address_of_another_database_is_refused_without_its_password(duotempo: Run) -> None:
    answer = duotempo("up", DUOTEMPO_DATABASE_URL="mysql://me:s3cret@db/shop")
    assert answer.code == 1
    assert "postgresql://user:password@host:port/name" in answer.text
    assert "s3cret" not in answer.text


def test_datasets_are_listed_and_the_generated_one_is_made(duotempo: Run, cache: Path) -> None:
    assert duotempo("data", "list").out.split() == ["ml-100k", "movielens-latest-small", "chinese-sample"]
    answer = duotempo("data", "get", "chinese-sample")
    assert answer.code == 0, answer.err
    folder = Path(answer.out.splitlines()[-1])
    assert (folder / "interactions.parquet").is_file()
    assert cache in folder.parents


def test_an_unknown_dataset_is_named_with_the_known_ones(duotempo: Run) -> None:
    answer = duotempo("data", "get", "ml-100m")
    assert answer.code == 1
    assert "ml-100m" in answer.text
    assert "chinese-sample" in answer.text
