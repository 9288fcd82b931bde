"""The `unsilo` command."""

import sys

import typer

from ..errors import UnsiloError
from .catalogue import connections_app, connectors_app, schemas_app, topics
from .config import apply, check
from .events import send, tail
from .output import errors
from .up import broker, run, up

app = typer.Typer(
    name="unsilo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="An event-driven integration hub: what happens in one system is known in all of them.",
)
for command in (up, run, broker, check, apply, send, tail, topics):
    app.command()(command)
app.add_typer(connections_app, name="connections")
app.add_typer(connectors_app, name="connectors")
app.add_typer(schemas_app, name="schemas")


def main() -> None:
    """Runs the command line. An error that a person can put right is told in a sentence, not as a traceback."""
    try:
        app()
    except UnsiloError as error:
        errors.print(str(error), style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
