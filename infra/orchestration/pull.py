"""The pull step of the deployments."""

import os


def project() -> dict[str, str]:
    """Returns the project's folder on this worker's machine, which may differ from the platform's."""
    return {"directory": os.environ["DUOTEMPO_PROJECT"]}
