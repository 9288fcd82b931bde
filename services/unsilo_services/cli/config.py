"""`unsilo check` and `unsilo apply`: from files to the running hub."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from unsilo_schemas.topics import Topics

from ..config_topic import Change, applied, changes, entries, from_entries, load, publish, undeclared
from ..configuration import Configuration, topics_of
from ..errors import UnsiloError
from ..kafka import Kafka
from ..settings import HubSettings
from ..two_way import loops
from .hub import REACH_SECONDS
from .output import AsJson, console, counted, show_json, tell

DEFAULT_FILE = Path("unsilo.yaml")
_FOLLOW_SECONDS = 15.0

Files = Annotated[
    list[Path], typer.Option("-f", "--file", help="Configuration: files or folders of them.", show_default=True)
]


class ConfigurationLoops(UnsiloError):
    """Together with what was applied before, flows would answer themselves. Nothing is applied."""

    def __init__(self, loops: Sequence[tuple[str, str]]) -> None:
        super().__init__("\n".join(map(": ".join, loops)))
        self.loops = tuple(loops)


def check(files: Files = [DEFAULT_FILE], as_json: AsJson = False) -> None:  # noqa: B006  # typer's way to a default
    """Say what is wrong in the configuration, by file, line and field, without a hub.

    Example: unsilo check -f unsilo.yaml
    """
    with _faults_shown(as_json):
        configuration = _read(files)
    if as_json:
        show_json({"connections": sorted(configuration.connections), "flows": sorted(configuration.flows)})
    else:
        console.print(f"{_summary(configuration)}, nothing wrong.")


def apply(
    files: Files = [DEFAULT_FILE],  # noqa: B006  # typer's way to a default
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove what no file declares any more, and `accounts/ID` with it."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put the configuration into the running hub. It is followed within seconds, without a restart.

    Nothing is applied when anything is wrong. Example: unsilo apply -f unsilo.yaml --dry-run
    """
    settings = HubSettings()
    kafka = Kafka.from_settings(settings)
    kafka.wait(REACH_SECONDS)
    with _faults_shown(as_json):
        configuration = _read(files)
        wanted = apply_read(kafka, settings, configuration, prune=prune, dry_run=dry_run)
    if as_json:
        show_json([{"key": change.key, "change": change.kind} for change in wanted])
        return
    for change in wanted:
        console.print(f"{change.kind:8} {change.key}", markup=False)
    done = "nothing to change" if not wanted else "nothing was changed (dry run)" if dry_run else "applied"
    console.print(f"{done}: {_summary(configuration)}")


def apply_files(
    kafka: Kafka, settings: HubSettings, files: Sequence[Path], *, prune: bool, dry_run: bool
) -> list[Change]:
    """Applies files and returns what changed, once the services follow it (or nobody runs them)."""
    return apply_read(kafka, settings, _read(files), prune=prune, dry_run=dry_run)


def apply_read(
    kafka: Kafka, settings: HubSettings, configuration: Configuration, *, prune: bool, dry_run: bool
) -> list[Change]:
    """Applies a configuration that was read, as `apply_files` does."""
    from ..follow import await_followed  # brings CEL along, which takes a third of a second

    topics = Topics(settings.topic_prefix)
    kafka.create(topics.fixed())
    before = load(kafka, topics.config())
    wanted = changes(before, entries(configuration), prune)
    if found := list(loops(from_entries(applied(before, wanted)))):  # with what other files have declared
        raise ConfigurationLoops(found)
    kept = undeclared(before, entries(configuration))
    if kept and not prune:
        tell(f"kept, though no file declares it: {', '.join(kept)} (--prune removes)")
    if not dry_run:
        own = topics_of(configuration, topics)
        kafka.create(own)
        for drift in kafka.drift([*topics.fixed(), *own]):
            tell(f"{drift.topic}: {drift.setting} is {drift.found}, not {drift.wanted}")
        if wanted:
            publish(kafka, topics.config(), wanted)
            for missing in await_followed(kafka, topics, configuration, _FOLLOW_SECONDS):
                tell(f"{missing} yet: see its log")
    return wanted


def _read(files: Sequence[Path]) -> Configuration:
    from ..config_files import read  # brings CEL along, which takes a third of a second

    return read(files)


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
