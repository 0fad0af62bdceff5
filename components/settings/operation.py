"""Settings of operation: validation, monitoring, deployment, retention, platform, service, security, privacy."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr, model_validator

from components.settings.section import Days, Hours, NonNegative, Port, Section, Share


class ValidationSettings(Section):
    freshness_days: Days = 30.0
    """A snapshot is stale if its newest event is older than this at the cut."""
    text_share: Share = 0.8
    """Minimum share of items with text."""
    volume_ratio: Share = 0.5
    """Minimum size of a snapshot, relative to the previous one."""


class MonitoringSettings(Section):
    """What the flow `monitor` compares, and when it starts a retraining early, see docs/monitoring.md."""

    window_days: Days = 7.0
    """The recent window, before now..."""
    reference_days: Days = 28.0
    """...and the reference window before it."""
    min_events: PositiveInt = 500
    """Minimum events of each window for a drift value: small samples differ by chance."""
    retrain_drift: PositiveFloat = 0.25
    """Drift (PSI) above which a retraining starts early."""
    retrain_events: PositiveInt = 10_000
    """Number of events since the newest version's snapshot from which on a retraining starts early."""
    retrain_pause_hours: Hours = 12.0
    """Minimum hours between the start of a retraining and that of an early one."""
    notify: SecretStr | None = None
    """Where alerts go without Prometheus: `https://…` (a JSON POST) or `mailto:somebody@shop.example`."""
    smtp: SecretStr | None = None
    """The mail server: `smtp://user:password@host:587` (TLS if available) or `smtps://…:465`."""

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
    """Share of the users whom a new version serves first; 0: no canary."""
    canary_seconds: NonNegativeFloat = 600.0
    """Duration of the canary, before it is promoted or rolled back; 0: no canary."""
    min_requests: PositiveInt = 100
    """Minimum requests of both versions for comparing more than errors."""
    max_error_rate_gain: Share = 0.01
    """Largest difference of the canary's error rate to the champion's."""
    max_latency_ratio: PositiveFloat = 2.0
    """Largest ratio of the canary's 95th percentile latency to the champion's."""
    min_positive_ratio: Share = 0.9
    """The canary is rolled back if its positive feedback is below this share of the champion's (95 % confidence)."""
    challenger_share: Share = 0.0
    """Share of the users whom the version with the alias `challenger` serves, from the next deployment on."""
    shadow_share: Share = 0.0
    """Share of the requests that the version with the alias `shadow` also answers, unseen, from the next deployment
    on."""


class RetentionSettings(Section):
    """What the flow `retention` removes, see docs/operating.md. Current, previous and candidate versions stay."""

    days: Days = 30.0
    """Age at which snapshots, training folders and results of flow runs are removed."""
    keep_versions: NonNegativeInt = 3
    """Newest versions whose bundles, Bentos and snapshots stay, besides those in use."""


class PlatformSettings(Section):
    postgres_port: Port = 5432
    prefect_port: Port = 4200
    mlflow_port: Port = 5000
    hook_port: Port = 4300
    serving_port: Port = 3000
    host: str = "127.0.0.1"
    """The address at which the service and the webhook receiver listen."""
    prefect_api_url: str | None = None
    """An external Prefect (`http://prefect:4200/api`), with your own workers; absent: the platform runs both."""
    mlflow_url: str | None = None
    """An external MLflow; absent: the platform runs one."""
    hook_url: str | None = None
    """Where an external MLflow reaches the webhook receiver; absent: 127.0.0.1."""
    start_timeout_seconds: PositiveFloat = 120.0
    encoder: bool = True
    """Whether the configured encoder stays loaded, so that new items are recommended within seconds."""
    schedules: bool = True
    """Whether the schedules of prefect.yaml are active: the nightly retraining, monitoring, retention, batch,
    and ingest if there are sources."""


class ServingSettings(Section):
    """Behaviour of the service while Postgres is down or slow, see docs/reliability.md; log format; freshness."""

    spool_folder: Path | None = None
    """Folder of the spool, which queues feedback meanwhile, on a local disk (no network file system); absent: `spool`
    in the home."""
    spool_mb: PositiveInt = 256
    """Largest size of the spool in MB, for about half a million events. Beyond it `/feedback` answers 503."""
    read_seconds: PositiveFloat = 0.5
    """Timeout for reading a user from Postgres; after it the list is made from what is in memory."""
    log_format: Literal["plain", "json"] = "plain"
    """Format of the service's log. From `log_level` INFO on it has a line per request."""
    write_seconds: PositiveFloat = 2.0
    """Timeout for storing a batch of feedback in Postgres; after it the batch goes to the spool."""
    trend_seconds: PositiveFloat = 60.0
    """Seconds between updates of recent popularity."""
    encoder_patience_seconds: PositiveFloat = 10.0
    """Time after which `/readyz` reports a new item that waits for the encoder."""


class SecuritySettings(Section):
    """Authentication and rate limits of the service, see docs/security.md."""

    require_keys: bool = True
    """Whether callers need an API key. The endpoints for personal data always need one."""
    trust_local: bool = True
    """Whether callers on this machine that use one of its local names need no key and have no limits."""
    caller_rate: NonNegative = 200.0
    """Requests per second of a key (of an address without a key); 0: no limit..."""
    caller_burst: PositiveInt = 400
    """...and the burst after a pause."""
    user_rate: NonNegative = 20.0
    """Requests per second about one user; 0: no limit..."""
    user_burst: PositiveInt = 60
    """...and the burst after a pause."""
    caller_events: NonNegativeInt = 100_000
    """Events per hour of a key (of an address without a key); 0: no limit..."""
    caller_users: NonNegativeInt = 50_000
    """...of so many users, counted to about 3 %..."""
    caller_items: NonNegativeInt = 50_000
    """...and so many items."""
    timeout_seconds: PositiveFloat = 30.0
    """Requests that take longer are answered with 503."""
    keys_seconds: PositiveFloat = 2.0
    """Seconds between reads of the keys: a revoked key works that much longer."""
    connections: PositiveInt = 2000
    """Most open connections; beyond it the one that has waited longest for a complete request is closed."""
    address_connections: NonNegativeInt = 500
    """Most open connections of one remote address, such as a proxy's; 0: no limit."""
    head_seconds: PositiveFloat = 10.0
    """Timeout for a complete request head; the connection is closed after it."""


class PrivacySettings(Section):
    """Storage of personal data, see docs/security.md."""

    pseudonyms: bool = False
    """Whether the store identifies users by a keyed hash of their ids. Decide before the first event is stored."""
    key: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Secret key of the keyed hashes; absent: `secrets/privacy` in the home, created when missing."""
    tombstone_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """Days after which the tombstone of an erased user, which keeps late events out, is removed; 0: never."""
