"""Files for containers, clusters and Prometheus pass infra/check.py, and broken ones fail."""

import subprocess
from pathlib import Path

import pytest

from infra.processes.programs import PROJECT


@pytest.mark.parametrize("name", ["texts", "compose", "dockerfile", "chart", "rules"])
def test_check_passes(checkers: Path, name: str) -> None:
    done = subprocess.run(
        [checkers / "python", PROJECT / "infra" / "check.py", name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("part", "broken", "named"),
    [
        ("dockerfile", ("docker/Dockerfile", "USER 10001:10001", "USER root"), "USER"),
        ("compose", ("compose.yaml", "chrislusf/seaweedfs:3.97", "chrislusf/seaweedfs:latest"), "storage"),
        ("compose", ("compose.yaml", "${GRAFANA_PASSWORD:?fill in infra/.env}", "admin"), "docker-compose"),
        ("compose", ("compose.yaml", ', "spool:/var/lib/duotempo-spool"', ""), "spool"),
        ("chart", ("helm/duotempo/templates/prefect.yaml", "containerPort: 4200", "containerPort: http"), "4200|http"),
        ("chart", ("helm/duotempo/templates/_helpers.tpl", "drop: [ALL]", "drop: []"), "open"),
        ("rules", ("prometheus/rules.yml", "> 0.01", "> 0.5"), "ErrorRate"),
    ],
)
def test_check_finds_broken_files(
    checkers: Path, tmp_path: Path, part: str, broken: tuple[str, str, str], named: str
) -> None:
    copy = tmp_path / "infra"
    subprocess.run(["cp", "-r", PROJECT / "infra", copy], check=True)
    file, before, after = broken
    text = (copy / file).read_text()
    assert before in text
    (copy / file).write_text(text.replace(before, after))
    done = subprocess.run([checkers / "python", copy / "check.py", part], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert any(word in done.stdout + done.stderr for word in named.split("|"))
