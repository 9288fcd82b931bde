"""`python -m unsilo_services.normalizer`."""

from ..settings import HubSettings
from .app import run

if __name__ == "__main__":
    run(HubSettings())
