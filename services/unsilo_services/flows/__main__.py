"""`python -m unsilo_services.flows`."""

from .app import run

if __name__ == "__main__":
    run()
