"""The pull step of the deployments."""

import os


def project() -> dict[str, str]:
    """The folder of the project on the machine of this worker, which may be another than that of the platform."""
    return {"directory": os.environ["DUOTEMPO_PROJECT"]}
