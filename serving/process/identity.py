"""Which platform a service belongs to."""

PLATFORM = "DUOTEMPO_PLATFORM_ID"
"""Where a process finds the id of its platform; absent where none runs it, as in Kubernetes."""
