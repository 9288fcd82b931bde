"""`unsilo check` and `unsilo apply`: from files to the running hub."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from unsilo_schemas.topics import Topics

from ..config_topic import Change, ConfigWriter, applied, changes, entries, from_entries, load, undeclared
from ..configuration import Configuration, declared, missing_secrets, topics_of
from ..errors import UnsiloError
from ..follow import await_followed
from ..kafka import Kafka
from ..settings import HubSettings
from ..two_way import loops
from .hub import Hub
from .output import AsJson, console, counted, show_json, tell

DEFAULT_FILE = Path("unsilo.yaml")
_FOLLOW_SECONDS = 15.0

Files = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", help=f"Configuration: files or folders of them; {DEFAULT_FILE} unless given."),
]
Paths = Annotated[list[Path] | None, typer.Argument(help="The same as -f.", show_default=False)]


class ConfigurationLoops(UnsiloError):
    """Together with what was applied before, flows would answer themselves. Nothing is applied."""

    def __init__(self, loops: Sequence[tuple[str, str]]) -> None:
        super().__init__("\n".join(map(": ".join, loops)))
        self.loops = tuple(loops)


def check(paths: Paths = None, files: Files = None, as_json: AsJson = False) -> None:
    """Say what is wrong in the configuration, by file, line and field, without a hub.

    Example: unsilo check -f unsilo.yaml
    """
    with _faults_shown(as_json):
        configuration = read_files(paths, files)
    _warn(missing_secrets(configuration, ["file"]))  # variables belong to where the hub runs, files lie beside this one
    if as_json:
        show_json({"connections": sorted(configuration.connections), "flows": sorted(configuration.flows)})
    else:
        console.print(f"{_summary(configuration)}, nothing wrong.")


def apply(
    paths: Paths = None,
    files: Files = None,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove what no file declares any more, and `accounts/ID` with it."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put the configuration into the running hub. It is followed within seconds, without a restart.

    Nothing is applied when anything is wrong. Exits 1, too, where services run that do not follow it.
    Example: unsilo apply -f unsilo.yaml --dry-run
    """
    with _faults_shown(as_json):
        configuration = read_files(paths, files)
        hub = Hub.reach()
        wanted = apply_read(hub.kafka, hub.settings, configuration, prune=prune, dry_run=dry_run)
    if as_json:
        show_json([{"key": change.key, "change": change.kind} for change in wanted])
    else:
        for change in wanted:
            console.print(f"{change.kind:8} {change.key}", markup=False)
    ignored = [] if dry_run else await_followed(hub.kafka, hub.topics, configuration, _FOLLOW_SECONDS)
    for lack in ignored:
        tell(lack)
    if not as_json:
        done = "nothing to change" if not wanted else "nothing was changed (dry run)" if dry_run else "applied"
        console.print(f"{done}{', but not followed' if ignored else ''}: {_summary(configuration)}")
    if ignored:
        raise typer.Exit(1)


def apply_read(
    kafka: Kafka, settings: HubSettings, configuration: Configuration, *, prune: bool, dry_run: bool
) -> list[Change]:
    """Applies a configuration that was read, and returns what changed."""
    topics = Topics(settings.topic_prefix)
    writer = None
    if not dry_run:
        kafka.create(topics.fixed())
        writer = ConfigWriter(kafka, topics.config())
    before = load(kafka, topics.config()) if kafka.partitions(topics.config().name) else {}
    wanted = changes(before, entries(configuration), prune)
    if found := list(loops(from_entries(applied(before, wanted)))):  # with what other files have declared
        raise ConfigurationLoops(found)
    _warn(missing_secrets(configuration))
    kept = undeclared(before, entries(configuration))
    if kept and not prune:
        tell(f"kept, though no file declares it: {', '.join(kept)} (--prune removes)")
    if writer is not None:
        own = topics_of(configuration, topics)
        kafka.create(own)
        for drift in kafka.drift(declared(configuration, topics)):
            tell(f"{drift.topic}: {drift.setting} is {drift.found}, not {drift.wanted}")
        if wanted:
            writer.publish(wanted)
    return wanted


def _warn(missing: Iterable[tuple[str, str]]) -> None:
    for connection, what in missing:
        tell(f"connection {connection}: {what} here: set it where gateway and delivery run")


def read_files(*given: Sequence[Path] | None) -> Configuration:
    """The configuration in the files that are given, or in `unsilo.yaml`; ConfigurationRefused."""
    from ..config_files import read  # brings CEL along, which takes a third of a second

    return read([path for paths in given for path in paths or ()] or [DEFAULT_FILE])


@contextmanager
def _faults_shown(as_json: bool) -> Iterator[None]:
    """Prints what is wrong as JSON where that is asked for, and ends the command."""
    from ..config_files import ConfigurationRefused  # brings YAML along

    try:
        yield
    except ConfigurationRefused as refused:
        if not as_json:
            raise
        found = [_fault(str(fault.file), fault.line, fault.field, fault.problem) for fault in refused.faults]
    except ConfigurationLoops as refused:
        if not as_json:
            raise
        found = [_fault(None, None, place, problem) for place, problem in refused.loops]
    else:
        return
    show_json({"faults": found})
    raise typer.Exit(1)


def _fault(file: str | None, line: int | None, field: str, problem: str) -> dict[str, str | int | None]:
    return {"file": file, "line": line, "field": field, "problem": problem}


def _summary(configuration: Configuration) -> str:
    return f"{counted(len(configuration.connections), 'connection')}, {counted(len(configuration.flows), 'flow')}"
