"""`unsilo up`, `unsilo run`, `unsilo broker`: the processes themselves."""

import os
import signal
import time
from types import FrameType
from typing import Annotated

import typer
from unsilo_schemas.topics import CONSUMERS

from ..broker.local import run as run_broker
from ..local_hub import SERVICES, WATCH_SECONDS, LocalHub
from ..settings import HubSettings
from ..supervisor import Supervisor, service_command
from .config import DEFAULT_FILE, Files, Paths, apply_read, read_files
from .output import AsJson, console, fail, show_json_line, tell


def broker(
    port: Annotated[int | None, typer.Option(help="Port for clients; a free one unless given.")] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing after it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a real Kafka on this machine until Ctrl-C, without Docker.

    Its data is kept in .unsilo/kafka unless --ephemeral. Example: unsilo broker --port 9092
    """
    run_broker(HubSettings().data / "kafka", port=port, ephemeral=ephemeral, as_json=as_json)


def run(
    service: Annotated[str, typer.Argument(help=f"One of {', '.join(SERVICES)}.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes that share its work.")] = 1,
) -> None:
    """Run one service in the foreground until Ctrl-C, its log on standard error.

    Example: unsilo run normalizer --workers 2
    """
    if service not in SERVICES:
        raise fail(f"there is no service {service!r}: take one of {', '.join(SERVICES)}")
    command = service_command(service)
    if workers == 1:
        os.execv(command[0], command)  # noqa: S606  # no shell is the point
    if service not in CONSUMERS:
        raise fail(f"{service} has one worker: several processes of {', '.join(CONSUMERS)} share their work")
    settings = HubSettings()
    supervisor = Supervisor(settings.data / "logs", tell)
    stopping = Interrupt()
    for number in range(workers):
        supervisor.start(f"{service}-{number}", command, {})
    tell(f"{workers} workers of {service} run; their logs: {settings.data / 'logs'}")
    try:
        while not stopping.asked:
            supervisor.watch()
            time.sleep(WATCH_SECONDS)
    finally:
        supervisor.stop()


def up(
    paths: Paths = None,
    files: Files = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="A local Kafka that keeps nothing.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes of each service that shares its work.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Run the whole hub: a local Kafka (unless UNSILO_KAFKA_BOOTSTRAP is set) and every service, until Ctrl-C.

    The configuration is read before anything is started, and applied as `unsilo apply` does, where there is one.
    Example: unsilo up -f unsilo.yaml
    """
    settings = HubSettings()
    configuration = read_files(paths, files) if paths or files or DEFAULT_FILE.exists() else None
    hub = LocalHub(settings, ephemeral=ephemeral, workers=workers, say=tell)
    stopping = Interrupt()
    try:
        kafka = hub.start_kafka()
        if not as_json:
            console.print(f"Kafka    {kafka.bootstrap}", markup=False)
        if configuration is not None:
            apply_read(kafka, settings, configuration, prune=False, dry_run=False)
        hub.start_services()
        hub.await_ready(lambda: not stopping.asked)
        if as_json:
            show_json_line({"bootstrap": kafka.bootstrap, "gateway": hub.gateway, "logs": str(hub.logs)})
        else:
            console.print(f"gateway  {hub.gateway}/in/CONNECTION", markup=False)
            console.print(f"logs     {hub.logs}; each begins with where its service's metrics are", markup=False)
            console.print("Next: unsilo connections list, send, tail, status. Ctrl-C stops everything.", markup=False)
        while not stopping.asked:
            hub.watch()
            time.sleep(WATCH_SECONDS)
    finally:
        hub.stop()


class Interrupt:
    """Whether the process was asked to end, by SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:  # past the stream, which may be in the middle of something
            os.write(2, b"\rstopping ...\n" if os.isatty(2) else b"stopping ...\n")
        self.asked = True
