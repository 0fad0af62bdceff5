"""The base job templates, rendered by Prefect as in a worker."""

import asyncio
import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import PrefectClient
from prefect.utilities.schema_tools.validation import ValidationError, validate
from prefect.workers.base import BaseJobConfiguration
from pydantic import Field

from infra.processes.programs import PROJECT

POOLS = PROJECT / "infra" / "pools"
VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]


class Configuration(BaseJobConfiguration):
    """Fields that the Docker and Kubernetes workers read, in addition to the base."""

    image: str = ""
    networks: list[str] = Field(default_factory=list)
    volumes: list[str] = Field(default_factory=list)
    mem_limit: str = ""
    container_create_kwargs: dict[str, Any] = Field(default_factory=dict)
    job_manifest: dict[str, Any] = Field(default_factory=dict)


def template(kind: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((POOLS / f"{kind}.json").read_text())
    return loaded


async def render(kind: str, variables: dict[str, Any]) -> Configuration:
    base = template(kind)
    validate(variables, base["variables"], raise_on_error=True)
    client = PrefectClient("http://127.0.0.1:9/api")  # only used for blocks and variables; there are none
    rendered: Configuration = await Configuration.from_template_and_values(base, variables, client=client)
    return rendered


def deployments() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    return listed


@pytest.mark.parametrize("kind", ["docker", "kubernetes", "process"])
def test_every_placeholder_is_a_declared_variable(kind: str) -> None:
    text = json.dumps(template(kind)["job_configuration"])
    placeholders = {part.split("}}")[0].strip() for part in text.split("{{")[1:]}
    assert placeholders == set(template(kind)["variables"]["properties"])


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"gpus": 0, "node_selector": {}, "tolerations": [], "image": "shop/duotempo:2", "env": {"HF_HUB_OFFLINE": "0"}},
        {"gpus": 2, "node_selector": {"gpu": "a100"}, "memory_limit": "64Gi", "image_pull_secrets": [{"name": "mine"}]},
        *(
            {"labels": {"deployment": one["name"]}, **one["work_pool"].get("job_variables", {})}
            for one in deployments()
        ),
    ],
)
def test_job_is_valid_for_kubernetes(checkers: Path, tmp_path: Path, variables: dict[str, Any]) -> None:
    rendered = asyncio.run(render("kubernetes", {"name": "run", "command": "prefect flow-run execute", **variables}))
    job = rendered.job_manifest
    container = job["spec"]["template"]["spec"]["containers"][0]
    # as Kubernetes resolves generateName, and Prefect's worker the rest, see prefect_kubernetes.worker
    job["metadata"]["name"] = "run-1"
    container["args"] = container["args"].split()
    container["env"] = [{"name": name, "value": value} for name, value in container["env"].items()]
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    done = subprocess.run(
        [checkers / "kubernetes-validate", "--strict", "-k", "1.37", tmp_path / "job.yaml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert container["resources"]["limits"]["nvidia.com/gpu"] == variables.get("gpus", 1)
    assert "{{" not in json.dumps(job)


def test_docker_job_has_a_gpu_and_no_privileges() -> None:
    rendered = asyncio.run(render("docker", {"env": {"A": "b"}, "mem_limit": "16g"}))
    assert (rendered.image, rendered.mem_limit, rendered.env) == (f"duotempo:{VERSION}", "16g", {"A": "b"})
    options = rendered.container_create_kwargs
    assert options["device_requests"] == [{"Driver": "nvidia", "Count": 1, "Capabilities": [["gpu"]]}]
    assert options["user"] == "10001:10001" and options["read_only"] and options["cap_drop"] == ["ALL"]
    without = asyncio.run(render("docker", {"device_requests": []}))
    assert without.container_create_kwargs["device_requests"] == []


@pytest.mark.parametrize(
    ("kind", "wrong"), [("kubernetes", {"gpus": -1}), ("kubernetes", {"image_pull_policy": "often"}),
                        ("docker", {"nano_cpus": "four"})],
)  # fmt: skip
def test_invalid_job_variables_are_rejected(kind: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        asyncio.run(render(kind, wrong))
