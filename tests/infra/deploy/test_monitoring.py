"""The rules and the dashboard ask for metrics and labels that the service and the hook really have."""

import json
import re
from collections import defaultdict

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from components.settings import Settings
from components.store.engine import make_engine
from infra.local.platform import Platform
from infra.processes.programs import PROJECT
from infra.services.webhook import WebhookReceiver
from serving.http.app import make_app
from serving.runtime import Runtime

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
ADDED = {"job", "instance", "le"}
"""Labels that Prometheus, or a histogram, adds."""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each metric that is exposed."""
    runtime = Runtime()
    runtime.metrics.follow_spool(lambda: (0, 0, 0, 0))
    runtime.metrics.follow_database(lambda: False)
    home = tmp_path_factory.mktemp("home")
    hook = WebhookReceiver(
        Platform(Settings(home=home)), make_engine("postgresql://nobody@127.0.0.1:9/none"), "", home / "ready"
    )
    texts = [TestClient(app).get("/metrics").text for app in (make_app(runtime), hook.app())]
    labels: dict[str, set[str]] = defaultdict(set)
    metrics = [*vars(runtime.metrics).values(), *vars(hook).values()]
    for metric in (one for one in metrics if hasattr(one, "_labelnames")):
        labels[metric._name] = set(metric._labelnames)
    return {
        family.name + suffix: labels[family.name]
        for text in texts
        for family in text_string_to_metric_families(text)
        for suffix in SUFFIXES[family.type]
    }


def expressions() -> list[str]:
    rules = yaml.safe_load((PROJECT / "infra/prometheus/rules.yml").read_text())
    board = json.loads((PROJECT / "infra/grafana/dashboards/duotempo.json").read_text())
    return [
        *(rule["expr"] for group in rules["groups"] for rule in group["rules"]),
        *(target["expr"] for panel in board["panels"] for target in panel["targets"]),
    ]


@pytest.mark.parametrize("expression", expressions())
def test_metrics_and_labels_exist(known: dict[str, set[str]], expression: str) -> None:
    names = set(re.findall(r"\b(?:duotempo_\w+|up)\b", expression))
    assert names
    assert names - {"up"} <= known.keys()
    allowed = ADDED.union(*(known[name] for name in names - {"up"}))
    asked = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    asked += [label.strip() for group in re.findall(r"(?:by|on) \(([^)]*)\)", expression) for label in group.split(",")]
    assert set(asked) <= allowed


def test_every_metric_of_the_service_is_on_the_dashboard_or_in_a_rule(known: dict[str, set[str]]) -> None:
    asked = " ".join(expressions())
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in known}
    assert {name for name in families if name not in asked} == set()
