"""Settings of what runs for months: validation, monitoring, deployments, the platform."""

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

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


class DeploySettings(Section):
    """How a version becomes the champion, see docs/operating.md."""

    canary_share: Share = 0.1
    """Share of the users who are answered by a new version at first; 0 does without a canary."""
    canary_seconds: NonNegativeFloat = 600.0
    """How long, before the version serves everybody or goes back; 0 does without a canary."""
    min_requests: PositiveInt = 100
    """Answers of both versions below which only errors are compared."""
    max_error_rate_gain: Share = 0.01
    """By so much the canary's share of failed answers may be above the champion's."""
    max_latency_ratio: PositiveFloat = 2.0
    """The 95 % quantile of the canary's time to answer, in those of the champion."""
    min_positive_ratio: Share = 0.9
    """The canary goes back when its positive feedback is surely (95 %) below this share of the champion's."""
    challenger_share: Share = 0.0
    """Share of the users whom the version with the alias `challenger` answers, from the next deployment on."""
    shadow_share: Share = 0.0
    """Share of the requests that the version with the alias `shadow` answers too, unseen, from the next deployment."""


class PlatformSettings(Section):
    postgres_port: Port = 5432
    prefect_port: Port = 4200
    mlflow_port: Port = 5000
    hook_port: Port = 4300
    serving_port: Port = 3000
    start_timeout_seconds: PositiveFloat = 120.0
