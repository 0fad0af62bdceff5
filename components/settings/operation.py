"""Settings of what runs for months: validation, monitoring, deployments, retention, platform, service, privacy."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr, model_validator

from components.settings.section import Days, Hours, NonNegative, Port, Section, Share


class ValidationSettings(Section):
    freshness_days: Days = 30.0
    """Age at the cut of the newest event above which a snapshot is stale."""
    text_share: Share = 0.8
    """Share of items that should have text."""
    volume_ratio: Share = 0.5
    """A snapshot smaller than this share of the last one is suspicious."""


class MonitoringSettings(Section):
    """What the flow `monitor` compares, and when it starts a retraining early, see docs/monitoring.md."""

    window_days: Days = 7.0
    """The recent window, counted back from now..."""
    reference_days: Days = 28.0
    """...and the days before it, which it is compared with."""
    min_events: PositiveInt = 500
    """Events of either window below which no drift is told: small samples differ by chance."""
    retrain_drift: PositiveFloat = 0.25
    """Drift (PSI) above which a retraining starts early."""
    retrain_events: PositiveInt = 10_000
    """Events that the newest version does not know, from which on a retraining starts early."""
    retrain_pause_hours: Hours = 12.0
    """No retraining starts early within so many hours after the start of another."""
    notify: SecretStr | None = None
    """Who is told of problems, without Prometheus: `https://…` (a JSON POST) or `mailto:somebody@shop.example`."""
    smtp: SecretStr | None = None
    """The server that takes the mail: `smtp://user:password@host:587` (TLS, if it has it) or `smtps://…:465`."""

    @model_validator(mode="after")
    def _check_notification(self) -> "MonitoringSettings":
        notify, smtp = (value.get_secret_value() if value else "" for value in (self.notify, self.smtp))
        if notify and not re.fullmatch(r"https?://[^/\s]\S*|mailto:[^@\s]+@[^@\s]+", notify):
            raise ValueError("notify: neither https://… nor mailto:somebody@shop.example")
        if smtp and not re.fullmatch(r"smtps?://\S+", smtp):
            raise ValueError("smtp: not like smtp://user:password@host:587 or smtps://user:password@host:465")
        if notify.startswith("mailto:") and not smtp:
            raise ValueError("notify by mail needs a server: set smtp, such as smtp://user:password@host:587")
        return self


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


class RetentionSettings(Section):
    """What the flow `retention` removes, see docs/operating.md. What serves, served before, or may serve next stays."""

    days: Days = 30.0
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
    encoder: bool = True
    """Whether the encoder of the settings is kept loaded here, so that new items are recommended within seconds."""
    schedules: bool = True
    """Whether the schedules of prefect.yaml are active: the nightly retraining, monitoring, retention, batch."""


class ServingSettings(Section):
    """How the service goes on while Postgres is away, or slow, see docs/reliability.md; its log; how fresh it is."""

    spool_folder: Path | None = None
    """Where feedback waits meanwhile, on a disk of this machine (no network file system); absent: `spool` in the
    home."""
    spool_mb: PositiveInt = 256
    """What may wait there, in MB: half a million events or so. Beyond it `/feedback` answers 503."""
    read_seconds: PositiveFloat = 0.5
    """Time in which Postgres must tell what it holds of a user; later the answer is made of what is in memory."""
    log_format: Literal["plain", "json"] = "plain"
    """How the service writes its log. From `log_level` INFO on it has a line for each request."""
    write_seconds: PositiveFloat = 2.0
    """Time in which Postgres must store a batch of feedback; later it goes to the spool."""
    trend_seconds: PositiveFloat = 60.0
    """How often what is wanted lately is counted anew."""
    encoder_patience_seconds: PositiveFloat = 10.0
    """After so long `/readyz` tells of a new item that waits for the encoder."""


class SecuritySettings(Section):
    """Who may ask the service, and how often, see docs/security.md."""

    require_keys: bool = True
    """Whether callers need an API key. The doors to a person's data need one in any case."""
    trust_local: bool = True
    """Whether callers on this machine, who ask for it by a name of this machine, need no key and know no limit."""
    caller_rate: NonNegative = 200.0
    """Requests a second of a key (of an address, where there is none); 0: no limit..."""
    caller_burst: PositiveInt = 400
    """...and how many may come at once after a pause."""
    user_rate: NonNegative = 20.0
    """Requests a second about one user; 0: no limit..."""
    user_burst: PositiveInt = 60
    """...and how many may come at once after a pause."""
    caller_events: NonNegativeInt = 100_000
    """Events that a key (an address, where there is none) may tell within an hour; 0: no limit..."""
    caller_users: NonNegativeInt = 50_000
    """...of so many users, to about three in a hundred..."""
    caller_items: NonNegativeInt = 50_000
    """...and so many items."""
    timeout_seconds: PositiveFloat = 30.0
    """A request that takes longer is answered with 503."""
    keys_seconds: PositiveFloat = 2.0
    """How often the keys are read: a revoked one works that much longer."""
    connections: PositiveInt = 2000
    """Connections that may be open at once; beyond it the one that has waited longest for its request is closed."""
    address_connections: NonNegativeInt = 500
    """Of them from one address that is not this machine's, such as a proxy's; 0: no limit."""
    head_seconds: PositiveFloat = 10.0
    """A connection on which no whole head of a request comes so long is closed."""


class PrivacySettings(Section):
    """What is kept of people, see docs/security.md."""

    pseudonyms: bool = False
    """Whether the store knows users by a keyed hash of their ids only. Decide before the first event comes."""
    key: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Key of the keyed hashes, a secret; absent: `secrets/privacy` in the home, made when it is missing."""
    tombstone_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """Days after which the mark that keeps a forgotten user's late events out is removed; 0: never."""
