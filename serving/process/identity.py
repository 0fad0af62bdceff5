"""The platform that a service belongs to."""

PLATFORM = "DUOTEMPO_PLATFORM_ID"
"""Environment variable with the platform's id; unset where no local platform runs it, as in Kubernetes."""
