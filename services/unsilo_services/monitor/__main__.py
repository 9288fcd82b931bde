"""`python -m unsilo_services.monitor`."""

from .app import run

if __name__ == "__main__":
    run()
