"""The model registry (MLflow): registration after a retraining, and reads for promotion and deployment."""

from components.registry.connection import NAME, RegistryError, RegistryUnavailable
from components.registry.model_pages import (
    PRODUCTION,
    VersionStatus,
    ensure_model_pages,
    promote_newest_copy,
    publish_statuses,
    recent_copy_message,
    version_statuses,
)
from components.registry.problems import REGISTRY_PROBLEMS, Problem, find_problems
from components.registry.register import Registered, register
from components.registry.searches import close_search, log_trial, open_search
from components.registry.versions import (
    Version,
    champion,
    champion_number,
    clear_champion,
    clear_refusal,
    download_bundle,
    download_twin,
    set_champion,
    tag_refused,
    version,
    version_with_alias,
    versions,
)
from components.registry.webhook import WebhookRefused, check_delivery, ensure_webhook

__all__ = [
    "NAME",
    "PRODUCTION",
    "REGISTRY_PROBLEMS",
    "Problem",
    "Registered",
    "RegistryError",
    "RegistryUnavailable",
    "Version",
    "VersionStatus",
    "WebhookRefused",
    "champion",
    "champion_number",
    "check_delivery",
    "clear_champion",
    "clear_refusal",
    "close_search",
    "download_bundle",
    "download_twin",
    "ensure_model_pages",
    "ensure_webhook",
    "find_problems",
    "log_trial",
    "open_search",
    "promote_newest_copy",
    "publish_statuses",
    "recent_copy_message",
    "register",
    "set_champion",
    "tag_refused",
    "version",
    "version_statuses",
    "version_with_alias",
    "versions",
]
