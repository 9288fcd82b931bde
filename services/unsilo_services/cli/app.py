"""The `unsilo` command."""

import sys
from errno import ENOSPC
from importlib.metadata import version
from typing import Annotated

import typer

from .catalogue import connectors_app, schemas_app, topics
from .config import apply, check
from .connections import connections_app
from .dead import dead_app
from .doctor import doctor
from .events import send, tail
from .faults import told
from .output import discard_output, tell, write
from .status import status
from .story import story
from .trace import trace
from .up import broker, run, up

app = typer.Typer(
    name="unsilo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="An event-driven integration hub: what happens in one system is known in all of them.",
)


def _say_version(wanted: bool) -> None:
    if wanted:
        write(f"unsilo {version('unsilo-services')}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    pass


for command in (up, run, broker, story, check, apply, send, tail, trace, status, doctor, topics):
    app.command()(command)
app.add_typer(dead_app, name="dead")
app.add_typer(connections_app, name="connections")
app.add_typer(connectors_app, name="connectors")
app.add_typer(schemas_app, name="schemas")


def main() -> None:
    """Runs the command line. An error that a person can put right is told in a sentence, not as a traceback."""
    for word in sys.argv:
        try:
            word.encode()
        except UnicodeEncodeError:
            tell(f"{word!a} is not UTF-8: correct it", "red")
            sys.exit(2)
    try:
        app()
    except Exception as error:
        if isinstance(error, OSError) and error.errno == ENOSPC:
            discard_output()
        sentence = told(error)
        if sentence is None:
            raise
        tell(sentence, "red")
        sys.exit(1)


if __name__ == "__main__":
    main()
