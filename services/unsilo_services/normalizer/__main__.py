"""`python -m unsilo_services.normalizer`."""

from .app import run

if __name__ == "__main__":
    run()
