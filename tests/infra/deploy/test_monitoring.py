"""The rules and the dashboard use only metrics and labels that the service and the webhook receiver expose."""

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
ADDED_LABELS = {"job", "instance", "le"}
"""Labels added by Prometheus or by a histogram."""


@pytest.fixture(scope="module")
def labels_by_metric(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Labels of each exposed metric."""
    runtime = Runtime()
    runtime.metrics.watch_spool(lambda: (0, 0, 0, 0))
    runtime.metrics.watch_database(lambda: False)
    home = tmp_path_factory.mktemp("home")
    receiver = WebhookReceiver(
        Platform(Settings(home=home)), make_engine("postgresql://nobody@127.0.0.1:9/none"), "", home / "ready"
    )
    texts = [TestClient(app).get("/metrics").text for app in (make_app(runtime), receiver.app())]
    labels: dict[str, set[str]] = defaultdict(set)
    metrics = [*vars(runtime.metrics).values(), *vars(receiver).values()]
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
def test_metrics_and_labels_exist(labels_by_metric: dict[str, set[str]], expression: str) -> None:
    names = set(re.findall(r"\b(?:duotempo_\w+|up)\b", expression))
    assert names
    assert names - {"up"} <= labels_by_metric.keys()
    allowed = ADDED_LABELS.union(*(labels_by_metric[name] for name in names - {"up"}))
    used_labels = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    used_labels += [
        label.strip() for group in re.findall(r"(?:by|on) \(([^)]*)\)", expression) for label in group.split(",")
    ]
    assert set(used_labels) <= allowed


def test_every_metric_is_used_in_dashboard_or_rules(labels_by_metric: dict[str, set[str]]) -> None:
    all_expressions = " ".join(expressions())
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in labels_by_metric}
    assert {name for name in families if name not in all_expressions} == set()
