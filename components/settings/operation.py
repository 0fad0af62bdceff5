"""Settings of what runs for months: validation, monitoring, the platform."""

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from components.settings.section import Port, Section, Share


class ValidationSettings(Section):
    freshness_days: PositiveFloat = 30.0
    """Age at the cut of the newest event above which a snapshot is stale."""
    text_share: Share = 0.8
    """Share of items that should have text."""
    volume_ratio: Share = 0.5
    """A snapshot smaller than this share of the last one is suspicious."""


class MonitoringSettings(Section):
    """What the flow `monitor` compares, and when it starts a retraining early, see docs/monitoring.md."""

    window_days: PositiveFloat = 7.0
    """The recent window, counted back from now..."""
    reference_days: PositiveFloat = 28.0
    """...and the days before it, which it is compared with."""
    min_events: PositiveInt = 500
    """Events of either window below which no drift is told: small samples differ by chance."""
    retrain_drift: PositiveFloat = 0.25
    """Drift (PSI) above which a retraining starts early."""
    retrain_events: PositiveInt = 10_000
    """Events that the newest version does not know, from which on a retraining starts early."""
    retrain_pause_hours: PositiveFloat = 12.0
    """No retraining starts early within so many hours after the start of another."""


class RetentionSettings(Section):
    """What the flow `retention` removes, see docs/operating.md. What serves, served before, or may serve next stays."""

    days: PositiveFloat = 30.0
    """Age from which on a snapshot, a training's folder and the results of flow runs are removed."""
    keep_versions: NonNegativeInt = 3
    """Newest versions whose bundles, Bentos and snapshots stay, beside those that are in use."""


class PlatformSettings(Section):
    postgres_port: Port = 5432
    prefect_port: Port = 4200
    mlflow_port: Port = 5000
    hook_port: Port = 4300
    serving_port: Port = 3000
    host: str = "127.0.0.1"
    """The address of this machine at which the service and the hook listen."""
    prefect_api_url: str | None = None
    """An outside Prefect (`http://prefect:4200/api`), whose workers are yours; absent: one of its own, with workers."""
    mlflow_url: str | None = None
    """An outside MLflow; absent: one of its own."""
    hook_url: str | None = None
    """Where an outside MLflow reaches the hook; absent: 127.0.0.1."""
    start_timeout_seconds: PositiveFloat = 120.0
    schedules: bool = True
    """Whether the schedules of prefect.yaml are active: the nightly retraining, monitoring, retention, batch."""
