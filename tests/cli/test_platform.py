"""Commands that need a platform, without one."""

import json
import sys
from pathlib import Path

import pytest

from cli.platform import rebuild_hint
from tests.support.command_result import Run
from tests.support.ports import free_port


@pytest.mark.parametrize(
    "words",
    [("retrain",), ("retrain", "--wait"), ("promote", "1"), ("rollback",), ("recommend", "42"),
     ("batch", "--out", "all.parquet"), ("secrets", "show", "mlflow")],
    ids=" ".join,
)  # fmt: skip
def test_commands_without_platform_suggest_up(duotempo: Run, words: tuple[str, ...]) -> None:
    answer = duotempo(*words)
    assert answer.code == 1
    assert "duotempo up" in answer.text


def test_login_of_external_server_comes_from_the_environment(duotempo: Run) -> None:
    outside = {"DUOTEMPO_PLATFORM__PREFECT_API_URL": "http://prefect:4200/api"}
    answer = duotempo("secrets", "show", "prefect", **outside)
    assert answer.code == 1
    assert "PREFECT_API_AUTH_STRING" in answer.text
    known = duotempo("secrets", "show", "prefect", **outside, PREFECT_API_AUTH_STRING="ann:of the cluster")
    assert known.out.strip() == "ann:of the cluster"


def test_service_unit_is_printed_and_missing_unit_is_reported(duotempo: Run, tmp_path: Path) -> None:
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


def test_status_of_a_stopped_platform_as_text_and_json(duotempo: Run) -> None:
    text = duotempo("status")
    assert text.code == 3
    assert "the platform is down: duotempo up starts it" in text.text
    answer = duotempo("status", "--json")
    assert answer.code == 3
    status = json.loads(answer.out)
    assert status["state"] == "down"
    assert {"postgres", "prefect", "mlflow"} <= set(status["services"])
    assert not any(service["healthy"] or service["pid"] for service in status["services"].values())
    assert status["served"] is None


def test_down_without_a_platform_succeeds(duotempo: Run) -> None:
    assert duotempo("down").code == 0


def test_up_with_database_down_hides_password(duotempo: Run) -> None:
    port = free_port()
    answer = duotempo("up", DUOTEMPO_DATABASE_URL=f"postgresql://me:s3cret@127.0.0.1:{port}/shop")
    assert answer.code == 1
    assert f"127.0.0.1:{port}" in answer.text
    assert "DUOTEMPO_DATABASE_URL" in answer.text
    assert "s3cret" not in answer.text


def test_non_postgres_url_error_hides_password(duotempo: Run) -> None:
    answer = duotempo("up", DUOTEMPO_DATABASE_URL="mysql://me:s3cret@db/shop")
    assert answer.code == 1
    assert "postgresql://user:password@host:port/name" in answer.text
    assert "s3cret" not in answer.text


def test_datasets_are_listed_and_chinese_sample_is_generated(duotempo: Run, cache: Path) -> None:
    assert duotempo("data", "list").out.split() == ["ml-100k", "movielens-latest-small", "chinese-sample"]
    answer = duotempo("data", "get", "chinese-sample")
    assert answer.code == 0, answer.err
    folder = Path(answer.out.splitlines()[-1])
    assert (folder / "interactions.parquet").is_file()
    assert cache in folder.parents


def test_unknown_dataset_error_lists_known_datasets(duotempo: Run) -> None:
    answer = duotempo("data", "get", "ml-100m")
    assert answer.code == 1
    assert "ml-100m" in answer.text
    assert "chinese-sample" in answer.text


def test_up_says_how_to_rebuild_a_bento_of_another_release(tmp_path: Path) -> None:
    served = {"bento_tag": "duotempo:v3-a", "model_version": "3"}
    folder = tmp_path / "bentos" / "duotempo" / "v3-a"
    folder.mkdir(parents=True)
    (folder / "bento.yaml").write_text("labels:\n  code: 0123456789ab\n  versions: '3'\n")
    hint = rebuild_hint(served, tmp_path)
    assert hint
    assert "`duotempo promote 3`" in hint
    assert rebuild_hint(None, tmp_path) is None
