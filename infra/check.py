"""`.venv-infra/bin/python infra/check.py [NAME…]`: checks the files for containers, clusters and Prometheus.

Runs in a separate environment (infra/check-tools.sh), so it imports nothing from the project.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import yaml

INFRA = Path(__file__).resolve().parent
PROGRAMS = Path(sys.prefix) / "bin"
KUBERNETES = "1.37"
OFF = ("line-length", "document-start", "braces", "brackets", "comments-indentation")
"""Rules of yamllint that the compact style of these files breaks."""
YAMLLINT = json.dumps(
    {
        "extends": "default",
        "rules": {
            **dict.fromkeys(OFF, "disable"), "commas": {"max-spaces-after": -1}, "truthy": {"check-keys": False},
            "comments": {"min-spaces-from-content": 1},
        },
    }
)  # fmt: skip
SECRETS = (
    "POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY", "GRAFANA_PASSWORD", "PREFECT_PASSWORD", "MLFLOW_PASSWORD",
    "MLFLOW_WEBHOOK_KEY",
)  # fmt: skip
INSTALLATIONS: dict[str, dict[str, Any]] = {
    "usual": {"existingSecret": "duotempo"},
    "replicas": {
        "existingSecret": "duotempo",
        "bento": {"enabled": True, "image": "shop/duotempo:3", "autoscaling": {"enabled": True}},
        "ingress": {"enabled": True, "host": "shop.example", "className": "nginx", "tlsSecret": "shop-tls"},
        "image": {"pullSecrets": [{"name": "registry"}]},
        "settings": {"DUOTEMPO_FUSION__KIND": "attention"},
    },
    "without a GPU": {
        "existingSecret": "duotempo",
        "home": {"existingClaim": "shared"},
        "workers": {"gpu": {"gpus": 0, "nodeSelector": None, "tolerations": []}},
        "networkPolicy": {"enabled": False},
    },
}


def check(holds: bool, message: str) -> None:
    if not holds:
        raise SystemExit(message)


def run(
    *command: str | Path, folder: Path = INFRA, refused: bool = False, environment: dict[str, str] | None = None
) -> str:
    """Runs a program and returns its output. Exits if it fails, or, with `refused`, if it succeeds."""
    clean = {name: value for name, value in os.environ.items() if name not in SECRETS}
    done = subprocess.run(
        [str(PROGRAMS / command[0]), *map(str, command[1:])], cwd=folder, env={**clean, **(environment or {})},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    check((done.returncode != 0) == refused, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def texts() -> None:
    """YAML and JSON files are well formed."""
    files = [path for path in INFRA.rglob("*.y*ml") if "templates" not in path.parts]
    run("yamllint", "-s", "-d", YAMLLINT, *files)
    for file in INFRA.rglob("*.json"):
        json.loads(file.read_text())


def compose() -> None:
    """The compose file is valid, requires every secret, and every container is restricted."""
    command = ("docker-compose", "--env-file", os.devnull, "--profile", "*", "-f", "compose.yaml", "config")
    secrets = dict.fromkeys(SECRETS, "x")
    for name in SECRETS:
        output = run(*command, refused=True, environment={key: value for key, value in secrets.items() if key != name})
        check(name in output, f"compose does not name the missing {name}")
    config = json.loads(run(*command, "--format", "json", environment=secrets))
    for name, service in config["services"].items():
        check(service.get("user", "10001") not in ("0", "root", ""), f"{name} runs as root")
        check(service["read_only"] and service["cap_drop"] == ["ALL"], f"{name} is not locked down")
        check("no-new-privileges:true" in service["security_opt"], f"{name} may gain privileges")
        limits = service["deploy"]["resources"]["limits"]
        check({"cpus", "memory"} <= limits.keys(), f"{name} has no limits")
        image = service["image"]
        check(":" in image and not image.endswith(":latest"), f"{name} has no pinned image")
        check("healthcheck" in service or name == "serving", f"{name} has no health check")  # serving: the image's own
    services = json.dumps(config["services"])
    for name in yaml.safe_load((INFRA / "compose.yaml").read_text())["volumes"]:
        check(f'"source": "{name}"' in services, f"the volume {name} is mounted nowhere")
    example = dict(
        line.split("=", 1) for line in (INFRA / ".env.example").read_text().splitlines() if line[:1].isalpha()
    )
    check(not any(example[name] for name in SECRETS), ".env.example holds a secret")


def dockerfile() -> None:
    """hadolint reports nothing."""
    run("hadolint", "--failure-threshold", "style", "docker/Dockerfile")


def chart() -> None:
    """The chart passes lint, rejects invalid values, and each installation is valid for Kubernetes."""
    folder = str(INFRA / "helm" / "duotempo")
    for name, values in INSTALLATIONS.items():
        linted = helm.lint(folder, values, strict=True)
        check(not linted["errors"], f"{name}: {linted['errors']}")
        for manifest in manifests(folder, values):
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
            for pod in pods(manifest):
                check_pod(f"{name}: {manifest['kind']} {manifest['metadata']['name']}", pod)
    for wrong in ({}, {"existingSecret": "s", "bento": {"enabled": True}}, {"existingSecret": "s", "imge": {}}):
        with helm.Chart.load(folder) as loaded:
            try:
                loaded.render(wrong, name="duotempo")
            except helm.HelmError:
                continue
        raise SystemExit(f"the chart accepts {wrong}")


def manifests(folder: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    with helm.Chart.load(folder) as loaded:
        rendered = loaded.render(values, name="duotempo", namespace="shop")
    texts = [text for name, text in rendered.items() if name.endswith(".yaml")]
    return [value for text in texts for value in yaml.safe_load_all(text) if value]


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    template = manifest["spec"].get("template") if "spec" in manifest else None
    return [template["spec"]] if template else []


def check_pod(name: str, pod: dict[str, Any]) -> None:
    """The pod runs without root and privileges, with limits and probes."""
    check(
        pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"], f"{name} is not locked down"
    )
    for container in (*pod["containers"], *pod.get("initContainers", [])):
        context = container["securityContext"]
        check(
            context["readOnlyRootFilesystem"] and context["capabilities"] == {"drop": ["ALL"]},
            f"{name} has an open security context",
        )
        check({"cpu", "memory"} <= container["resources"]["limits"].keys(), f"{name} has no limits")
    for container in pod["containers"]:
        check({"livenessProbe", "startupProbe"} <= container.keys(), f"{name} has no probes")


def rules() -> None:
    """Prometheus accepts its configuration, and every alert has a test and passes it."""
    folder = INFRA / "prometheus"
    run("promtool", "check", "config", "prometheus.yml", folder=folder)
    tests = sorted(file.name for file in folder.glob("*_test.yml"))
    run("promtool", "test", "rules", *tests, folder=folder)
    tested = "".join((folder / name).read_text() for name in tests)
    groups = yaml.safe_load((folder / "rules.yml").read_text())["groups"]
    missing = [rule["alert"] for group in groups for rule in group["rules"] if rule["alert"] not in tested]
    check(not missing, f"no test for {missing}")


CHECKS: dict[str, Callable[[], None]] = {
    value.__name__: value for value in (texts, compose, dockerfile, chart, rules)
}  # fmt: skip

if __name__ == "__main__":
    for chosen in sys.argv[1:] or CHECKS:
        CHECKS[chosen]()
        sys.stdout.write(f"{chosen}: ok\n")
