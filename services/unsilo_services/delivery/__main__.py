"""`python -m unsilo_services.delivery`."""

from .app import run

if __name__ == "__main__":
    run()
